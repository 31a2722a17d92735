"""Charts for the documentation: the report's style on white, drawn to SVG by plotly in Chromium."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

import plotly.graph_objects as go

from engine.evaluation.charts.style import FONT

INK, QUIET, GRID, PAPER = "#23262b", "#6d727a", "#e3e5e8", "#ffffff"
WIDTH = 1000
DRAW = "size => Plotly.toImage(document.querySelector('.plotly-graph-div'), {format: 'svg', ...size})"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def layout(height: int, **margin: int) -> dict[str, object]:
    """What the charts share. Margins are l, r, t, b in pixels."""
    axis = {
        "gridcolor": GRID,
        "linecolor": GRID,
        "zeroline": False,
        "automargin": False,
        "ticks": "",
        "title": {"standoff": 8, "font": {"size": 13, "color": QUIET}},
        "tickfont": {"color": QUIET, "size": 12},
    }
    return {
        "width": WIDTH,
        "height": height,
        "margin": {"l": 48, "r": 16, "t": 40, "b": 48, **margin},
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "font": {"family": FONT, "size": 13, "color": INK},
        "showlegend": False,
        "template": {"layout": {"xaxis": axis, "yaxis": axis}},
    }


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """The heights moved as little as need be to stand `gap` apart, in their own order: labels at the ends of lines."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    groups: list[list[int]] = []
    centres: list[float] = []
    for i in order:
        groups.append([i])
        centres.append(heights[i])
        while len(groups) > 1 and centres[-1] - centres[-2] < gap * (len(groups[-1]) + len(groups[-2])) / 2:
            last = groups.pop()
            centres.pop()
            groups[-1] += last
            centres[-1] = sum(heights[j] for j in groups[-1]) / len(groups[-1])
    placed = [0.0] * len(heights)
    for group, centre in zip(groups, centres, strict=True):
        for place, i in enumerate(group):
            placed[i] = centre + gap * (place - (len(group) - 1) / 2)
    return placed


def save(figure: go.Figure, path: Path) -> None:
    """Writes the chart as SVG; where there is no Chromium, as a page beside it, and says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        page = path.with_suffix(".html")
        figure.write_html(page, include_plotlyjs=True)
        print(f"no Chromium here: {page} instead of {path.name}", file=sys.stderr)
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page()
        page.set_content(figure.to_html(include_plotlyjs=True))
        drawn = page.evaluate(DRAW, {"width": figure.layout.width, "height": figure.layout.height})
        browser.close()
    path.write_text(unquote(drawn.partition(",")[2]) + "\n", encoding="utf-8")
