"""What all charts share: colours, fonts, axes, labels, error bars.

The page's stylesheet gives text and grid their light and dark colours. Marks use mid tones that keep a contrast of at
least 3 to 1 on both backgrounds, and a classifier has one colour everywhere. Text from outside is escaped: plotly
reads tags in labels.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

import numpy as np
import plotly.graph_objects as go

from engine.evaluation.rates import RateDict
from engine.evaluation.wording import plain

CLASSIFIER_COLOURS = ("#c46a12", "#3d7fc4", "#1f8f7f", "#8f63c9")
NEUTRAL = "#838890"
SCORE_TICKS = (
    (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999),
    (*(m * 10.0**e for e in range(-6, -1) for m in (1, 2, 5)), 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9),
    (0.01, 0.02, 0.03, 0.04, 0.06, 0.08, *(i / 20 for i in range(2, 20))),
)
"""Scores to mark on a logit axis, ever closer together."""
FONT = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica Neue, Liberation Sans, Arial, sans-serif"
MOST_TICKS = 8
LABEL_STEP = 17
"""Pixels between labels that are stacked above points that may lie close together."""


def colour_of(position: int) -> str:
    """The colour of the classifier at this place of the report."""
    return CLASSIFIER_COLOURS[position % len(CLASSIFIER_COLOURS)]


def name_of(text: str, limit: int = 40) -> str:
    """Text from outside, safe and short enough for a label."""
    return html.escape(plain(text, limit))


def layout(height: int, *, left: int = 56, top: int = 12) -> dict[str, object]:
    """The layout of every chart: no chrome, no background, nothing that moves."""
    axis = {
        "gridcolor": NEUTRAL,
        "gridwidth": 1,
        "fixedrange": True,
        "title": {"standoff": 8, "font": {"size": 13}},
        "automargin": True,
        "zeroline": False,
    }
    return {
        "height": height,
        "margin": {"l": left, "r": 12, "t": top, "b": 48},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 13, "color": NEUTRAL},
        "showlegend": False,
        "dragmode": False,
        "hoverlabel": {"bgcolor": "#1c1e21", "bordercolor": "#1c1e21", "font": {"color": "#ffffff", "size": 13}},
        "template": {"layout": {"xaxis": axis, "yaxis": axis}},
    }


def left_label(row: float, text: str, *, shift: int = 0) -> dict[str, object]:
    """An annotation at the left edge of a chart of rows."""
    edge = {"x": 0, "xref": "paper", "xanchor": "left", "xshift": -2}
    return {**edge, "y": row, "yshift": shift, "text": text, "showarrow": False}


def point_label(figure: go.Figure, x: float, y: float, text: str, colour: str, *, rank: int) -> None:
    """A label above its point and to the right, with its colour as a dot.

    `rank` counts points from the right: labels of points further left stand higher and clear those that lie near.
    """
    figure.add_annotation(
        x=x,
        y=y,
        text=f'<span style="color:{colour}">\N{BLACK CIRCLE}</span> {text}',
        xanchor="left",
        yanchor="bottom",
        xshift=6,
        yshift=6 + LABEL_STEP * rank,
        showarrow=False,
    )


def ranks_from_right(xs: Sequence[float]) -> list[int]:
    """0 for the largest, 1 for the next; equal ones in the order given."""
    order = sorted(range(len(xs)), key=lambda i: (-xs[i], i))
    return [order.index(i) for i in range(len(xs))]


def error_bar(low: float, middle: float, high: float, colour: str) -> dict[str, object]:
    """An interval around a point, as plotly's error bar."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - middle],
        "arrayminus": [middle - low],
        "color": colour,
        "thickness": 1.5,
        "width": 4,
    }


def rate_bar(rate: RateDict, colour: str) -> dict[str, object]:
    """The interval of a rate in percent."""
    return error_bar(100 * rate["low"], 100 * (rate["estimate"] or 0), 100 * rate["high"], colour)


def score_axis(figure: go.Figure, logits: Iterable[float] | Sequence[float]) -> None:
    """A logit axis over these values whose ticks read as scores."""
    values = list(logits) or [-5.0, 5.0]
    low, high = min(values) - 0.3, max(values) + 0.3
    inside = [[s for s in ticks if low <= _logit(s) <= high] for ticks in SCORE_TICKS]
    ticks = next((found for found in inside if len(found) >= 4), [])
    ticks = ticks or [float(f"{1 / (1 + np.exp(-x)):.3g}") for x in np.linspace(low, high, 5)[1:-1]]
    ticks = ticks[:: -(-len(ticks) // MOST_TICKS)]
    figure.update_xaxes(
        tickvals=[_logit(s) for s in ticks], ticktext=[_tick(s) for s in ticks], tickangle=0, range=[low, high]
    )


def faint(colour: str, opacity: float) -> str:
    """A colour of the form #rrggbb, let through."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def _tick(share: float) -> str:
    power = round(float(np.log10(share)))
    return f"10<sup>\N{MINUS SIGN}{-power}</sup>" if share < 1e-3 and share == 10.0**power else f"{share:g}"
