import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from engine.errors import BadInput
from engine.evaluation.compare import sign_flip, tango
from engine.evaluation.rates import clopper_pearson, clustered, clustered_garwood, garwood
from engine.evaluation.yields import Attacked, attack_yield, compare_yields, holm

NAN = math.nan


def attacked(answers, *, queries=None, **more):
    """A run from one string a seed: Y a failure, N not, ? no consensus yet; each labelled one took 30 seconds."""
    seed_of = [i for i, seed in enumerate(answers) for _ in seed]
    flat = "".join(answers)
    fields = {
        "queries": [100] * len(answers) if queries is None else queries,
        "seed_of": seed_of,
        "labelled": [answer != "?" for answer in flat],
        "failure": [answer == "Y" for answer in flat],
        "label_seconds": [NAN if answer == "?" else 30.0 for answer in flat],
        "similarity": [0.9] * len(flat),
        "edits": [2] * len(flat),
    }
    return Attacked(**{**fields, **more})


def test_yields_by_hand():
    run = attacked(
        ["YYN", "N", "", "??", "Y?"],
        queries=[50, 100, 200, 80, 70],
        similarity=[0.9, 0.8, NAN, 0.7, 0.6, 0.5, 1.0, NAN],
        edits=[1, 2, 3, 4, NAN, NAN, 2, 3],
        labels=11,
        seconds=4.5,
    )
    found = attack_yield(run)
    assert (found.seeds, found.open_seeds, found.candidates, found.labelled, found.failures) == (5, 1, 8, 5, 3)
    assert (found.labels, found.label_seconds, found.queries, found.seconds) == (11, 150.0, 500, 4.5)
    assert found.per_candidate == clustered([1, 1, 0, 0, 1], [0, 0, 0, 1, 4])
    assert found.per_candidate.estimate == 3 / 5
    assert found.seeds_broken == clopper_pearson(2, 4)
    assert found.per_1000_queries == clustered_garwood([2, 0, 0, 1], [0.05, 0.1, 0.2, 0.035], [3, 1, 0, 1])
    assert found.per_1000_queries.estimate == pytest.approx(3 / 0.385)
    assert found.per_minute == clustered_garwood([2, 0, 1], [1.5, 0.5, 0.5], [3, 1, 1])
    assert found.per_minute.estimate == pytest.approx(3 / 2.5)
    assert found.mean_similarity == pytest.approx(4.5 / 6)
    assert found.mean_edits == pytest.approx(15 / 6)
    assert found.queries_per_candidate == 500 / 8


def test_a_seed_that_the_budget_never_reached_is_not_unbroken():
    """The third was accepted as it stands before anything was asked; the fourth was cut off with a find to label."""
    run = attacked(
        ["N", "", "", "?", ""],
        queries=[9, 0, 0, 0, 3],
        reached=[True, False, False, False, True],
        accepted_unedited=[False, False, True, False, False],
    )
    found = attack_yield(run)
    assert (found.unreached, found.open_seeds) == (1, 1)
    assert found.seeds_broken == clopper_pearson(1, 3)
    before, after = run, run._replace(reached=None)
    assert compare_yields({"a": (before, after)})["a"].open_seeds == 2


def test_nothing_reached_is_no_rate():
    found = attack_yield(attacked(["", ""], queries=[0, 0], reached=[False, False]))
    assert (found.unreached, found.seeds_broken.n) == (2, 0)


def test_no_finds_give_an_upper_limit():
    found = attack_yield(attacked(["N", "N", "", "N"]))
    assert found.per_candidate == clopper_pearson(0, 3)
    assert found.seeds_broken == clopper_pearson(0, 4)
    assert found.per_1000_queries[:3] == pytest.approx((0, 0, -math.log(0.025) / 0.4))
    assert found.per_minute[:3] == pytest.approx((0, 0, -math.log(0.025) / 1.5))


def test_no_candidates_are_an_upper_limit_per_seed_and_query_only():
    found = attack_yield(attacked(["", "", ""]))
    assert found.seeds_broken == clopper_pearson(0, 3)
    assert found.per_1000_queries[:3] == pytest.approx((0, 0, -math.log(0.025) / 0.3))
    assert found.per_candidate.estimate is None
    assert found.per_candidate[1:3] == (0, 1)
    assert (found.per_minute, found.mean_similarity, found.mean_edits, found.queries_per_candidate) == (None,) * 4


def test_no_exposure_is_no_estimate():
    found = attack_yield(attacked([]))
    assert (found.seeds, found.per_1000_queries, found.per_minute) == (0, None, None)
    assert found.seeds_broken.estimate is None
    unlabelled = attack_yield(attacked(["??", "?"]))
    assert (unlabelled.open_seeds, unlabelled.per_1000_queries, unlabelled.per_minute) == (2, None, None)
    assert unlabelled.per_candidate.estimate is None
    assert attack_yield(attacked(["Y"], queries=[0])).per_1000_queries is None


def test_candidates_whose_time_is_unknown_do_not_count_per_minute():
    found = attack_yield(attacked(["YY", "N"], label_seconds=[60.0, NAN, 60.0]))
    assert found.per_minute.failures == 1
    assert found.per_minute.n == 2
    assert found.label_seconds == 120


def test_what_is_accepted_unedited_is_broken():
    run = attacked(["", "N", "?"], accepted_unedited=[True, False, True])
    found = attack_yield(run)
    assert found.seeds_broken == clopper_pearson(2, 3)
    assert (found.accepted_unedited, found.open_seeds, found.failures) == (2, 0, 0)


def test_seeds_of_one_story_are_one_cluster():
    run = attacked(["Y", "Y", "N", "N", "Y", "N"], groups=["a", "a", "b", "b", "c", "c"])
    found = attack_yield(run)
    assert found.seeds_broken == clustered([1, 1, 0, 0, 1, 0], [0, 0, 1, 1, 2, 2])
    assert found.per_candidate == found.seeds_broken
    assert found.per_1000_queries == clustered_garwood([2, 0, 1], [0.2] * 3, [2, 2, 2])


def test_alike_candidates_widen_the_interval():
    together = attack_yield(attacked(["YYYY", "NNNN"] * 10))
    apart = attack_yield(attacked(["YYNN"] * 20))
    assert together.per_candidate.estimate == apart.per_candidate.estimate == 0.5
    assert together.per_candidate.high - together.per_candidate.low > 0.4
    assert apart.per_candidate.high - apart.per_candidate.low < 0.25
    assert apart.per_1000_queries[:3] == pytest.approx(garwood(40, 2)[:3])
    assert together.per_1000_queries.method == "Garwood, design effect 2.40 (20 clusters)"
    assert together.per_1000_queries.low < 12 < 14 < apart.per_1000_queries.low


def test_clustered_garwood_by_hand():
    """Residuals 2, -1, -1 around the ratio 1: variance 3/2 * 6 over 3 events, and two degrees of freedom."""
    effect = 3 * (stats.t.ppf(0.975, 2) / stats.norm.ppf(0.975)) ** 2
    found = clustered_garwood([3, 0, 0], [1, 1, 1], [3, 3, 3])
    assert found.estimate == 1
    assert found.low == pytest.approx(stats.gamma.ppf(0.025, 3 / effect) * effect / 3)
    assert found.high == pytest.approx(stats.gamma.ppf(0.975, 3 / effect + 1) * effect / 3)
    assert found.method == f"Garwood, design effect {effect:.2f} (3 clusters)"


def test_clustered_garwood_without_events_takes_a_cluster_as_one():
    assert clustered_garwood([0, 0], [1, 3], [4, 4]).high == pytest.approx(4 * garwood(0, 4).high)
    assert clustered_garwood([2], [5], [2]).high == pytest.approx(stats.gamma.ppf(0.975, 2) * 2 / 5)


def test_clustered_garwood_of_even_clusters_is_garwood():
    assert clustered_garwood([1] * 10, [2.0] * 10, [1] * 10)[:3] == pytest.approx(garwood(10, 20)[:3])


@pytest.mark.parametrize(
    ("events", "exposure", "most"),
    [([1], [0], [1]), ([2], [1], [1]), ([1], [1, 1], [1]), ([-1], [1], [1]), ([], [], [])],
)
def test_clustered_garwood_refuses(events, exposure, most):
    with pytest.raises(BadInput):
        clustered_garwood(events, exposure, most)


def test_intervals_cover_where_candidates_are_alike():
    """30 seeds of four candidates with a correlation of a half, where Clopper-Pearson on candidates falls short."""
    rng = np.random.default_rng(5)
    covered, naive, per_query = 0, 0, 0
    for _ in range(300):
        chance = rng.beta(0.3, 0.7, 30)
        answers = ["".join("Y" if rng.random() < p else "N" for _ in range(4)) for p in chance]
        found = attack_yield(attacked(answers))
        plain = clopper_pearson(found.failures, 120)
        covered += found.per_candidate.low <= 0.3 <= found.per_candidate.high
        per_query += found.per_1000_queries.low <= 12 <= found.per_1000_queries.high
        naive += plain.low <= 0.3 <= plain.high
    assert naive < 270
    assert covered >= 279
    assert per_query >= 279


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"seed_of": [0, 2, 1]}, "seed_of"),
        ({"seed_of": [0, -1, 1]}, "seed_of"),
        ({"labelled": [True]}, "labelled"),
        ({"failure": [True, True, True], "labelled": [True, True, False]}, "failure"),
        ({"queries": [-1, 5]}, "queries"),
        ({"queries": [NAN, 5]}, "queries"),
        ({"label_seconds": [-1, 0, 0]}, "label_seconds"),
        ({"groups": ["a"]}, "groups"),
        ({"accepted_unedited": [True]}, "accepted_unedited"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, where):
    with pytest.raises(BadInput, match=where):
        attack_yield(attacked(["YN", "N"], **change))


def test_before_and_after_by_hand():
    before = attacked(["Y", "YN", "Y", "Y", "Y", "Y", "Y", "N", "?", ""])
    after = attacked(["N", "", "N", "N", "", "N", "Y", "N", "Y", "?"])
    found = compare_yields({"paraphrase": (before, after)})["paraphrase"]
    seeds = found.seeds
    assert (seeds.only_before, seeds.only_after, seeds.both, seeds.neither, seeds.n) == (6, 0, 1, 1, 8)
    assert found.open_seeds == 2
    assert seeds.difference.estimate == -6 / 8
    assert seeds.difference[1:3] == pytest.approx(tango(0, 6, 8))
    assert found.p_value == found.p_adjusted == pytest.approx(2 / 2**6)
    assert found.verdict == "lower"
    swapped = compare_yields({"paraphrase": (after, before)})["paraphrase"]
    assert (swapped.verdict, swapped.p_value) == ("higher", found.p_value)
    assert json.loads(json.dumps(found.as_dict()))["seeds"]["only_before"] == 6


def test_a_verdict_holds_for_all_attacks_together():
    """Six of six is p = 0.031: clear alone, not among three."""
    down, same = (attacked(["Y"] * 6 + ["N"] * 4), attacked(["N"] * 10)), (attacked(["Y"] * 10),) * 2
    alone = compare_yields({"a": down})["a"]
    among = compare_yields({"a": down, "b": same, "c": same})
    assert (alone.verdict, alone.attacks) == ("lower", 1)
    assert (among["a"].verdict, among["a"].attacks) == ("not shown lower", 3)
    assert among["a"].p_adjusted == pytest.approx(3 * alone.p_value)
    assert (among["b"].verdict, among["b"].p_adjusted) == ("not shown lower", 1)


def test_nothing_known_is_no_comparison_and_takes_no_share_of_the_level():
    down = (attacked(["Y"] * 6), attacked(["N"] * 6))
    found = compare_yields({"a": down, "b": (attacked(["?"] * 6), attacked(["Y"] * 6))})
    assert (found["b"].verdict, found["b"].open_seeds, found["b"].p_adjusted) == ("no comparison", 6, 1)
    assert found["b"].seeds.difference.estimate is None
    assert (found["a"].attacks, found["a"].verdict) == (1, "lower")


def test_seeds_of_one_story_swap_together():
    groups = [i // 2 for i in range(12)]
    before, after = attacked(["Y"] * 12, groups=groups), attacked(["N"] * 10 + ["Y"] * 2, groups=groups)
    found = compare_yields({"a": (before, after)}, seed=3)["a"]
    assert found.p_value == sign_flip(np.array([-1] * 10 + [0, 0]), np.array(groups)) == 2 / 2**5
    assert found.verdict == "not shown lower"
    assert found.seeds.p_value == pytest.approx(2 / 2**10)


def test_both_runs_attack_the_same_seeds():
    with pytest.raises(BadInput, match="same seeds"):
        compare_yields({"a": (attacked(["Y"]), attacked(["Y", "N"]))})


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_statsmodels(values):
    adjusted = holm({str(i): value for i, value in enumerate(values)})
    expected = multipletests(values, method="holm")[1]
    assert [adjusted[str(i)] for i in range(len(values))] == pytest.approx(expected.tolist())


def test_a_yield_is_json():
    found = attack_yield(attacked(["YN", "?"])).as_dict()
    assert json.loads(json.dumps(found)) == found
    assert found["per_candidate"]["failures"] == 1
    assert found["per_minute"]["n"] == 1
    assert attack_yield(attacked([""])).as_dict()["per_minute"] is None
