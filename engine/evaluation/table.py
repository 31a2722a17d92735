"""The before/after table: its rows, once, for the terminal and the report alike."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import NamedTuple

from engine.evaluation.attack_wording import attack_answer, attack_totals, in_sentence
from engine.evaluation.rates import RateDict
from engine.evaluation.reliability_wording import reliability_words
from engine.evaluation.report_data import AttackReport, ClassifierReport, Report, current
from engine.evaluation.wording import answer, counted, duration, percent, plain, score, share_of, span, statistic
from engine.evaluation.yields import YieldComparisonDict

LABEL_WIDTH, MIN_CELL = 36, 24
ACCEPTED, REJECTED = "share of failures that is accepted", "share of harmless snippets that is rejected"
BROKEN = "share accepted as it stands, or with a candidate labelled a failure"


class Cell(NamedTuple):
    """One figure: its value, then interval and counts in lighter ink."""

    value: str
    interval: str = ""
    counts: str = ""
    by_construction: bool = False


class Row(NamedTuple):
    """One line of the table, a cell for each classifier."""

    label: str
    cells: tuple[Cell, ...]
    hint: str = ""
    """What the figure means, in a few words."""


def before_after(report: Report) -> list[Row]:
    """The rows of the table, in the order they are read."""
    rows = [
        _row(report, "Threshold", _threshold, "a completion that scores as much or more is rejected"),
        _row(report, "KL at the threshold, nats", _kl, "how far filtering moves the generator"),
        _row(report, "Prompts with none accepted", _none_accepted, "of those the threshold was chosen on"),
        _row(report, "Proposals accepted", lambda one: _rate_cell(one["calibration"]["accept_rate"])),
        *_quality_rows(report),
        _row(report, "Trained on", _training, "labelled snippets, failures and unsure among them"),
        *(_adversarial_row(report, name) for name in _sets(report)),
        _row(report, "False negatives, in distribution", lambda one: _rate_cell(one["assessment"]["fnr"]), ACCEPTED),
    ]
    if any(one["assessment"]["failure_rate"] for one in report["classifiers"]):
        rows += [
            _row(report, "Failure rate per output", lambda one: _failures(one, "per_output"), "weights (K+1)/(k+1)"),
            _row(report, "  as in the paper", lambda one: _failures(one, "as_in_paper"), "K/k, bootstrap: too narrow"),
        ]
    rows += _reliability_rows(report)
    rows.append(
        _row(
            report,
            "False positives",
            lambda one: _rate_cell(one["assessment"]["fpr"]),
            REJECTED,
        )
    )
    return rows + [_attack_row(report, one) for one in report["attacks"]]


def totals(report: Report) -> list[tuple[str, str]]:
    """What the round cost and how far annotators agreed: labels and their words."""
    labels, agreement = report["labels"], report["agreement"]
    spent = f"{labels['spent']:,} by {labels['annotators']:,} annotators"
    if labels["seconds"]:
        spent += f" in {duration(labels['seconds'])}"
    lines = [("Labels spent", spent)]
    if agreement:
        judged = f"{agreement['items_with_pairs']:,} snippets judged twice or more"
        lines += [
            ("Agreement, Krippendorff's alpha", statistic(agreement["alpha"])),
            ("Agreement, pairs of votes", f"{percent(agreement['percent']['estimate'])} on {judged}"),
        ]
    return lines


def render_table(report: Report, *, ascii_only: bool = False) -> str:
    """The table for a terminal, some 96 columns wide for two classifiers; ends with the answer in words and a newline.

    Each row has two lines, values above and their counts and intervals below. Text from outside is shown without
    control characters.
    """
    report = current(report)
    rows, found, attacks = before_after(report), answer(report), attack_answer(report)
    texts = [cell.value + "*" for row in rows for cell in row.cells]
    texts += [_detail(cell) for row in rows for cell in row.cells]
    cell_width = max([MIN_CELL, *map(len, texts)]) + 2
    wide = LABEL_WIDTH + len(report["classifiers"]) * cell_width
    lines = [_line("", [plain(one["name"], cell_width - 2) for one in report["classifiers"]], cell_width), "-" * wide]
    for row in rows:
        label = [*textwrap.wrap(row.label, LABEL_WIDTH - 2, max_lines=2, subsequent_indent="  "), ""]
        values = [f"{cell.value}{'*' if cell.by_construction else ''}" for cell in row.cells]
        lines.append(_line(label[0], values, cell_width))
        if label[1] or any(_detail(cell) for cell in row.cells):
            lines.append(_line(label[1], [_detail(cell) for cell in row.cells], cell_width))
    lines += [
        "-" * wide,
        *(f"{name:<{LABEL_WIDTH}}{value}" for name, value in [*totals(report), *attack_totals(report)]),
    ]
    if any(cell.by_construction for row in rows for cell in row.cells):
        lines.append("* 1.0 by construction: the attack kept only what this classifier accepts.")
    shown = [one["name"] for one in report["attacks"] if one["comparison"] and _is_shown(one["comparison"])]
    said = [attacks.sentences[name] for name in shown if name in attacks.sentences]
    told = (
        found.headline,
        found.verdict,
        *reliability_words(report)[:1],
        found.cost,
        *reliability_words(report)[1:],
        attacks.summary,
        *said,
    )
    for text in told:
        lines += ["", *textwrap.wrap(text, max(wide, 72), break_on_hyphens=False)] if text else []
    text = "\n".join(line.rstrip() for line in lines) + "\n"
    return _ascii(text) if ascii_only else text


def _is_shown(comparison: YieldComparisonDict) -> bool:
    """Whether an attack's yield moved. Of the others the rows above say enough; the report has a sentence each."""
    return comparison["verdict"] in ("lower", "higher")


def _row(report: Report, label: str, make: Callable[[ClassifierReport], Cell], hint: str = "") -> Row:
    return Row(label, tuple(make(one) for one in report["classifiers"]), hint)


def _sets(report: Report) -> list[str]:
    names = dict.fromkeys(name for one in report["classifiers"] for name in one["assessment"]["adversarial"])
    return sorted(names, key=lambda name: name != report["main_set"])


def _reliability_rows(report: Report) -> list[Row]:
    """Of labels bought for the filters' own outputs, where there are any."""
    found = report["reliability"]
    if found is None:
        return []
    rates = found["rates"]

    def estimate(one: ClassifierReport) -> Cell:
        return _rate_cell(rates[one["name"]]["tiers"]["estimate"]) if one["name"] in rates else Cell("not measured")

    def certificate(one: ClassifierReport) -> Cell:
        if one["name"] not in rates:
            return Cell("not measured")
        rate = rates[one["name"]]["tiers"]["certificate"]
        return Cell(f"at most {percent(rate['high'])}", "", f"{rates[one['name']]['labels']:,} labels bought")

    return [
        _row(report, "Filter's outputs that fail", estimate, "labels bought, each failure confirmed"),
        _row(report, "  certified", certificate, "whatever the scores are worth"),
    ]


def _quality_rows(report: Report) -> list[Row]:
    """None where nothing was compared."""
    if not any(one["quality"] for one in report["classifiers"]):
        return []
    return [
        _row(report, "Quality at the threshold", _quality, "preferred to an unfiltered completion; 50 % is no loss"),
        _row(report, "Lowest threshold by quality", _lowest, "the threshold in use is that of KL"),
    ]


def _quality(one: ClassifierReport) -> Cell:
    if one["quality"] is None:
        return Cell("not compared")
    found = one["quality"]["in_use"]
    return Cell(percent(found["estimate"]), span(found["low"], found["high"]), f"{found['n']:,.0f} prompts")


def _lowest(one: ClassifierReport) -> Cell:
    found = one["quality"]
    if found is None:
        return Cell("not compared")
    limit = f"quality above {percent(found['floor'])}"
    return Cell(score(found["threshold"]), limit, f"{found['comparisons']:,} pairs")


def _adversarial_row(report: Report, name: str) -> Row:
    def cell(one: ClassifierReport) -> Cell:
        found = one["assessment"]["adversarial"].get(name)
        if found is None:
            return Cell("not assessed")
        return _rate_cell(found["fnr"])._replace(by_construction=found["own_target"])

    return _row(report, f"False negatives, {plain(name)}", cell, ACCEPTED)


def _attack_row(report: Report, attack: AttackReport) -> Row:
    rates = {run["classifier"]: run["yields"]["seeds_broken"] for run in attack["runs"]}

    def cell(one: ClassifierReport) -> Cell:
        return _rate_cell(rates[one["name"]]) if one["name"] in rates else Cell("not attacked")

    return _row(report, f"Seeds broken, {in_sentence(attack)}", cell, BROKEN)


def _threshold(one: ClassifierReport) -> Cell:
    found = one["calibration"]
    span_of_logit = f"{found['logit_low']:.2f} to {found['logit_high']:.2f}"
    return Cell(
        score(found["threshold"]), f"logit {found['logit']:.2f} ({span_of_logit})".replace("-", "\N{MINUS SIGN}")
    )


def _kl(one: ClassifierReport) -> Cell:
    kl = one["calibration"]["kl"]
    value = "no data" if kl["estimate"] is None else f"{kl['estimate']:.3f}"
    return Cell(value, f"{kl['low']:.2f} to {kl['high']:.2f}", f"{kl['n']:,.0f} prompts")


def _none_accepted(one: ClassifierReport) -> Cell:
    return Cell(f"{one['calibration']['none_accepted']:,} of {one['calibration']['prompts']:,}")


def _training(one: ClassifierReport) -> Cell:
    by_choice: dict[str, int] = {}
    for entry in one["training"]:
        by_choice[entry["choice"]] = by_choice.get(entry["choice"], 0) + entry["count"]
    return Cell(f"{sum(by_choice.values()):,}", "", ", ".join(f"{n:,} {plain(c, 12)}" for c, n in by_choice.items()))


def _failures(one: ClassifierReport, which: str) -> Cell:
    found = one["assessment"]["failure_rate"]
    if found is None:
        return Cell("not assessed")
    return _rate_cell(found["per_output"] if which == "per_output" else found["as_in_paper"])


def _rate_cell(rate: RateDict) -> Cell:
    if rate["estimate"] is None:
        return Cell("no data", "", counted(rate))
    if rate["failures"] == 0 and rate["high"] == 0:
        return Cell("none seen", "0 to 0 %, no limit", counted(rate))
    return Cell(share_of(rate), span(rate["low"], rate["high"]), counted(rate))


def _detail(cell: Cell) -> str:
    return ", ".join(filter(None, (cell.counts, cell.interval)))


def _line(label: str, cells: list[str], width: int) -> str:
    return f"{label:<{LABEL_WIDTH}}" + "".join(f"{cell:>{width}}" for cell in cells)


def _ascii(text: str) -> str:
    swaps = {"\N{MINUS SIGN}": "-", "\N{RIGHTWARDS ARROW}": "->", "\N{HORIZONTAL ELLIPSIS}": "..."}
    for char, swap in swaps.items():
        text = text.replace(char, swap)
    return text.encode("ascii", "replace").decode()
