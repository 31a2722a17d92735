import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from engine.acquisition import ACQUISITION, Opinions, acquisition
from engine.errors import BadInput, UnknownName

near_threshold = ACQUISITION["near_threshold"]
LOGITS = np.array([-8.0, -6.2, -3.0, 0.0, 5.0])


def opinions(logits, threshold=0.002):
    return Opinions(logits, threshold, others=[np.asarray(logits) * 2], other_thresholds=[0.5])


@pytest.mark.parametrize("name", ACQUISITION)
def test_every_acquisition_function(name):
    score = acquisition(name)
    logits = LOGITS.copy()
    values = score(opinions(logits), seed=1)
    assert values.shape == (5,)
    assert values.dtype == np.float64
    assert np.isfinite(values).all()
    assert (values == score(opinions(LOGITS.tolist()), seed=1)).all()
    assert (logits == LOGITS).all()
    assert score(opinions(np.zeros(0))).shape == (0,)
    assert score(opinions(np.zeros(1))).shape == (1,)
    for threshold in (0.0, 1.0):
        assert np.isfinite(score(opinions(LOGITS, threshold))).all()
    assert np.isfinite(score(opinions(np.array([-1e4, 1e4], np.float32)))).all()


@pytest.mark.parametrize("name", sorted(set(ACQUISITION) - {"random"}))
def test_every_value_belongs_to_its_snippet(name):
    # No value depends on which other snippets are asked about, or in what order.
    score = acquisition(name)
    order = np.array([3, 0, 4])
    np.testing.assert_array_equal(score(opinions(LOGITS))[order], score(opinions(LOGITS[order])))


def test_opinions_refuse_what_does_not_fit():
    for threshold in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"threshold must lie in \[0, 1\]"):
            Opinions(LOGITS, threshold)
        with pytest.raises(ValueError, match=r"threshold must lie in \[0, 1\]"):
            Opinions(LOGITS, 0.5, [LOGITS], [threshold])
    with pytest.raises(ValueError, match=r"logits must have shape \(n,\), not \(5, 1\)"):
        Opinions(LOGITS[:, None], 0.5)
    with pytest.raises(ValueError, match="logits must be finite"):
        Opinions(np.array([0.0, np.nan]), 0.5)
    with pytest.raises(ValueError, match="logits must be finite"):
        Opinions(np.zeros(2), 0.5, [[0.0, np.inf]], [0.5])
    with pytest.raises(ValueError, match=r"others must have shape \(2, 5\), not \(1, 5\)"):
        Opinions(LOGITS, 0.5, [LOGITS], [0.5, 0.5])
    with pytest.raises(ValueError, match=r"others must have shape \(1, 5\), not \(0, 5\)"):
        Opinions(LOGITS, 0.5, [], [0.5])
    with pytest.raises(ValueError, match=r"others must have shape \(1, 5\), not \(1, 4\)"):
        Opinions(LOGITS, 0.5, [LOGITS[:4]], [0.5])
    with pytest.raises(ValueError, match=r"features must have shape \(5, h\), not \(4, 3\)"):
        Opinions(LOGITS, 0.5, features=np.ones((4, 3)))
    with pytest.raises(ValueError, match="features must be finite"):
        Opinions(LOGITS, 0.5, features=np.full((5, 1), np.inf))


def test_near_threshold_by_hand():
    # logit(0.002) = ln(0.002 / 0.998) = -6.212606.
    values = near_threshold(Opinions(LOGITS, 0.002))
    np.testing.assert_allclose(values, [-1.787394, -0.012606, -3.212606, -6.212606, -11.212606], atol=1e-6)
    assert near_threshold(Opinions([0.0], 0.5))[0] == 0


def test_near_threshold_is_not_plain_uncertainty():
    assert np.argmax(near_threshold(Opinions(LOGITS, 0.002))) == 1
    assert np.argmax(near_threshold(Opinions(LOGITS, 0.5))) == 3
    assert np.argmax(near_threshold(Opinions(LOGITS, 0.0))) == 0
    assert np.argmax(near_threshold(Opinions(LOGITS, 1.0))) == 4
    for name in ("margin", "entropy", "expected_change"):
        assert np.argmax(ACQUISITION[name](Opinions(LOGITS, 0.002))) == 3


def test_margin_by_hand():
    assert ACQUISITION["margin"](Opinions(LOGITS, 0.002)).tolist() == [-8, -6.2, -3, 0, -5]
    # Where both probabilities have rounded to 1, it still tells the nearer.
    assert np.argmax(ACQUISITION["margin"](Opinions([900.0, 800.0], 0.5))) == 1


def test_entropy_is_scipys():
    p = expit(LOGITS)
    np.testing.assert_allclose(
        ACQUISITION["entropy"](Opinions(LOGITS, 0.002)), stats.entropy(np.stack([p, 1 - p])), rtol=1e-12
    )
    assert ACQUISITION["entropy"](Opinions([0.0], 0.5))[0] == pytest.approx(np.log(2), rel=1e-15)
    # At 50 the complement of p has rounded to nothing; by hand the entropy is 51 e^-50.
    far = ACQUISITION["entropy"](Opinions([50.0, -50.0], 0.5))
    np.testing.assert_allclose(far, 51 * np.exp(-50), rtol=1e-12)


def test_disagreement_by_hand():
    # Thresholds of one half lie at logit 0, of 0.002 at -6.212606.
    low = np.log(0.002 / 0.998)
    ours = [-1.0, -1.0, 2.0, -1.0]
    theirs = [[low - 1.0, low + 1.0, low - 2.0, low - 9.0]]
    values = ACQUISITION["disagreement"](Opinions(ours, 0.5, theirs, [0.002]))
    # Variances of (-1, -1), (-1, 1), (2, -2), (-1, -9): 0, 1, 4, 16; the second alone is let through by us only.
    np.testing.assert_allclose(values, [0, 1.5, 0.8, 16 / 17], atol=1e-12)


def test_disagreement_of_three_is_numpys_variance():
    rng = np.random.default_rng(0)
    ours, theirs = -np.abs(rng.normal(size=20)), -np.abs(rng.normal(size=(3, 20)))
    values = ACQUISITION["disagreement"](Opinions(ours, 0.5, theirs, [0.5] * 3))
    spread = np.array([np.var([ours[i], *theirs[:, i]]) for i in range(20)])
    np.testing.assert_allclose(values, spread / (1 + spread), rtol=1e-12)


def test_disagreement_counts_a_tie_with_the_threshold_as_rejected():
    score = ACQUISITION["disagreement"]
    assert score(Opinions([-1.0], 0.5, [[0.0]], [0.5]))[0] == pytest.approx(1.2)
    assert score(Opinions([0.0], 0.5, [[1.0]], [0.5]))[0] == pytest.approx(0.2)


def test_disagreement_needs_somebody_to_disagree_with():
    with pytest.raises(BadInput, match="the logits of no other one were given"):
        ACQUISITION["disagreement"](Opinions(LOGITS, 0.5))
    for name in sorted(set(ACQUISITION) - {"disagreement"}):
        assert ACQUISITION[name](Opinions(LOGITS, 0.5)).shape == (5,)


def test_expected_change_is_the_expected_length_of_the_gradient():
    features = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    values = ACQUISITION["expected_change"](Opinions(LOGITS, 0.1, features=features))
    for i, p in enumerate(expit(LOGITS)):
        h = np.append(features[i].astype(np.float64), 1)
        by_label = [np.linalg.norm((p - y) * h) for y in (0, 1)]
        assert values[i] == pytest.approx((1 - p) * by_label[0] + p * by_label[1], rel=1e-9)
    assert ACQUISITION["expected_change"](Opinions([0.0], 0.1))[0] == 0.5


def test_random_goes_by_the_seed_alone():
    score = ACQUISITION["random"]
    assert (score(Opinions(LOGITS, 0.1), seed=3) == score(Opinions(-LOGITS, 0.9), seed=3)).all()
    assert (score(Opinions(LOGITS, 0.1), seed=3) != score(Opinions(LOGITS, 0.1), seed=4)).all()


def test_an_unknown_one_names_those_known():
    with pytest.raises(UnknownName, match="unknown acquisition function 'bald'; known: disagreement, entropy, "):
        acquisition("bald")
