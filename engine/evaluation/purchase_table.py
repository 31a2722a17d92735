"""Label plans and the answer of an evaluation as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.evaluation.purchase_data import PurchaseReport
from engine.evaluation.purchase_wording import Tier, headline, label_error, tiers, verdict

WIDTHS = (42, 9, 17, 9, 9, 11, 9, 12)


def render_plans(plan: Mapping[str, Any]) -> str:
    """What each design would take, one a line, and what the chosen one says of itself."""
    head = ("design", "outputs", "80 % of runs", "labels", "floor", "USD", "hours", "half-width")
    lines = [_line(head), "-" * sum(WIDTHS)]
    chosen = plan["chosen"]["design"]
    for one in plan["designs"].values():
        mark = "* " if one["design"] == chosen else "  "
        if "error" in one:
            lines.append(f"{mark}{one['title']}: {one['error']}")
            continue
        low, high = one["outputs_low"], one["outputs_high"]
        cells = (
            f"{one['outputs']:,}",
            f"{low:,}" if low == high else f"{low:,} to {high:,}",
            f"{one['labels']:,}",
            f"{one['floor']:,}" if one["floor"] else "",
            "" if one["money"] is None else f"{one['money']:,.2f}",
            "" if one["hours"] is None else f"{one['hours']:,.1f}",
            f"±{100 * one['reached']:.0f} %{'' if one['reachable'] else ' !'}",
        )
        lines.append(_line((mark + one["title"], *cells)))
    lines.append("-" * sum(WIDTHS))
    if plan["chosen"]["floor"]:
        lines.append("floor: outputs that any method as precise must label if it is to be true without assumptions.")
    if any(not one.get("reachable", True) for one in plan["designs"].values()):
        lines.append("!: the pool is too small for the precision wanted; this is what all of it gives.")
    lines.append(f"* {plan['chosen']['note']}")
    if plan.get("power"):
        lines.append(plan["power"]["words"])
    return "\n".join(lines)


def render_answer(report: PurchaseReport) -> str:
    """The three tiers, what they took, and what they do not hold."""
    took, found = report["bought"], report["confirming"]
    lines = [headline(report), verdict(report), "", *map(_tier, tiers(report))]
    lines += [
        "",
        f"Labelled: {took['outputs']:,} outputs by {took['annotators']:,} annotators, {took['labels']:,} labels bought"
        + (f", {took['had']:,} there before" if took["had"] else "")
        + f"; {took['planned']:,} planned ({_kept(took['labels'] + took['had'], took['planned'])}).",
        f"Confirmed: {found['confirmed']:,} of {found['suspected']:,} whose first label said {report['failure']}.",
        *filter(None, [label_error(report)]),
        *(f"- {note}" for note in report["tiers"]["notes"]),
    ]
    return "\n".join(lines)


def _tier(tier: Tier) -> str:
    rest = f" ({tier.counted}; {tier.method})" if tier.counted else f": {tier.method}"
    return f"{tier.title:<32}{tier.value}{rest}"


def _kept(took: int, planned: int) -> str:
    return f"{100 * (took - planned) / planned:+.1f} %" if planned else "nothing was planned"


def _line(cells: Iterable[str]) -> str:
    first, *rest = zip(cells, WIDTHS, strict=True)
    return f"{first[0]:<{first[1]}}" + "".join(f"{text:>{width}}" for text, width in rest)
