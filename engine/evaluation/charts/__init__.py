"""The report's charts, as plotly figures by name."""

from __future__ import annotations

from collections.abc import Callable

import plotly.graph_objects as go

from engine.evaluation.charts.counts import adversarial, attacks, funnel
from engine.evaluation.charts.curves import kl, roc, scores
from engine.evaluation.charts.quality import quality
from engine.evaluation.charts.style import colour_of
from engine.evaluation.report_data import Report

__all__ = ["CHARTS", "colour_of", "figures"]

CHARTS: dict[str, Callable[[Report], go.Figure]] = {
    "adversarial": adversarial,
    "attacks": attacks,
    "funnel": funnel,
    "roc": roc,
    "kl": kl,
    "quality": quality,
    "scores": scores,
}


def figures(report: Report) -> dict[str, go.Figure]:
    """Every chart that the report has data for, by name."""
    has_data = {name: bool(report["classifiers"]) for name in CHARTS}
    has_data |= {"funnel": bool(report["funnel"]), "attacks": bool(report["attacks"])}
    has_data["quality"] = any(one["quality"] for one in report["classifiers"])
    return {name: make(report) for name, make in CHARTS.items() if has_data[name]}
