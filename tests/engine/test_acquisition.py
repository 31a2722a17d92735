import numpy as np
import pytest

from engine.acquisition import ACQUISITION, acquisition
from engine.errors import UnknownName

near_threshold = ACQUISITION["near_threshold"]
LOGITS = np.array([-8.0, -6.2, -3.0, 0.0, 5.0])


@pytest.mark.parametrize("name", ACQUISITION)
def test_every_acquisition_function(name):
    score = acquisition(name)
    logits = LOGITS.copy()
    values = score(logits, 0.002, seed=1)
    assert values.shape == (5,)
    assert np.isfinite(values).all()
    assert (values == score(LOGITS.tolist(), 0.002, seed=1)).all()
    assert (logits == LOGITS).all()
    assert score(np.zeros(0), 0.002).shape == (0,)
    for threshold in (0.0, 1.0):
        assert np.isfinite(score(LOGITS, threshold)).all()
    for threshold in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"threshold must lie in \[0, 1\]"):
            score(LOGITS, threshold)
    with pytest.raises(ValueError, match=r"logits must have shape \(n,\), not \(5, 1\)"):
        score(LOGITS[:, None], 0.5)
    with pytest.raises(ValueError, match="logits must be finite"):
        score(np.array([0.0, np.nan]), 0.5)


def test_near_threshold_by_hand():
    # logit(0.002) = ln(0.002 / 0.998) = -6.212606.
    values = near_threshold(LOGITS, 0.002)
    np.testing.assert_allclose(values, [-1.787394, -0.012606, -3.212606, -6.212606, -11.212606], atol=1e-6)
    assert near_threshold(np.array([0.0]), 0.5)[0] == 0


def test_near_threshold_is_not_plain_uncertainty():
    assert np.argmax(near_threshold(LOGITS, 0.002)) == 1
    assert np.argmax(near_threshold(LOGITS, 0.5)) == 3
    assert np.argmax(near_threshold(LOGITS, 0.0)) == 0
    assert np.argmax(near_threshold(LOGITS, 1.0)) == 4


def test_random_goes_by_the_seed_alone():
    score = ACQUISITION["random"]
    assert (score(LOGITS, 0.1, seed=3) == score(-LOGITS, 0.9, seed=3)).all()
    assert (score(LOGITS, 0.1, seed=3) != score(LOGITS, 0.1, seed=4)).all()


def test_an_unknown_one_names_those_known():
    with pytest.raises(UnknownName, match="unknown acquisition function 'bald'; known: near_threshold, random"):
        acquisition("bald")
