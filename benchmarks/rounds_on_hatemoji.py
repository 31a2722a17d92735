"""Does training on each round of real attacks help against the next? The false-negative matrix of hatemoji_build.

Four classifiers, the default recipe on MiniLM, as in the paper's figure 5: a baseline of toxic_spans comments (a
failure is what its crowd agrees is toxic, harmless what it cannot agree on), then with round 5 in the training data,
with 5 and 6, with 5, 6 and 7. All train on as many texts: as many comments leave as adversarial texts come (A.1). Each
is held against the hate of each round, written by people to fool the model of the round before. Original and matched
perturbation are in one split, by the original; training sees the split train, the threshold validation, measurement
test, so cells of a round whose other texts were trained on are honest, and marked. The threshold accepts 61 % of the
harmless validation texts of all rounds (KL divergence 0.5, were all prompts alike); one set on comments would say how
far apart a classifier holds the two sources, and nothing of hate. Cells are failures accepted of all, with the central
95 % of Beta(1 + k, 1 + n - k); the second table is the harmless texts of the round rejected, without which a low first
one would mean little. One training seed a classifier, `--seed`.

Needs ../shared/data (or --data DIR) with judgements/toxic_spans and rounds/hatemoji_build; exits where it is absent.
The figures (JSON) and the chart (SVG) go into var/benchmarks/rounds_on_hatemoji, or --out DIR.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
from _common import finish  # noqa: E402
from _judged_text import ROUNDS, Text, hatemoji, toxic_spans  # noqa: E402
from _learning import ACCEPTED, auc  # noqa: E402
from _pages import PAGE, fill, table  # noqa: E402
from _pictures import save  # noqa: E402
from _rounds_picture import Cell, matrix_chart  # noqa: E402

from engine.classifiers import Classifier, Example, Recipe, load, train  # noqa: E402
from engine.evaluation.rates import Rate, beta_credible  # noqa: E402
from engine.snippets import Snippet  # noqa: E402

DATA = ROOT.parent / "shared" / "data"
WORK = ROOT / "var" / "benchmarks" / "rounds_on_hatemoji"
TOTAL, QUICK_TOTAL = 4000, 400
"""Texts in every training set."""
QUICK_ROUND = 100
TITLES = {"fnr": "Hate accepted", "fpr": "Harmless text rejected"}


def main() -> None:
    """Trains, measures, prints the tables, draws."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="400 training texts instead of 4,000, 100 of a round")
    options.add_argument("--data", type=Path, default=DATA)
    options.add_argument("--out", type=Path, default=WORK)
    options.add_argument("--docs", type=Path, help="also put the table and the chart into this folder of documentation")
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    if not (chosen.data / "rounds" / "hatemoji_build").is_dir():
        sys.exit(f"no real data in {chosen.data}: nothing measured")
    began = time.monotonic()
    comments, rounds = toxic_spans(chosen.data), hatemoji(chosen.data)
    total, most = (QUICK_TOTAL, QUICK_ROUND) if chosen.quick else (TOTAL, None)
    cells = matrix(comments, rounds, total=total, most=most, seed=chosen.seed)
    show(cells)
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "rounds-on-hatemoji.json").write_text(json.dumps([plain(one) for one in cells], indent=1) + "\n")
    if chosen.docs:
        fill(chosen.docs / PAGE, "rounds_on_hatemoji", page(cells))
    for folder in (chosen.out, chosen.docs / "images") if chosen.docs else (chosen.out,):
        save(matrix_chart(cells), folder / "rounds-on-hatemoji.svg")
    finish(
        "rounds_on_hatemoji",
        ours=[plain(one) for one in cells],
        peer=None,
        ratio=None,
        target=None,
        quick=chosen.quick,
        seed=chosen.seed,
        training_texts=total,
        seconds=round(time.monotonic() - began),
    )


def matrix(comments: list[Text], rounds: list[Text], *, total: int, most: int | None, seed: int) -> list[Cell]:
    """A cell a classifier and round, classifiers in the order trained."""
    cells = []
    for upto in (None, *ROUNDS):
        examples = training_set(comments, rounds, upto, total=total, most=most, seed=seed)
        with tempfile.TemporaryDirectory() as folder:
            train(examples, Recipe(seed=seed), out_dir=Path(folder) / "model")
            classifier = load(Path(folder) / "model")
            cells += measured(classifier, rounds, upto, most=most)
        print(f"trained up to {upto}: {len(examples)} texts", file=sys.stderr, flush=True)
    return cells


def training_set(
    comments: Sequence[Text], rounds: Sequence[Text], upto: int | None, *, total: int, most: int | None, seed: int
) -> list[Example]:
    """`total` texts of the split train: all of the rounds up to `upto`, filled up with the same first comments."""
    adversarial = [
        one
        for number in ROUNDS
        if upto is not None and number <= upto
        for one in [text for text in rounds if text.round == number and text.split == "train"][:most]
    ]
    if len(adversarial) > total:
        raise ValueError(f"{len(adversarial)} adversarial texts do not fit into {total}")
    corpus = [one for one in comments if one.split == "train"]
    order = np.random.default_rng([seed, 0x686174]).permutation(len(corpus))[: total - len(adversarial)]
    return [Example(Snippet("", one.text), one.positive) for one in [*adversarial, *(corpus[at] for at in order)]]


def measured(classifier: Classifier, rounds: Sequence[Text], upto: int | None, *, most: int | None) -> list[Cell]:
    """One classifier on the held-out texts of every round, at the threshold that held-out harmless ones give."""
    harmless = [one for one in rounds if not one.positive and one.split == "validation"]
    at = np.float32(np.quantile(logits(classifier, harmless), ACCEPTED))
    cells = []
    for number in ROUNDS:
        held_out = [one for one in rounds if one.round == number and one.split == "test"][:most]
        found, positive = logits(classifier, held_out), np.array([one.positive for one in held_out])
        accepted, rejected = (found < at) & positive, (found >= at) & ~positive
        cells.append(
            Cell(
                upto,
                number,
                upto is not None and number <= upto,
                beta_credible(int(accepted.sum()), int(positive.sum())),
                beta_credible(int(rejected.sum()), int((~positive).sum())),
                auc(found, positive),
            )
        )
    return cells


def logits(classifier: Classifier, texts: Sequence[Text]) -> np.ndarray:  # type: ignore[type-arg]
    """(n,) of the texts, which have no prompt."""
    return classifier.logits([Snippet("", one.text) for one in texts])


def show(cells: Sequence[Cell]) -> None:
    """The tables: failures accepted, harmless texts rejected, area under the ROC curve."""
    for field, title in TITLES.items():
        print(f"\n{title}, k/n, % [95 %]; (held out of a round that was trained on)")
        print(f"{'trained up to':<16}" + "".join(f"{f'round {number}':>36}" for number in ROUNDS))
        for upto in dict.fromkeys(one.upto for one in cells):
            row = [_cell(getattr(one, field), trained=one.trained) for one in cells if one.upto == upto]
            print(f"{upto or 'baseline':<16}" + "".join(f"{cell:>36}" for cell in row))
    print("\narea under the ROC curve within the round")
    for upto in dict.fromkeys(one.upto for one in cells):
        print(f"{upto or 'baseline':<16}" + "".join(f"{one.auc:>36.3f}" for one in cells if one.upto == upto))


def page(cells: Sequence[Cell]) -> str:
    """The tables in Markdown, for the documentation."""
    head = ["trained up to", *(f"round {number}" for number in ROUNDS)]
    parts = []
    for field, title in TITLES.items():
        rows = [
            [
                str(upto or "baseline"),
                *(_cell(getattr(one, field), trained=one.trained) for one in cells if one.upto == upto),
            ]
            for upto in dict.fromkeys(one.upto for one in cells)
        ]
        parts.append(f"{title}:\n\n{table(head, rows)}")
    return "\n\n".join(parts)


def _cell(rate: Rate, *, trained: bool) -> str:
    share = "none" if rate.estimate is None else f"{100 * rate.estimate:.1f}"
    text = f"{rate.failures:.0f}/{rate.n:.0f} {share} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
    return f"({text})" if trained else text


def plain(cell: Cell) -> dict[str, Any]:
    """JSON types."""
    return {**cell._asdict(), "fnr": cell.fnr.as_dict(), "fpr": cell.fpr.as_dict()}


if __name__ == "__main__":
    main()
