import csv
import time
from pathlib import Path

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa as statsmodels_fleiss

from engine.aggregation.agreement import agreement, agreement_by, alpha_from_sums, disagreements
from engine.aggregation.chance import chance_rows, fleiss_kappa, gwet_ac1, gwet_ac2, ordinal_weights
from engine.aggregation.kappa import cohen_kappa, pairwise_kappas, sharing_most
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


def abstractors():
    """Gwet's example of two abstractors, 100 patients, three kinds (Ectopic, AIU, NIU)."""
    pairs = [(0, 0)] * 13 + [(1, 1)] * 20 + [(1, 2)] * 7 + [(2, 1)] * 4 + [(2, 2)] * 56
    return table_of([[a for a, _ in pairs], [b for _, b in pairs]], ("Ectopic", "AIU", "NIU"))


def test_gwets_example_of_two_raters():
    """AC1 and Scott's pi (Fleiss' kappa of two) as R's irrCAC prints them; the ordinal AC2 as Python's 0.4.4 does."""
    found = agreement(abstractors(), resamples=200)
    assert found.percent.estimate == pytest.approx(0.89)
    assert found.ac1.estimate == pytest.approx(0.8493305, abs=1e-7)
    assert found.fleiss.estimate == pytest.approx(0.7962397, abs=1e-7)
    assert found.ac2.estimate == pytest.approx(0.9251917, abs=1e-7)
    # By hand: the choices' shares are 26, 51 and 123 of 200; a neighbour weighs 2/3, all weights sum to 17/3.
    spread = sum(share * (1 - share) for share in (0.13, 0.255, 0.615))
    assert found.ac1.estimate == pytest.approx((0.89 - spread / 2) / (1 - spread / 2), abs=1e-12)
    chance = 17 / 3 / 6 * spread
    assert found.ac2.estimate == pytest.approx((0.89 + 0.11 * 2 / 3 - chance) / (1 - chance), abs=1e-12)
    for estimate in (found.ac1, found.ac2, found.fleiss):
        assert estimate.low < estimate.estimate < estimate.high
        assert estimate.n == 100


def test_gwets_example_of_four_raters_with_gaps():
    """As R's irrCAC prints them: the unit with one rating tells how common its choice is, and nothing of agreement."""
    found = agreement(krippendorffs_example(), resamples=200)
    assert found.ac1.estimate == pytest.approx(0.77544, abs=5e-6)
    assert found.fleiss.estimate == pytest.approx(0.76117, abs=5e-6)
    assert found.ac1.n == 11


def test_fleiss_is_statsmodels_where_all_items_have_as_many_votes():
    table = random_table(13, items=90, annotators=5, share=1.0)
    expected = statsmodels_fleiss(table.counts(), method="fleiss")
    assert agreement(table, resamples=50).fleiss.estimate == pytest.approx(expected, abs=1e-12)


def test_coefficients_are_their_definitions_written_out_pair_by_pair():
    table = random_table(21, items=70, annotators=5, share=0.5, choices=4)
    weights = {0: 1.0, 1: 1 - 1 / 6, 2: 1 - 3 / 6, 3: 0.0}
    votes = [table.answers[table.items == item].tolist() for item in range(70)]
    votes = [given for given in votes if given]
    shares = [sum(given.count(k) / len(given) for given in votes) / len(votes) for k in range(4)]

    def agreed(weight):
        each = []
        for given in votes:
            pairs = [(a, b) for i, a in enumerate(given) for j, b in enumerate(given) if i != j]
            each += [sum(weight(a, b) for a, b in pairs) / len(pairs)] if pairs else []
        return sum(each) / len(each)

    same, near = agreed(lambda a, b: float(a == b)), agreed(lambda a, b: weights[abs(a - b)])
    spread = sum(share * (1 - share) for share in shares)
    total = sum(weights[abs(a - b)] for a in range(4) for b in range(4))
    expected = {
        "fleiss": (same, sum(share**2 for share in shares)),
        "ac1": (same, spread / 3),
        "ac2": (near, total / 12 * spread),
    }
    assert sum(len(given) == 1 for given in votes) > 3
    found = agreement(table, resamples=50)
    for name, (observed, chance) in expected.items():
        assert getattr(found, name).estimate == pytest.approx((observed - chance) / (1 - chance), abs=1e-12), name


def test_ordinal_weights_are_gwets():
    assert ordinal_weights(4)[0] == pytest.approx([1, 1 - 1 / 6, 1 - 3 / 6, 0])
    assert ordinal_weights(2).tolist() == [[1, 0], [0, 1]]
    assert ordinal_weights(1).tolist() == [[1]]


def test_sums_of_resamples_give_what_the_resampled_items_give():
    """The bootstrap's statistic from column sums is the statistic of the same items taken one by one."""
    counts = random_table(2).counts()
    counts = counts[counts.any(axis=1)]
    rng = np.random.default_rng(9)
    for _ in range(20):
        sample = counts[rng.integers(0, len(counts), len(counts))]
        columns = (
            np.repeat(np.arange(len(sample)), sample.sum(axis=1)),
            np.repeat(np.indices(sample.shape)[1], sample.ravel()),
        )
        items, answers = columns
        whole = agreement(
            VoteTable(items, items, answers, np.zeros(items.size, bool), len(sample), ("a", "b", "c")), resamples=2
        )
        sums = chance_rows(sample).sum(axis=0, keepdims=True)
        for name, of in (("fleiss", fleiss_kappa), ("ac1", gwet_ac1), ("ac2", gwet_ac2)):
            assert of(sums).value[0] == pytest.approx(getattr(whole, name).estimate, abs=1e-12)


def test_a_rare_choice_deflates_kappa_and_not_ac1():
    """Two who agree on 196 of 200 items, two of them Yes: kappa is 0.49, AC1 near the 98 % that one sees."""
    a = [0] * 4 + [1] * 196
    b = [0] * 2 + [1] * 2 + [0] * 2 + [1] * 194
    found = agreement(table_of([a, b], ("Yes", "No")), resamples=100)
    assert found.percent.estimate == pytest.approx(0.98)
    assert found.fleiss.estimate == pytest.approx((0.98 - 0.02**2 - 0.98**2) / (1 - 0.02**2 - 0.98**2))
    assert found.ac1.estimate == pytest.approx((0.98 - 2 * 0.02 * 0.98) / (1 - 2 * 0.02 * 0.98))
    assert found.ac2.estimate == pytest.approx(found.ac1.estimate)
    assert found.fleiss.estimate < 0.5
    assert found.ac1.estimate > 0.97


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
    for estimate in (first.alpha, first.fleiss, first.ac1, first.ac2, first.percent, *first.per_choice.values()):
        assert estimate.low < estimate.estimate < estimate.high


@pytest.mark.parametrize("name", ["alpha", "fleiss", "ac1", "ac2"])
def test_intervals_cover(name):
    """Seeded: 200 samples of 80 items from one population; the 95 % interval holds its value in at least 90 %."""
    population = random_table(11, items=6000)
    counts = population.counts()
    truth = getattr(agreement(population, resamples=2), name).estimate
    covered = 0
    for seed in range(200):
        pick = np.random.default_rng([seed]).choice(6000, 80, replace=False)
        votes = np.repeat(np.tile(np.arange(3), 80), counts[pick].ravel())
        items = np.repeat(np.arange(80), counts[pick].sum(axis=1))
        sample = VoteTable(items, np.arange(items.size), votes, np.zeros(items.size, bool), 80, ("a", "b", "c"))
        found = getattr(agreement(sample, seed=seed, resamples=300), name)
        covered += found.low <= truth <= found.high
    assert covered >= 180


@pytest.mark.parametrize("seed", [3, 4])
def test_intervals_are_those_of_a_plain_bootstrap(seed):
    """Items drawn one by one and every statistic computed anew on each draw, by the same functions' point estimates."""
    table = random_table(seed, items=60, annotators=4, share=0.6)
    found = agreement(table, resamples=4000)
    rng = np.random.default_rng(seed)
    votes = [np.flatnonzero(table.items == item) for item in range(60)]
    judged = [places for places in votes if places.size]
    drawn = {name: [] for name in ("alpha", "fleiss", "ac1", "ac2", "percent")}
    for _ in range(1000):
        sample = [judged[i] for i in rng.integers(0, len(judged), len(judged))]
        items = np.repeat(np.arange(len(sample)), [places.size for places in sample])
        answers = table.answers[np.concatenate(sample)]
        again = agreement(VoteTable(items, items, answers, np.zeros(items.size, bool), len(sample), "abc"), resamples=1)
        for name, values in drawn.items():
            values.append(getattr(again, name).estimate)
    for name, values in drawn.items():
        low, high = np.quantile(values, [0.025, 0.975])
        spread = np.std(values)
        assert getattr(found, name).low == pytest.approx(low, abs=0.25 * spread), name
        assert getattr(found, name).high == pytest.approx(high, abs=0.25 * spread), name


def test_agreement_by_part_is_the_agreement_of_each_part_alone():
    table = random_table(6, items=90, annotators=5)
    parts = np.random.default_rng(6).integers(0, 3, table.items.size)
    parts[parts == 1] = 3
    found = agreement_by(table, parts, 4, seed=2, resamples=300)
    for part in range(4):
        kept = parts == part
        alone = VoteTable(*(column[kept] for column in table[:4]), table.n_items, table.choices)
        assert found[part] == agreement(alone, seed=2, resamples=300)
    assert (found[1].votes, found[1].annotators, found[1].alpha.estimate) == (0, 0, None)
    assert sum(one.votes for one in found) == table.items.size


def test_agreement_by_part_of_nothing():
    empty = np.zeros(0, dtype=np.int64)
    table = VoteTable(empty, empty, empty, empty.astype(bool), 0, ("Yes", "No"))
    assert agreement_by(table, empty, 0) == []


def test_those_who_share_most_come_first():
    rows = [[0] * 9 + [None] * 11, [0] * 6 + [None] * 14, [None] * 15 + [0] * 5, [None] * 12 + [0] * 8, [None, 0] * 10]
    table = table_of(rows, "ab")
    # Shared: 0 and 1 six, 2 and 3 five, 0 and 4 four, 3 and 4 four, 1 and 4 three, 2 and 4 three. With 0 and 1, 4
    # shares seven; with these, 3 shares four and 2 three.
    assert sharing_most(table, 2).tolist() == [0, 1]
    assert sharing_most(table, 9).tolist() == [0, 1, 4, 3, 2]
    assert sharing_most(table, 9, at_least=5).tolist() == [0, 1, 3, 2]
    apart = table_of([*rows[:4], [None] * 20], "ab")
    assert sharing_most(apart, 3).tolist() == [0, 1, 2]
    assert sharing_most(apart, 9).tolist() == [0, 1, 2, 3]
    twice = VoteTable(*(np.append(column, column[:1]) for column in table[:4]), 20, ("a", "b"))
    assert sharing_most(twice, 2).tolist() == [0, 1]
    chosen = pairwise_kappas(random_table(3, items=200, annotators=4), min_overlap=10, whom=np.array([3, 1]))
    assert chosen.annotators.tolist() == [3, 1]
    assert chosen.kappa.shape == (2, 2)
    assert [(pair["a"], pair["b"]) for pair in chosen.pairs()] == [(3, 1)]


def test_nothing_judged_twice_has_no_agreement():
    found = agreement(table_of([[0, 1, None], [None, None, 1]], "ab"))
    assert found.alpha.estimate is None
    assert found.percent.estimate is None
    assert found.alpha.low is None
    assert (found.fleiss.estimate, found.ac1.estimate, found.ac2.estimate) == (None, None, None)
    assert (found.items, found.items_with_pairs, found.votes) == (3, 0, 3)


def test_one_answer_only_has_full_agreement_but_no_alpha():
    found = agreement(table_of([[0, 0], [0, 0]], "ab"), resamples=20)
    assert found.percent.estimate == 1
    assert found.alpha.estimate is None
    assert found.fleiss.estimate is None
    assert found.ac1.estimate == 1, "two choices were there to choose from"
    assert found.per_choice["b"].estimate is None
    alone = agreement(table_of([[0, 0], [0, 0]], "a"), resamples=20)
    assert (alone.ac1.estimate, alone.ac2.estimate, alone.fleiss.estimate) == (None, None, None)


def test_full_agreement_is_known_only_as_far_as_the_items_tell():
    found = agreement(table_of([[0, 0, 1, 0], [0, 0, 1, 0]], "ab"), resamples=200)
    unseen = 1 - 0.025 ** (1 / 4)
    assert found.percent[:3] == (1.0, pytest.approx(1 - unseen), 1.0)
    assert found.per_choice["b"][:3] == (1.0, pytest.approx(0.025), 1.0)
    assert found.alpha.estimate == 1
    assert found.alpha.low == pytest.approx(1 - unseen / (1 - (6 * 5 + 2 * 1) / (8 * 7)))
    assert found.fleiss[:3] == (1.0, pytest.approx(1 - unseen / (2 * 0.75 * 0.25)), 1.0)
    assert found.ac1[:3] == (1.0, pytest.approx(1 - unseen / (1 - 2 * 0.75 * 0.25)), 1.0)
    opposed = agreement(table_of([[0, 0], [1, 1]], "ab"), resamples=50).percent
    assert opposed[:3] == (0.0, 0.0, pytest.approx(1 - 0.025 ** (1 / 2)))


def test_no_votes_at_all():
    empty = np.zeros(0, dtype=np.int64)
    table = VoteTable(empty, empty, empty, empty.astype(bool), 0, ("Yes", "No"))
    assert agreement(table).votes == 0
    assert disagreements(table) == []
    assert pairwise_kappas(table).pairs() == []
    assert sharing_most(table, 5).tolist() == []


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


def test_agreement_as_plain_data():
    found = agreement(abstractors(), resamples=50).as_dict()
    assert list(found)[:5] == ["alpha", "fleiss", "ac1", "ac2", "percent"]
    assert found["ac1"]["method"] == "Gwet's AC1, bootstrap of items"
    assert found["ac2"]["estimate"] == pytest.approx(0.9251917, abs=1e-7)


def test_many_choices_and_votes_are_counted_all_the_same():
    """So many that a row of counts does not fit into one number."""
    rng = np.random.default_rng(1)
    counts = rng.multinomial(300, np.full(12, 1 / 12), size=40)
    items, answers = np.repeat(np.arange(40), 300), np.repeat(np.tile(np.arange(12), 40), counts.ravel())
    table = VoteTable(items, items, answers, np.zeros(items.size, bool), 40, tuple("abcdefghijkl"))
    expected = statsmodels_fleiss(counts, method="fleiss")
    assert agreement(table, resamples=50).fleiss.estimate == pytest.approx(expected, abs=1e-12)


def test_a_million_votes_take_less_than_a_second():
    rng = np.random.default_rng(0)
    items, answers = rng.integers(0, 300_000, 1_000_000), rng.choice(3, 1_000_000, p=[0.05, 0.15, 0.8])
    annotators = rng.integers(0, 500, 1_000_000)
    table = VoteTable(items, annotators, answers, np.zeros(items.size, bool), 300_000, ("Yes", "Unsure", "No"))
    agreement(table, resamples=2)
    start = time.process_time()
    found = agreement(table)
    assert time.process_time() - start < 1
    assert found.votes == 1_000_000
    assert found.fleiss.low < 0 < found.fleiss.high, "they answer at random"


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
