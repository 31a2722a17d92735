"""Matrices of errors against counts by hand and scipy's Beta."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from engine.errors import BadInput
from engine.evaluation.robustness import LabelledSet, error_matrix, joined

THRESHOLDS = {"before": 0.5, "after": 1 / (1 + math.exp(1.0))}
"""Cutoffs 0 and -1 in logits."""
FINDS = LabelledSet(
    "finds on before",
    {"before": [-3.0, -2.0, -1.5, -0.5, -0.1], "after": [-2.0, -1.0, 0.0, 3.0, -4.0]},
    [True, True, True, True, False],
    ["a", "a", "b", "c", "c"],
    "before",
)
OTHERS = LabelledSet("others", {"before": [-1.0, 0.0, 2.0], "after": [-1.5, 1.0, -2.0]}, [True, True, False])


def cell(matrix, classifier, name):
    (found,) = [one for one in matrix["cells"] if (one["classifier"], one["set"]) == (classifier, name)]
    return found


def test_false_negatives_by_hand() -> None:
    """Accepted iff strictly below: "after" accepts -2 of the four failures but not -1, which ties with its cutoff."""
    found = error_matrix("false negatives", THRESHOLDS, [FINDS, OTHERS])
    counts = {
        (one["classifier"], one["set"]): (one["credible"]["failures"], one["credible"]["n"]) for one in found["cells"]
    }
    assert counts == {
        ("before", "finds on before"): (4, 4),
        ("before", "others"): (1, 2),
        ("after", "finds on before"): (1, 4),
        ("after", "others"): (1, 2),
    }
    assert list(counts) == [(c, s) for c in found["classifiers"] for s in found["sets"]], "row by row"
    one = cell(found, "after", "finds on before")["credible"]
    assert (one["low"], one["high"]) == pytest.approx(stats.beta(2, 4).interval(0.95))
    own = [one["own_target"] for one in found["cells"]]
    assert own == [True, False, False, False]
    assert found["targets"] == {"finds on before": "before", "others": None}


def test_false_positives_by_hand() -> None:
    found = error_matrix("false positives", THRESHOLDS, [FINDS, OTHERS])
    assert [(one["credible"]["failures"], one["credible"]["n"]) for one in found["cells"]] == [
        (0, 1), (1, 1), (0, 1), (0, 1)
    ]  # fmt: skip
    nothing = cell(found, "before", "finds on before")["clustered"]
    assert (nothing["low"], nothing["high"]) == pytest.approx((0, 0.975)), "a limit, not zero"


def test_clusters_widen_and_a_set_without_failures_says_nothing() -> None:
    logits = np.tile([-1.0, 1.0], 20)
    seeds = np.arange(40) // 10 * 2 + np.tile([0, 1], 20)
    sets = [
        LabelledSet("s", {"before": logits}, np.ones(40, bool), seeds),
        LabelledSet("t", {"before": [1.0]}, [False]),
    ]
    found = error_matrix("false negatives", {"before": 0.5}, sets)
    wide, narrow = cell(found, "before", "s")["clustered"], cell(found, "before", "s")["credible"]
    assert wide["estimate"] == narrow["estimate"] == 0.5
    assert wide["high"] - wide["low"] > 1.5 * (narrow["high"] - narrow["low"])
    empty = cell(found, "before", "t")
    assert (empty["credible"]["estimate"], empty["clustered"]["low"], empty["clustered"]["high"]) == (None, 0, 1)


def test_joined_sets_count_each_snippet_once() -> None:
    more = LabelledSet(
        "more", {"before": [-1.5, -9.0], "after": [0.0, -9.0]}, [True, True], ["b", "d"], "before"
    )  # fmt: skip
    found = joined("all", [FINDS, more], [["1", "2", "3", "4", "5"], ["3", "6"]])
    assert np.asarray(found.logits["before"]).tolist() == pytest.approx([-3.0, -2.0, -1.5, -0.5, -0.1, -9.0])
    assert np.asarray(found.failures).tolist() == [True, True, True, True, False, True]
    assert np.asarray(found.clusters).tolist() == ["a", "a", "b", "c", "c", "d"]
    assert found.target == "before"
    with pytest.raises(BadInput, match="different targets"):
        joined("all", [FINDS, OTHERS], [["1"] * 5, ["2"] * 3])


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        ([FINDS, FINDS], "one name"),
        ([LabelledSet("x", {"before": [0.0]}, [True])], "after has not scored x"),
        ([LabelledSet("x", {"before": [0.0], "after": [math.nan]}, [True])], "not a number"),
        ([LabelledSet("x", {"before": [0.0, 1.0], "after": [0.0]}, [True])], "2 logits, 1 labels"),
    ],
)
def test_what_makes_no_sense_is_refused(sets: list[LabelledSet], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        error_matrix("false negatives", THRESHOLDS, sets)
