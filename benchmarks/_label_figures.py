"""What the curves of the label-efficiency benchmark amount to: areas, paired differences, tables, CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _learning import BATCH, INITIAL, Curve, Estimate, Floats, area, holm, mean_of, paired
from _pages import table

METRICS = Curve._fields
BASELINE, AGAIN = "random", "random, other draws"
SCALE = {"auc": 100.0, "fnr": 100.0, "found": 1.0}
"""Rates are shown in percent."""


class Found(NamedTuple):
    """One curve."""

    task: str
    strategy: str
    seed: int
    curve: Curve
    seconds: float
    """Processor time, fitting and measuring included."""


class Row(NamedTuple):
    """One strategy on one task, over seeds; each dict is by metric."""

    kind: str
    """`random`, `ours` or `peer`."""
    area: dict[str, Estimate]
    last: dict[str, Estimate]
    """After the last label."""
    difference: dict[str, Estimate]
    """Of areas, less random's of the same seed; of `found` the counts at the end."""
    holm: dict[str, float]
    curve: dict[str, list[Estimate]]
    seconds: float


Results = dict[str, dict[str, Row]]
"""By task and strategy, in the order run."""


def summarise(found: Sequence[Found]) -> Results:
    """Every strategy of every task. Raises ValueError where a strategy lacks a seed that random has."""
    results: Results = {}
    for task in dict.fromkeys(one.task for one in found):
        names = dict.fromkeys(one.strategy for one in found if one.task == task)
        runs = {name: _sorted(found, task, name) for name in names}
        rows = {name: _row(name, mine, runs[BASELINE]) for name, mine in runs.items()}
        results[task] = _adjusted(rows)
    return results


def kind_of(strategy: str) -> str:
    """`random` and its other draws are the baseline; small-text's names say so."""
    if strategy in (BASELINE, AGAIN):
        return "random"
    return "peer" if strategy.startswith("small-text ") else "ours"


def _sorted(found: Sequence[Found], task: str, name: str) -> list[Found]:
    return sorted((one for one in found if (one.task, one.strategy) == (task, name)), key=lambda one: one.seed)


def _row(name: str, runs: list[Found], chance: list[Found]) -> Row:
    if [one.seed for one in runs] != [one.seed for one in chance]:
        raise ValueError(f"{name} and random have run on different seeds")
    figures = {metric: (_figures(runs, metric), _figures(chance, metric)) for metric in METRICS}
    heights = {metric: np.array([getattr(one.curve, metric) for one in runs]) for metric in METRICS}
    return Row(
        kind_of(name),
        {metric: mean_of([area(line) for line in lines]) for metric, lines in heights.items()},
        {metric: mean_of(lines[:, -1]) for metric, lines in heights.items()},
        {metric: paired(*pair) for metric, pair in figures.items()},
        {},
        {metric: [mean_of(column) for column in lines.T] for metric, lines in heights.items()},
        float(np.mean([one.seconds for one in runs])),
    )


def _figures(runs: list[Found], metric: str) -> Floats:
    """(seeds,) what is compared: the curve's area, of what was found the count at the end."""
    lines = [getattr(one.curve, metric) for one in runs]
    return np.array([line[-1] if metric == "found" else area(line) for line in lines])


def _adjusted(rows: dict[str, Row]) -> dict[str, Row]:
    """With p-values adjusted over all strategies of the task but random's own."""
    tested = [name for name in rows if name != BASELINE]
    by_metric = {metric: holm([rows[name].difference[metric].p for name in tested]) for metric in METRICS}
    adjusted = {name: {m: values[at] for m, values in by_metric.items()} for at, name in enumerate(tested)}
    return {name: row._replace(holm=adjusted.get(name, dict.fromkeys(METRICS, 1.0))) for name, row in rows.items()}


def tables(results: Results) -> Iterator[str]:
    """Lines to print, a table a task, best first by the area under the ROC curve."""
    for task, rows in results.items():
        yield f"\n{task}: areas under learning curves; difference from random, paired, 95 %; * holds by Holm"
        yield f"{'':<36}{'AUC':>7}{'difference':>24}{'FNR':>9}{'difference':>24}{'found':>8}{'difference':>22}"
        for name, row in ranked(rows):
            cells = "".join(f"{_cell(row, metric):>33}" for metric in METRICS)
            yield f"{name:<34}{cells}  {row.seconds:5.1f} s"


def page(results: Results) -> str:
    """The tables in Markdown, for the documentation."""
    head = [
        "strategy",
        "AUC area, %",
        "less random's",
        "failures accepted, %",
        "less random's",
        "found",
        "less random's",
    ]
    parts = []
    for task, rows in results.items():
        lines = [[name, *(cell for metric in METRICS for cell in _two(row, metric))] for name, row in ranked(rows)]
        parts.append(f"**{task}**\n\n{table(head, lines)}")
    return "\n\n".join(parts)


def _two(row: Row, metric: str) -> tuple[str, str]:
    height, difference = _cell(row, metric).rstrip(" *").split("  ")
    return height, f"**{difference}**" if row.holm[metric] < 0.05 else difference


def ranked(rows: dict[str, Row]) -> list[tuple[str, Row]]:
    """By falling area under the ROC curve."""
    return sorted(rows.items(), key=lambda item: -item[1].area["auc"].mean)


def _cell(row: Row, metric: str) -> str:
    scale = SCALE[metric]
    shown = row.last[metric] if metric == "found" else row.area[metric]
    mean, low, high = (scale * value for value in row.difference[metric][:3])
    star = "*" if row.holm[metric] < 0.05 else " "
    return f"{scale * shown.mean:.1f}  {mean:+.1f} [{low:+.1f}, {high:+.1f}]{star}"


def labels_at(steps: int) -> list[int]:
    """Labels behind each point of a curve of so many batches."""
    return [INITIAL + BATCH * step for step in range(steps + 1)]


def write_csv(results: Results, path: Path) -> None:
    """A row a strategy and task: areas, ends and differences with their intervals."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        parts = ("mean", "low", "high")
        head = [f"{m}_{what}_{part}" for m in METRICS for what in ("area", "last", "difference") for part in parts]
        writer.writerow(["task", "strategy", "kind", *head, *(f"{m}_difference_holm" for m in METRICS), "seconds"])
        for task, rows in results.items():
            for name, row in rows.items():
                estimates = [getattr(row, what)[m] for m in METRICS for what in ("area", "last", "difference")]
                numbers = [f"{value:.5f}" for one in estimates for value in one[:3]]
                adjusted = [f"{row.holm[m]:.5f}" for m in METRICS]
                writer.writerow([task, name, row.kind, *numbers, *adjusted, f"{row.seconds:.2f}"])


def append_run(one: Found, path: Path) -> None:
    """Adds a curve, a line of JSON, so that a run goes on after a kill and charts are drawn again without running."""
    row = {**one._asdict(), "curve": [list(map(float, line)) for line in one.curve]}
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")


def read_runs(path: Path) -> list[Found]:
    """What `append_run` wrote; a last line that a kill cut off is left out. None where there is no file."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return [Found(**{**row, "curve": Curve(*(np.array(line) for line in row["curve"]))}) for row in rows]
