"""How much faster is our Dawid-Skene than Crowd-Kit's at a million labels, and are its posteriors the same?

Peer: `crowdkit.aggregation.DawidSkene` on the same votes, from the same start (shares of votes), for the same number of
steps, ours without a prior as theirs is. Votes are made from known confusion matrices: 1,000 annotators, three
choices, 5 % Yes. Both run on one core and are compared by processor time: ours the best of three, theirs once, with
everything from the table of codes to the posteriors, except that Crowd-Kit's data frame is made before the clock
starts. Then how many of the items' true answers each rule finds on the answers of real crowds in
../shared/data/aggregation (or --answers DIR; SP_amt and CF_amt: orchidproject/active-crowd-toolkit; barzan_mozafari:
ipeirotis/Get-Another-Label), and what a warm start saves when one label in 10,000 is new.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from _common import finish  # noqa: E402
from crowdkit.aggregation import GLAD, MACE, DawidSkene, MajorityVote, OneCoinDawidSkene  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from engine.aggregation import RULES, VoteTable, update_items  # noqa: E402
from engine.aggregation.dawid_skene import dawid_skene  # noqa: E402
from engine.aggregation.em import NO_PRIOR  # noqa: E402

TARGET = 10.0
CHOICES = ("Yes", "Unsure", "No")
THEIRS = {
    "majority": MajorityVote,
    "dawid_skene": DawidSkene,
    "one_coin": OneCoinDawidSkene,
    "glad": GLAD,
    "mace": MACE,
}
Result = TypeVar("Result")


class Answers(NamedTuple):
    """A table and the true code of each item."""

    name: str
    table: VoteTable
    truth: NDArray[np.int64]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="100,000 labels, 5 steps; no GLAD of Crowd-Kit's")
    options.add_argument("--answers", type=Path, default=ROOT.parent / "shared" / "data" / "aggregation")
    chosen = options.parse_args()
    warnings.simplefilter("ignore")  # Crowd-Kit's, about pandas
    labels, steps = (100_000, 5) if chosen.quick else (1_000_000, 20)
    made = synthetic(labels)
    ours, found = timed(lambda: dawid_skene(made.table, smoothing=NO_PRIOR, tolerance=0, iterations=steps), repeats=3)
    frame = frame_of(made.table)
    peer, theirs = timed(lambda: DawidSkene(n_iter=steps, tol=-np.inf).fit_predict_proba(frame), repeats=1)
    voted = theirs.index.to_numpy()
    expected = theirs.reindex(columns=range(len(CHOICES)), fill_value=0.0).to_numpy()
    difference = float(np.abs(found.posterior[voted] - expected).max())
    converging, whole = timed(lambda: RULES["dawid_skene"].many(made.table), repeats=1)
    print(f"{labels:,} labels, {made.table.n_items:,} items, 1,000 annotators, {steps} steps each")
    print(f"{'':<26}{'processor s':>12}{'ms a step':>11}")
    for name, seconds, count in (
        ("ours", ours, steps),
        ("crowd-kit", peer, steps),
        ("ours, prior, to the end", converging, whole.iterations),
    ):
        print(f"{name:<26}{seconds:>12.2f}{1000 * seconds / count:>11.1f}")
    print(f"ratio {peer / ours:.1f} (target {TARGET:.0f}); largest difference of posteriors {difference:.1e}")
    warm = warm_start(made)
    crowds = accuracies(list(real(chosen.answers)), quick=chosen.quick)
    finish(
        "dawid_skene_vs_crowdkit",
        ours=round(ours, 3),
        peer=round(peer, 3),
        ratio=round(peer / ours, 1),
        target=TARGET,
        unit="processor seconds",
        met=peer / ours >= TARGET and difference <= 1e-6,
        quick=chosen.quick,
        labels=labels,
        steps=steps,
        largest_posterior_difference=difference,
        to_the_end_seconds=round(converging, 3),
        to_the_end_steps=whole.iterations,
        **warm,
        accuracy=crowds,
    )


def synthetic(labels: int, annotators: int = 1000, seed: int = 0) -> Answers:
    """Votes by annotators whose confusion is known: right in 60 % to 99 %, two fifths of their errors towards No."""
    rng = np.random.default_rng([seed, labels])
    items = labels * 3 // 10
    truth = rng.choice(3, items, p=[0.05, 0.15, 0.8])
    what, who = rng.integers(0, items, labels), rng.integers(0, annotators, labels)
    right = rng.random(labels) < rng.uniform(0.6, 0.99, annotators)[who]
    said = np.where(right, truth[what], np.where(rng.random(labels) < 0.4, 2, rng.integers(0, 3, labels)))
    return Answers("synthetic", VoteTable(what, who, said, np.zeros(labels, bool), items, CHOICES), truth)


def frame_of(table: VoteTable) -> pd.DataFrame:
    """The votes as Crowd-Kit wants them."""
    return pd.DataFrame({"task": table.items, "worker": table.annotators, "label": table.answers})


def timed(job: Callable[[], Result], *, repeats: int) -> tuple[float, Result]:
    """Least processor seconds, and what the last run returned."""
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        result = job()
        seconds.append(time.process_time() - started)
    return min(seconds), result


def warm_start(made: Answers) -> dict[str, object]:
    """Steps and seconds when the last labels arrive: from nothing, from the model before, and for one item alone."""
    table = made.table
    new = table.items.size // 10_000
    before = VoteTable(*(column[:-new] for column in table[:4]), table.n_items, CHOICES)
    model = RULES["dawid_skene"].many(before).model
    assert model is not None
    cold, from_nothing = timed(lambda: dawid_skene(table), repeats=1)
    warm, from_model = timed(lambda: dawid_skene(table, start=model), repeats=1)
    of_one = table.items == table.items[-1]
    part = VoteTable(table.items[of_one] * 0, *(column[of_one] for column in table[1:4]), 1, CHOICES)
    single, _ = timed(lambda: [update_items(model, part) for _ in range(100)], repeats=3)
    differing = int((from_nothing.codes != from_model.codes).sum())
    print(f"{new:,} more labels: {from_nothing.iterations} steps and {cold:.2f} s from nothing, ", end="")
    print(f"{from_model.iterations} steps and {warm:.2f} s from the model, ", end="")
    print(f"{differing} of {table.n_items:,} items decided otherwise; one item under the model {single * 10:.2f} ms")
    return {
        "cold_steps": from_nothing.iterations,
        "warm_steps": from_model.iterations,
        "warm_decides_otherwise": differing,
        "cold_seconds": round(cold, 3),
        "warm_seconds": round(warm, 3),
        "one_item_ms": round(single * 10, 3),
    }


def real(folder: Path) -> Iterator[Answers]:
    """The sets that are there."""
    for path in sorted(folder.glob("*_amt.csv")):
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
        yield coded(path.stem, [row[:3] for row in rows], {row[1]: row[3] for row in rows})
    other = folder / "barzan_mozafari"
    if other.is_dir():
        rows = [line.split() for line in (other / "labels.txt").read_text().splitlines()]
        truth = dict(line.split() for line in (other / "evaluation.txt").read_text().splitlines())
        yield coded(other.name, rows, truth)


def coded(name: str, votes: list[list[str]], truth: dict[str, str]) -> Answers:
    """(annotator, item, answer) as codes."""
    choices = tuple(sorted({vote[2] for vote in votes} | set(truth.values())))
    names, items = np.unique([vote[1] for vote in votes], return_inverse=True)
    annotators = np.unique([vote[0] for vote in votes], return_inverse=True)[1]
    answers = np.array([choices.index(vote[2]) for vote in votes])
    table = VoteTable(items, annotators, answers, np.zeros(len(votes), bool), names.size, choices)
    return Answers(name, table, np.array([choices.index(truth[item]) for item in names]))


def accuracies(sets: list[Answers], *, quick: bool) -> dict[str, dict[str, list[float | None]]]:
    """By set and rule: the share of items that we and Crowd-Kit get right. Prints them."""
    if not sets:
        print("no answers of real crowds here: give their folder with --answers")
        return {}
    print(f"items right, in %, ours / crowd-kit{'':<3}" + "".join(f"{one.name:>20}" for one in sets))
    found: dict[str, dict[str, list[float | None]]] = {one.name: {} for one in sets}
    for rule in RULES:
        for one in sets:
            ours = float((RULES[rule].many(one.table).codes == one.truth).mean())
            peer = theirs_right(rule, one) if rule in THEIRS and not (quick and rule == "glad") else None
            found[one.name][rule] = [round(ours, 4), None if peer is None else round(peer, 4)]
        cells = (found[one.name][rule] for one in sets)
        row = (f"{100 * a:.1f} / " + ("none" if b is None else f"{100 * b:.1f}") for a, b in cells if a is not None)
        print(f"  {rule:<36}" + "".join(f"{cell:>20}" for cell in row))
    return found


def theirs_right(rule: str, one: Answers) -> float:
    """The share of items that Crowd-Kit gets right."""
    labels = THEIRS[rule]().fit_predict(frame_of(one.table)).sort_index()
    return float((labels.to_numpy() == one.truth).mean())


if __name__ == "__main__":
    main()
