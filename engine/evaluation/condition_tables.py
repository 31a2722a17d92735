"""The tables of `run_conditions` for a terminal: conditions in rows, as the paper's tables 3, 4 and 5 have them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from engine.evaluation.rates import RateDict
from engine.evaluation.wording import counted, percent, plain, score, share_of, span

NAME_WIDTH, GAP = 16, 2
NONE = "\N{EN DASH}"
Found = Mapping[str, Any]
"""One condition: as `webapi.selectors.conditions` tells of it."""


class Cell(NamedTuple):
    """A figure, and below it its counts and interval."""

    value: str
    detail: str = ""


class Column(NamedTuple):
    """A column's heading and what it shows of a condition."""

    heading: str
    cell: Callable[[Found], Cell]


def render_table_3(told: Mapping[str, Any]) -> str:
    """Tables 3 to 5 beside a round. Ends with a newline. Text from outside is shown without control characters."""
    found: Sequence[Found] = told["conditions"]
    tries = found[0]["results"]["tries"] if found else 0
    parts = [
        "What each classifier was trained on: labelled snippets, and how many of them train as failures",
        _table(found, [*_datasets(found), Column("In all", _all), Column("Copies seen", _copies)]),
        "Thresholds at the round's KL, and what is rejected there",
        _table(
            found,
            [
                Column("Threshold", lambda one: _threshold(one["results"]["calibration"])),
                Column("Random snippets rejected", lambda one: _rate(one["results"]["random_rejected"])),
                Column("Proposals rejected", lambda one: _rate(one["results"]["proposals_rejected"])),
                Column("Prompts without any", lambda one: _rate(one["results"]["without_completion"])),
            ],
        ),
        "Errors at that threshold",
        _table(
            found,
            [
                Column("False negatives", lambda one: _rate(one["results"]["assessment"]["fnr"])),
                Column("False positives", lambda one: _rate(one["results"]["assessment"]["fpr"])),
                Column("False neg., held-out", lambda one: _rate(one["results"]["held_out"]["fnr"])),
                Column("False pos., held-out", lambda one: _rate(one["results"]["held_out"]["fpr"])),
            ],
        ),
        _notes(
            "Intervals are at 95 %; prompts, or the failures that are re-told, are their unit. A prompt is without any "
            f"completion when {tries} proposals in a row are rejected. Held-out: re-tellings of held-out failures, all "
            "kept, whichever classifier accepts them. Average quality (table 4) and minutes per attack need people.",
            _left_out(found),
            told.get("simulated") or "",
        ),
    ]
    return "\n".join(parts)


def render_hatemoji(told: Mapping[str, Any]) -> str:
    """The same for rounds written by people, as far as it makes sense without a generator."""
    found: Sequence[Found] = told["conditions"]
    rounds = sorted({number for one in found for number in one["results"]["rounds"]}, key=int)

    def of_round(number: str, which: str) -> Callable[[Found], Cell]:
        return lambda one: _rate(one["results"]["rounds"][number][which])

    target = found[0]["results"]["acceptance"]["target"] if found else 0.0
    parts = [
        "What each classifier was trained on: labelled texts, and how many of them train as failures",
        _table(found, [*_datasets(found), Column("In all", _all), Column("Copies seen", _copies)]),
        "Thresholds, and what is rejected there",
        _table(
            found,
            [
                Column("Threshold", lambda one: _threshold(one["results"]["acceptance"])),
                Column("Texts rejected", lambda one: _rate(one["results"]["random_rejected"])),
                Column("False negatives", lambda one: _rate(one["results"]["fnr"])),
                Column("False positives", lambda one: _rate(one["results"]["fpr"])),
            ],
        ),
        "False negatives by the round that the texts were written in",
        _table(found, [Column(f"Round {number}", of_round(number, "fnr")) for number in rounds]),
        _notes(
            f"Each threshold accepts {percent(target)} of the harmless validation texts. Intervals are at 95 %; an "
            "original and its perturbation are one unit, and stand in one split. A classifier that was trained on the "
            "rounds before one was not what people fooled in it: they fooled the authors' own models.",
            _left_out(found),
            "Data: HatemojiBuild, Kirk et al. 2021 (arXiv 2108.05921), CC-BY-4.0.",
        ),
    ]
    return "\n".join(parts)


def _table(found: Sequence[Found], columns: Sequence[Column]) -> str:
    cells = [[column.cell(one) for column in columns] for one in found]
    widths = [
        max([len(column.heading), *(len(text) for row in cells for text in row[i])]) + GAP
        for i, column in enumerate(columns)
    ]
    name = max([NAME_WIDTH, *(len(plain(one["name"])) + GAP for one in found)])
    lines = [_line("", [column.heading for column in columns], name, widths), "-" * (name + sum(widths))]
    for one, row in zip(found, cells, strict=True):
        lines.append(_line(plain(one["name"]), [cell.value for cell in row], name, widths))
        if any(cell.detail for cell in row):
            lines.append(_line("", [cell.detail for cell in row], name, widths))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _line(name: str, cells: Sequence[str], width: int, widths: Sequence[int]) -> str:
    return f"{name:<{width}}" + "".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True))


def _datasets(found: Sequence[Found]) -> list[Column]:
    names = dict.fromkeys(name for one in found for name in one["datasets"])

    def of(name: str) -> Callable[[Found], Cell]:
        def cell(one: Found) -> Cell:
            held = one["datasets"].get(name)
            return _composed(held["rows"], held["positives"]) if held else Cell(NONE)

        return cell

    return [Column(plain(name, 24), of(name)) for name in names]


def _composed(rows: int, positives: int) -> Cell:
    return Cell(f"{rows:,}", f"{positives:,} ({percent(positives / rows)})" if rows else "")


def _all(one: Found) -> Cell:
    held = one["datasets"].values()
    return _composed(one["size"], sum(dataset["positives"] for dataset in held))


def _copies(one: Found) -> Cell:
    """Of the examples of an epoch, how many only repeat another: upsampled failures, oversampled rows."""
    seen = one["results"]["training"]["upsampled"]
    return Cell(percent(1 - one["size"] / seen), f"of {seen:,} an epoch")


def _threshold(found: Mapping[str, Any]) -> Cell:
    low, high = (1 / (1 + math.exp(-found[name])) for name in ("logit_low", "logit_high"))
    return Cell(score(found["threshold"]), f"{score(low)} to {score(high)}")


def _rate(rate: RateDict) -> Cell:
    if rate["estimate"] is None:
        return Cell("no data")
    if rate["failures"] == 0:
        return Cell(share_of(rate), counted(rate))
    return Cell(share_of(rate), f"{counted(rate)}, {span(rate['low'], rate['high'])}")


def _left_out(found: Sequence[Found]) -> str:
    dropped = {one["name"]: one["dropped"] for one in found if one["dropped"]}
    if not dropped:
        return ""
    said = ", ".join(f"{count} of {plain(name)}" for name, count in dropped.items())
    return f"Left out as duplicates, or as equal texts with labels that train apart: {said}; the snapshots name them."


def _notes(*notes: str) -> str:
    return "\n".join(textwrap.fill(note, 100, break_on_hyphens=False) + "\n" for note in notes if note)
