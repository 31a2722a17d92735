"""Every strategy of chance, of slack or of another sum against a reference that computes everything anew."""

import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist
from scipy.special import expit

from engine.embeddings.vectors import unit_rows
from engine.query_strategies import QUERY_STRATEGIES, covering
from tests.engine.test_query_strategies import NONE, brute_force, pool, small_steps

batched, k_means_pp = QUERY_STRATEGIES["k_center_batched"], QUERY_STRATEGIES["k_means_pp"]
facility_location, hybrid = QUERY_STRATEGIES["facility_location"], QUERY_STRATEGIES["hybrid"]


def ranks(values):
    return (stats.rankdata(values) - 1) / (len(values) - 1)


def shares_of_the_greatest(points, values, labelled, chosen):
    """Each choice's key over the greatest at its turn."""
    centres, shares = [*labelled.astype(float)], []
    for row in chosen:
        if centres:
            keys = cdist(points, np.array(centres)).min(axis=1) * (0.1 + ranks(values))
            shares.append(keys[row] / keys.max())
        centres.append(points[row].astype(float))
    return np.array(shares)


@pytest.mark.parametrize("labelled", [0, 5, 300])
@pytest.mark.parametrize("small", [False, True])
def test_every_batched_choice_is_within_2_percent_of_the_farthest(monkeypatch, labelled, small):
    if small:
        small_steps(monkeypatch)
    points, values = pool(300, seed=labelled)
    known = pool(labelled, seed=9)[0] if labelled else NONE
    shares = shares_of_the_greatest(points, values, known, batched(points, values, known, 80))
    assert shares.min() >= 0.98 - 1e-5
    # Where the front holds the whole pool, every choice is the farthest itself.
    assert small or shares.min() > 1 - 1e-5


def test_the_slack_is_used_where_it_saves_a_pass(monkeypatch):
    small_steps(monkeypatch)
    points, values = pool(300, seed=1)
    shares = shares_of_the_greatest(points, values, NONE, batched(points, values, NONE, 80))
    assert shares.min() < 1 - 1e-4


def test_covering_is_scipys(monkeypatch):
    small_steps(monkeypatch)
    points, centres = pool(120)[0], pool(30, seed=1)[0]
    found = covering(points, centres)
    apart = cdist(points.astype(float), centres.astype(float))
    assert found.nearest.tolist() == apart.argmin(axis=1).tolist()
    np.testing.assert_allclose(found.distances, apart.min(axis=1), rtol=1e-6)
    assert found.radius == found.distances.max()
    assert covering(points, points).radius == 0
    assert covering(points[:0], centres).radius == 0
    for bad in (centres[:0], centres[:, :4], centres[0]):
        with pytest.raises(ValueError, match=r"shapes must be \(n, d\) and \(m >= 1, d\), not \(120, 8\) and "):
            covering(points, bad)


def chances_of_sequences(points, labelled, k, first=None):
    """The probability of every ordered choice under D^2 sampling, in float64."""
    chances = {}
    for sequence in itertools.permutations(range(len(points)), k):
        centres, chance = [*labelled.astype(float)], 1.0
        for turn, row in enumerate(sequence):
            if turn == 0 and first is not None:
                chance *= row == first
            elif centres:
                squares = cdist(points, np.array(centres)).min(axis=1) ** 2
                chance *= squares[row] / squares.sum()
            else:
                chance /= len(points)
            centres.append(points[row].astype(float))
        chances[sequence] = chance
    return chances


def agrees(choose, chances, draws):
    counts = dict.fromkeys(chances, 0)
    for seed in range(draws):
        counts[tuple(choose(seed).tolist())] += 1
    likely = [s for s in chances if chances[s] * draws >= 5]
    assert sum(counts[s] for s in chances if chances[s] == 0) == 0
    observed = [*(counts[s] for s in likely), draws - sum(counts[s] for s in likely)]
    expected = [*(chances[s] for s in likely), 1 - sum(chances[s] for s in likely)]
    assert len(likely) > 5
    keep = np.array(expected) * draws >= 1
    observed, expected = np.array(observed)[keep], np.array(expected)[keep]
    return stats.chisquare(observed, expected / expected.sum() * observed.sum()).pvalue


@pytest.mark.parametrize("labelled", [0, 2])
def test_k_means_pp_draws_every_sequence_as_often_as_it_should(labelled):
    points = np.array([[0, 0], [1, 0], [0, 2], [3, 1], [2, 2]], np.float32)
    known = np.array([[0.0, 0.5], [2.5, 0.0]], np.float32)[:labelled]
    chances = chances_of_sequences(points, known, 3)
    assert sum(chances.values()) == pytest.approx(1)
    # The p-value is uniform if all is right.
    assert agrees(lambda seed: k_means_pp(points, np.zeros(5), known, 3, seed=seed), chances, 2000) > 0.01


def test_k_means_pp_draws_alike_by_small_steps_and_cells(monkeypatch):
    small_steps(monkeypatch)
    points = np.random.default_rng(3).normal(size=(5, 2)).astype(np.float32)
    known = np.random.default_rng(4).normal(size=(12, 2)).astype(np.float32)
    chances = chances_of_sequences(points, known, 2)
    assert agrees(lambda seed: k_means_pp(points, np.zeros(5), known, 2, seed=seed), chances, 600) > 0.01


def test_badge_is_k_means_pp_over_gradients_of_the_likelier_label():
    rng = np.random.default_rng(1)
    points, logits = rng.normal(size=(5, 2)).astype(np.float32), np.array([-2.0, 0.3, 1.5, -0.4, 4.0])
    p = expit(logits)
    # Without the sign by which the paper tells the sides of the boundary apart: the docstring says so.
    gradients = np.abs(p - (p >= 0.5))[:, None] * points
    longest = int(np.linalg.norm(gradients, axis=1).argmax())
    chances = chances_of_sequences(gradients, NONE[:, :2], 3, first=longest)
    choose = QUERY_STRATEGIES["badge"]
    assert agrees(lambda seed: choose(points, -np.abs(logits), NONE[:, :2], 3, seed=seed), chances, 1500) > 0.01
    same = [choose(points, np.minimum(p, 1 - p), NONE[:, :2], 3, seed=seed).tolist() for seed in range(50)]
    assert same == [choose(points, -np.abs(logits), NONE[:, :2], 3, seed=seed).tolist() for seed in range(50)]


def similarities(points, neighbours=32):
    """(n, n) cosines, in each row only those of its nearest, itself among them."""
    unit = points.astype(float) / np.linalg.norm(points.astype(float), axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, 1)
    least = np.sort(cosines, axis=1)[:, -min(neighbours, len(points))]
    return np.where(cosines >= least[:, None], np.maximum(cosines, 0), 0)


def covered_by(points, labelled):
    if not len(labelled):
        return np.zeros(len(points))
    unit = points.astype(float) / np.linalg.norm(points.astype(float), axis=1, keepdims=True)
    return np.maximum(unit @ labelled.astype(float).T, 0).max(axis=1)


def facility_sum(similar, covered, weights, chosen):
    return float(weights @ np.maximum(covered, similar[:, list(chosen)].max(axis=1, initial=0)))


def naive_greedy(similar, covered, weights, k):
    chosen = []
    for _ in range(k):
        left = [c for c in range(len(similar)) if c not in chosen]
        chosen.append(max(left, key=lambda c: facility_sum(similar, covered, weights, [*chosen, c])))
    return chosen


@pytest.mark.parametrize(("n", "labelled"), [(20, 0), (25, 3), (90, 0), (90, 10)])
def test_facility_location_is_the_greedy_that_computes_every_gain(n, labelled):
    points, values = pool(n, seed=n)
    known = pool(labelled, seed=2)[0] if labelled else NONE
    expected = naive_greedy(similarities(points), covered_by(points, known), 0.1 + ranks(values), 12)
    assert facility_location(points, values, known, 12).tolist() == expected


def test_facility_location_lets_everything_stand_for_itself():
    # A vector of zeros is like nothing else; once one of the equal ones is chosen, it alone still gains.
    points = np.array([[0, 0], [1, 0], [1, 0], [1, 0], [1, 0]], np.float32)
    for seed in range(6):
        first, second = facility_location(points, np.zeros(5), NONE[:, :2], 2, seed=seed).tolist()
        assert first > 0
        assert second == 0


@pytest.mark.parametrize("seed", range(8))
def test_facility_location_reaches_its_guarantee(seed):
    points, values = pool(11, seed=seed, d=3)
    known = pool(2, seed=seed + 50, d=3)[0]
    similar, covered, weights = similarities(points), covered_by(points, known), 0.1 + ranks(values)
    start = weights @ covered
    best = max(facility_sum(similar, covered, weights, c) for c in itertools.combinations(range(11), 3))
    reached = facility_sum(similar, covered, weights, facility_location(points, values, known, 3))
    assert reached - start >= (1 - 1 / np.e) * (best - start)


def test_facility_location_by_an_inverted_file_is_nearly_as_good(monkeypatch):
    points, values = pool(400, seed=3)
    similar, weights = similarities(points, 400), 0.1 + ranks(values)
    full = facility_sum(similar, np.zeros(400), weights, facility_location(points, values, NONE, 20))
    small_steps(monkeypatch)
    part = facility_sum(similar, np.zeros(400), weights, facility_location(points, values, NONE, 20))
    chance = facility_sum(similar, np.zeros(400), weights, range(20))
    assert part > 0.97 * full > 1.03 * chance


def test_hybrid_chooses_among_the_best():
    points, values = pool(400, seed=4)
    best = set(np.argsort(-values)[:180].tolist())
    for seed in range(5):
        assert set(hybrid(points, values, NONE, 10, seed=seed).tolist()) <= best


def test_hybrid_still_sees_a_little_of_what_the_values_leave_out():
    # A far cluster of the lowest values: a tenth of the subpool of 20 is drawn from the 382 that are left out.
    rng = np.random.default_rng(0)
    points = np.array([[1.0, 0]] * 300 + [[0, 1.0]] * 100) + rng.normal(0, 0.01, (400, 2))
    values = np.array([1.0] * 300 + [0.0] * 100) + rng.random(400) / 10
    seen = sum(bool((hybrid(points, values, points[:1], 1, seed=seed) >= 300).all()) for seed in range(400))
    # Both of the two come from the other 282 in 1 - (282 / 382 * 281 / 381) = 0.455 of all draws.
    assert abs(seen - 400 * 0.455) < 4 * (400 * 0.455 * 0.545) ** 0.5


def test_hybrid_with_all_in_view_is_k_center_greedy():
    points, values = pool(100, seed=5)
    known = pool(8, seed=6)[0]
    assert hybrid(points, values, known, 10).tolist() == brute_force(points, values, known, 10)


def test_hybrid_keeps_away_from_what_is_labelled_or_in_flight():
    left, right = np.array([1.0, 0]), np.array([0, 1.0])
    points = unit_rows(
        (np.array([left, right] * 300) + np.random.default_rng(0).normal(0, 0.01, (600, 2))).astype("f4")
    )
    assert (hybrid(points, np.zeros(600), left[None], 1) % 2 == 1).all()
