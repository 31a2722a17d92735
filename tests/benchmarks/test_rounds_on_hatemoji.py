"""The false-negative matrix: what is trained on, what is held out, what a cell counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from _judged_text import ROUNDS, Text
from _rounds_picture import Cell, matrix_chart
from rounds_on_hatemoji import measured, training_set

from engine.evaluation.rates import beta_credible
from engine.snippets import Snippet

SPLITS = ("train", "validation", "test")
COMMENTS = [Text(f"comment {i}", i % 3 == 0, SPLITS[i % 4 % 3]) for i in range(400)]
HATE = [Text(f"round {r} text {i}", i % 2 == 0, SPLITS[i % 3], r) for r in ROUNDS for i in range(60)]


def texts(upto: int | None, seed: int = 0) -> list[str]:
    return [one.snippet.completion for one in training_set(COMMENTS, HATE, upto, total=150, most=None, seed=seed)]


def test_every_training_set_has_the_same_size_and_only_training_texts() -> None:
    allowed = {one.text for one in [*COMMENTS, *HATE] if one.split == "train"}
    for upto in (None, *ROUNDS):
        found = texts(upto)
        assert len(found) == len(set(found)) == 150
        assert set(found) <= allowed


def test_a_classifier_is_trained_on_all_rounds_up_to_its_own() -> None:
    counts = [[sum(t.startswith(f"round {r}") for t in texts(upto)) for r in ROUNDS] for upto in (None, *ROUNDS)]
    assert counts == [[0, 0, 0], [20, 0, 0], [20, 20, 0], [20, 20, 20]]


def test_adversarial_texts_take_the_place_of_comments_that_are_otherwise_the_same() -> None:
    comments = [[t for t in texts(upto) if t.startswith("comment")] for upto in (None, 5, 7)]
    assert [len(c) for c in comments] == [150, 130, 90]
    assert comments[1] == comments[0][:130]
    assert comments[2] == comments[0][:90]
    assert texts(5, seed=1) != texts(5)


def test_adversarial_texts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="60 adversarial texts do not fit into 50"):
        training_set(COMMENTS, HATE, 7, total=50, most=None, seed=0)


class ByNumber:
    """Scores a text by the number in it."""

    def logits(self, snippets: Sequence[Snippet]) -> np.ndarray:
        return np.array([float(one.completion.split()[-1]) for one in snippets], dtype=np.float32)


def test_a_cell_counts_held_out_hate_accepted_and_harmless_text_rejected() -> None:
    harmless = [Text(f"harmless {i}", False, "validation", 6) for i in range(101)]  # threshold 60.65: 61 are below
    hate = [Text("a 59", True, "test", 5), Text("b 62", True, "test", 5), Text("c 1", True, "train", 5)]
    hate.append(Text("d 2", True, "validation", 5))
    fine = [Text("d 61", False, "test", 5), Text("e 10", False, "test", 5)]
    rest = [Text(f"{r} {i}", i > 50, "test", r) for r in (6, 7) for i in (40, 70)]
    cells = measured(ByNumber(), [*harmless, *hate, *fine, *rest], 6, most=None)
    assert [one.trained for one in cells] == [True, True, False]
    assert cells[0].fnr == beta_credible(1, 2)
    assert cells[0].fpr == beta_credible(1, 2)
    assert cells[0].auc == 0.75
    assert cells[2].fnr == beta_credible(0, 1)


def test_the_chart_greys_what_was_trained_on() -> None:
    rate = beta_credible(3, 10)
    cells = [Cell(upto, 5, upto is not None, rate, rate, 0.7) for upto in (None, 5)]
    markers = [trace.marker for trace in matrix_chart(cells).data if trace.mode == "markers"]
    assert [m.color == "#ffffff" for m in markers] == [False, False, True, True]
