import csv
import time
from pathlib import Path

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from engine.aggregation.agreement import agreement, alpha_from_sums, disagreements
from engine.aggregation.kappa import cohen_kappa, pairwise_kappas
from engine.aggregation.votes import VoteTable
from engine.evaluation.bootstrap import resampled_sums

DATA = Path(__file__).parents[3] / "shared" / "data" / "judgements" / "toxic_spans" / "annotations.csv"
# Krippendorff's own example (four observers, twelve units): alpha is 0.743 for nominal data.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


def table_of(rows, choices):
    """`rows`: one list per annotator of answers per item, None where there is none."""
    cells = [(i, a, answer) for a, row in enumerate(rows) for i, answer in enumerate(row) if answer is not None]
    items, annotators, answers = (np.array(column, dtype=np.int64) for column in zip(*cells, strict=True))
    staff = np.zeros(items.size, dtype=bool)
    return VoteTable(items, annotators, answers, staff, len(rows[0]), tuple(choices))


def krippendorffs_example():
    rows = [[None if value is None else value - 1 for value in row] for row in OBSERVERS]
    return table_of(rows, "abcde")


def random_table(seed, *, items=120, annotators=6, share=0.5, choices=3):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, choices, items)
    rows = [
        [int(t if rng.random() < 0.7 else rng.integers(choices)) if rng.random() < share else None for t in truth]
        for _ in range(annotators)
    ]
    return table_of(rows, "abcdef"[:choices])


def test_alpha_of_krippendorffs_example():
    found = agreement(krippendorffs_example(), resamples=200)
    assert found.alpha.estimate == pytest.approx(0.743421, abs=1e-6)
    assert (found.items, found.items_with_pairs, found.votes, found.annotators) == (12, 11, 41, 4)
    assert found.alpha.n == 11
    assert found.votes_by_choice == {"a": 9, "b": 13, "c": 11, "d": 5, "e": 3}


def test_alpha_from_sums_is_the_packages_alpha_on_every_resample():
    table = random_table(1)
    counts = table.counts()
    kept = counts[counts.sum(axis=1) >= 2]
    rng = np.random.default_rng(5)
    for _ in range(30):
        sample = kept[rng.integers(0, len(kept), len(kept))]
        votes = sample.sum(axis=1, keepdims=True)
        sums = np.hstack((sample * (sample - 1) / (votes - 1), sample)).sum(axis=0, keepdims=True)
        expected = krippendorff.alpha(value_counts=sample, level_of_measurement="nominal")
        assert alpha_from_sums(sums)[0] == pytest.approx(expected, abs=1e-12)


def test_resampled_sums_are_a_bootstrap():
    rows = np.random.default_rng(2).integers(0, 3, (40, 2)).astype(float)
    sums = resampled_sums(rows, 20_000, np.random.default_rng(0))
    assert sums.shape == (20_000, 2)
    assert sums.mean(axis=0) == pytest.approx(rows.sum(axis=0), rel=0.01)
    assert sums.std(axis=0) == pytest.approx(np.sqrt(40) * rows.std(axis=0), rel=0.03)


def test_observed_agreement_is_krippendorffs_by_hand():
    # Item 1: a a b has 1 matching pair of 3; item 2: a a has 1 of 1; item 3 has a single vote and does not count.
    table = table_of([[0, 0, 1], [0, 0, None], [1, None, None]], "ab")
    found = agreement(table, resamples=50)
    assert found.percent.estimate == pytest.approx((3 * (1 / 3) + 2 * 1) / 5)
    assert found.per_choice["a"].estimate == pytest.approx((2 * 1 / 2 + 2 * 1 / 1) / 4)
    assert found.per_choice["b"].estimate == 0
    assert found.items_in_dispute == 1


def test_specific_agreement_of_two_annotators_is_the_textbook_one():
    a, b = [0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 1, 0, 1, 1, 1, 1]
    found = agreement(table_of([a, b], ("Yes", "No")), resamples=50)
    assert found.per_choice["Yes"].estimate == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert found.percent.estimate == pytest.approx(6 / 8)


def test_intervals_hold_the_estimate_and_do_not_depend_on_the_run():
    table = random_table(7)
    first, again = agreement(table, seed=4), agreement(table, seed=4)
    assert first == again
    for estimate in (first.alpha, first.percent, *first.per_choice.values()):
        assert estimate.low < estimate.estimate < estimate.high


def test_alpha_interval_covers():
    """Seeded: 200 samples of 80 items from one population; the 95 % interval holds its alpha in at least 90 %."""
    population = random_table(11, items=6000)
    counts = population.counts()
    truth = agreement(population, resamples=2).alpha.estimate
    covered = 0
    for seed in range(200):
        pick = np.random.default_rng([seed]).choice(6000, 80, replace=False)
        votes = np.repeat(np.tile(np.arange(3), 80), counts[pick].ravel())
        items = np.repeat(np.arange(80), counts[pick].sum(axis=1))
        sample = VoteTable(items, np.arange(items.size), votes, np.zeros(items.size, bool), 80, ("a", "b", "c"))
        found = agreement(sample, seed=seed, resamples=300).alpha
        covered += found.low <= truth <= found.high
    assert covered >= 180


def test_nothing_judged_twice_has_no_agreement():
    found = agreement(table_of([[0, 1, None], [None, None, 1]], "ab"))
    assert found.alpha.estimate is None
    assert found.percent.estimate is None
    assert found.alpha.low is None
    assert (found.items, found.items_with_pairs, found.votes) == (3, 0, 3)


def test_one_answer_only_has_full_agreement_but_no_alpha():
    found = agreement(table_of([[0, 0], [0, 0]], "ab"), resamples=20)
    assert found.percent.estimate == 1
    assert found.alpha.estimate is None
    assert found.per_choice["b"].estimate is None


def test_full_agreement_is_known_only_as_far_as_the_items_tell():
    found = agreement(table_of([[0, 0, 1, 0], [0, 0, 1, 0]], "ab"), resamples=200)
    unseen = 1 - 0.025 ** (1 / 4)
    assert found.percent[:3] == (1.0, pytest.approx(1 - unseen), 1.0)
    assert found.per_choice["b"][:3] == (1.0, pytest.approx(0.025), 1.0)
    assert found.alpha.estimate == 1
    assert found.alpha.low == pytest.approx(1 - unseen / (1 - (6 * 5 + 2 * 1) / (8 * 7)))
    opposed = agreement(table_of([[0, 0], [1, 1]], "ab"), resamples=50).percent
    assert opposed[:3] == (0.0, 0.0, pytest.approx(1 - 0.025 ** (1 / 2)))


def test_no_votes_at_all():
    empty = np.zeros(0, dtype=np.int64)
    table = VoteTable(empty, empty, empty, empty.astype(bool), 0, ("Yes", "No"))
    assert agreement(table).votes == 0
    assert disagreements(table) == []
    assert pairwise_kappas(table).pairs() == []


def test_disagreements_come_worst_first():
    table = table_of([[0, 0, 0, 0], [0, 1, 0, 1], [0, None, 1, 1], [0, None, 0, 0]], "ab")
    assert [tuple(d) for d in disagreements(table)] == [
        (1, (1, 1), 1.0),
        (3, (2, 2), pytest.approx(4 / 6)),
        (2, (3, 1), pytest.approx(3 / 6)),
    ]
    assert len(disagreements(table, limit=1)) == 1


def test_kappas_are_sklearns():
    table = random_table(3, items=200, annotators=4)
    found = pairwise_kappas(table, min_overlap=10, resamples=200)
    assert len(found.pairs()) == 6
    for pair in found.pairs():
        votes = [
            dict(zip(table.items[m], table.answers[m], strict=True))
            for m in (table.annotators == a for a in (pair["a"], pair["b"]))
        ]
        shared = sorted(votes[0].keys() & votes[1].keys())
        expected = cohen_kappa_score([votes[0][i] for i in shared], [votes[1][i] for i in shared])
        assert pair["items"] == len(shared)
        assert pair["kappa"] == pytest.approx(expected, abs=1e-12)
        assert pair["low"] < pair["kappa"] < pair["high"]


def test_vectorised_kappa_is_sklearns():
    confusion = np.random.default_rng(8).integers(0, 9, (20, 3, 3)).astype(float)
    said_a, said_b = np.indices((3, 3))
    expected = [cohen_kappa_score(said_a.ravel(), said_b.ravel(), sample_weight=c.ravel()) for c in confusion]
    assert cohen_kappa(confusion) == pytest.approx(expected, abs=1e-12)


def test_kappa_needs_overlap_and_counts_an_annotators_first_vote():
    rows = [[0, 0, 1, 1], [0, 0, 1, 1], [0, None, None, None]]
    table = table_of(rows, "ab")
    table = VoteTable(
        np.append(table.items, 0), np.append(table.annotators, 0), np.append(table.answers, 1),
        np.append(table.staff, False), 4, ("a", "b"),
    )  # fmt: skip
    pairs = pairwise_kappas(table, min_overlap=4, resamples=50).pairs()
    assert [(p["a"], p["b"], p["items"], p["kappa"]) for p in pairs] == [(0, 1, 4, 1.0)]
    assert pairwise_kappas(table, min_overlap=5).pairs() == []


def test_kappa_of_two_who_always_gave_the_same_one_answer_is_undefined():
    found = pairwise_kappas(table_of([[0] * 5, [0] * 5], "ab"), min_overlap=5)
    assert np.isnan(found.kappa).all()
    assert found.items[0, 1] == 5


@pytest.mark.skipif(not DATA.exists(), reason=f"the crowd judgements are not at {DATA}")
def test_real_crowd_judgements_in_under_two_seconds():
    with DATA.open(newline="") as file:
        rows = list(csv.DictReader(file))
    items = np.unique([row["comment_id"] for row in rows], return_inverse=True)[1]
    workers = np.unique([row["worker"] for row in rows], return_inverse=True)[1]
    answers = np.array([0 if row["all toxic"] == "True" else 1 for row in rows])
    table = VoteTable(items, workers, answers, np.zeros(len(rows), bool), int(items.max()) + 1, ("toxic", "not"))
    start = time.process_time()
    found = agreement(table)
    kappas = pairwise_kappas(table, min_overlap=20)
    assert time.process_time() - start < 2
    assert (found.votes, found.annotators, found.items) == (59_215, 3_579, 16_100)
    assert found.votes_by_choice == {"toxic": 21_952, "not": 37_263}
    counts = table.counts()
    expected = krippendorff.alpha(value_counts=counts[counts.sum(axis=1) > 1], level_of_measurement="nominal")
    assert found.alpha.estimate == pytest.approx(expected, abs=1e-12)
    assert found.alpha.low < expected < found.alpha.high
    assert all(-1 <= pair["kappa"] <= 1 for pair in kappas.pairs() if pair["kappa"] is not None)
