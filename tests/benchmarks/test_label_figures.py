"""What curves amount to, and where labels of lines go."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from _label_figures import (
    AGAIN,
    BASELINE,
    Found,
    append_run,
    labels_at,
    page,
    ranked,
    read_runs,
    summarise,
    tables,
    write_csv,
)
from _label_pictures import curves_chart, differences_chart
from _learning import Curve, area, paired
from _pages import fill, table
from _pictures import apart


def runs(strategy: str, lift: float, seeds: int = 3) -> list[Found]:
    rng = np.random.default_rng(0)
    made = []
    for seed in range(seeds):
        auc = 0.6 + 0.02 * np.arange(3) + lift * (1 + 0.1 * seed) + 0.01 * rng.random(3)
        made.append(Found("task", strategy, seed, Curve(auc, 1 - auc, np.array([0.0, 3.0 + seed, 9.0 + seed])), 1.0))
    return made


ALL = [*runs(BASELINE, 0), *runs(AGAIN, 0.0), *runs("margin", 0.1), *runs("small-text breaking ties", -0.05)]


def test_a_row_holds_areas_ends_and_the_paired_difference_from_random() -> None:
    rows = summarise(ALL)["task"]
    ours, chance = runs("margin", 0.1), runs(BASELINE, 0)
    areas = [[area(one.curve.auc) for one in part] for part in (ours, chance)]
    assert rows["margin"].difference["auc"] == paired(*areas)
    assert rows["margin"].area["auc"].mean == pytest.approx(np.mean(areas[0]))
    assert rows["margin"].last["found"].mean == 10
    assert rows["margin"].difference["found"].mean == 0
    assert [row.kind for row in rows.values()] == ["random", "random", "ours", "peer"]
    assert rows[AGAIN].difference["auc"].mean == 0
    assert rows["margin"].holm["auc"] >= rows["margin"].difference["auc"].p


def test_the_best_by_area_comes_first_in_the_table() -> None:
    rows = summarise(ALL)["task"]
    names = [name for name, _ in ranked(rows)]
    assert names[0] == "margin"
    assert names[-1] == "small-text breaking ties"
    lines = list(tables(summarise(ALL)))
    assert len(lines) == 2 + 4
    assert lines[2].startswith("margin")


def test_a_strategy_without_a_seed_that_random_has_is_refused() -> None:
    with pytest.raises(ValueError, match="margin and random have run on different seeds"):
        summarise([*runs(BASELINE, 0), *runs("margin", 0, seeds=2)])


def test_runs_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    assert read_runs(path) == []
    for one in ALL:
        append_run(one, path)
    with path.open("a") as stream:
        stream.write('{"task": "a kill cut this o')
    again = read_runs(path)
    assert summarise(again) == summarise(ALL)
    write_csv(summarise(again), tmp_path / "figures.csv")
    rows = list(csv.DictReader((tmp_path / "figures.csv").open(newline="")))
    assert [row["strategy"] for row in rows] == [BASELINE, AGAIN, "margin", "small-text breaking ties"]
    assert float(rows[2]["auc_difference_low"]) == pytest.approx(
        summarise(ALL)["task"]["margin"].difference["auc"].low, abs=1e-5
    )


def test_charts_draw_every_strategy() -> None:
    results = summarise(ALL)
    shown = curves_chart(results)
    assert {trace.name for trace in shown.data if trace.name} == {BASELINE, "margin"}
    names = differences_chart(results).layout.yaxis.ticktext
    assert list(names) == ["margin", AGAIN, "small-text breaking ties"]


def test_the_labels_behind_a_curves_points() -> None:
    assert labels_at(2) == [25, 50, 75]


def test_labels_stand_apart_in_their_order_and_move_no_more_than_they_must() -> None:
    assert apart([0.0, 10.0], 1.0) == [0.0, 10.0]
    assert apart([5.0, 5.0], 2.0) == [4.0, 6.0]
    assert apart([1.0, 0.0, 0.9], 1.0) == pytest.approx([1.6333, -0.3667, 0.6333], abs=1e-3)
    rng = np.random.default_rng(1)
    for _ in range(50):
        heights = rng.random(7) * 4
        placed = np.array(apart(list(heights), 0.5))
        assert (np.diff(np.sort(placed)) >= 0.5 - 1e-9).all()
        assert (np.argsort(placed) == np.argsort(heights)).all()


def test_a_pages_tables_are_replaced_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("above\n<!-- a -->\nold\n<!-- /a -->\nbelow <!-- b --><!-- /b -->\n")
    fill(path, "a", table(["x", "y"], [["1", "2"]]))
    fill(path, "a", table(["x", "y"], [["3", "4"]]))
    assert path.read_text() == (
        "above\n<!-- a -->\n\n| x | y |\n| --- | ---: |\n| 3 | 4 |\n\n<!-- /a -->\nbelow <!-- b --><!-- /b -->\n"
    )
    with pytest.raises(ValueError, match="does not hold"):
        fill(path, "c", "text")


def test_the_pages_table_has_a_line_a_strategy_and_marks_what_holds() -> None:
    lines = page(summarise(ALL)).splitlines()
    assert len(lines) == 2 + 2 + 4
    assert lines[4].startswith("| margin | ")
    assert lines[4].count("|") == 8
    certain = {"task": {"margin": summarise(ALL)["task"]["margin"]._replace(holm={"auc": 0.01, "fnr": 1, "found": 1})}}
    cells = page(certain).splitlines()[4].split(" | ")
    assert [cell.startswith("**") for cell in cells[1:]] == [False, True, False, False, False, False]
