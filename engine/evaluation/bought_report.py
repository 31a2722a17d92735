"""Reports of evaluations that buy labels, whatever they measure: each kind says what it found in its own way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import BadInput
from engine.evaluation import purchase_report, purchase_table, quality_purchase
from engine.evaluation.purchase_report import Change

QUALITY = "quality"


def headline(report: Any) -> str:
    """The answer in a sentence."""
    if report["kind"] == QUALITY:
        return quality_purchase.headline(report)
    return purchase_report.headline(report)


def parts(report: Any) -> list[str]:
    """The report's parts as HTML, in order."""
    if report["kind"] == QUALITY:
        return list(quality_purchase.render_parts(report).values())
    found = purchase_report.render_purchase_parts(report)
    return [found[name] for name in purchase_report.PARTS if name in found]


def page(report: Any) -> str:
    """The report as one HTML file."""
    if report["kind"] == QUALITY:
        return quality_purchase.render(report)
    return purchase_report.render_purchase(report)


def changes(before: Any, after: Any) -> list[Change]:
    """The figures of two reports that differ. Raises BadInput for reports of two kinds."""
    if before["kind"] != after["kind"]:
        raise BadInput(f"one is of a {before['kind']}, the other of a {after['kind']}", where="reports")
    if before["kind"] != QUALITY:
        return purchase_report.changes(before, after)
    pairs = zip(quality_purchase.figures(before), quality_purchase.figures(after), strict=True)
    rows = [Change(name, *pair) for name, pair in zip(quality_purchase.NAMES, pairs, strict=True)]
    return [row for row in rows if row.before != row.after]


def answer_text(report: Any) -> str:
    """The answer for a terminal."""
    if report["kind"] == QUALITY:
        return quality_purchase.answer_text(report)
    return purchase_table.render_answer(report)


def plan_text(plan: Mapping[str, Any]) -> str:
    """The plan for a terminal."""
    return quality_purchase.plan_text(plan) if QUALITY in plan else purchase_table.render_plans(plan)
