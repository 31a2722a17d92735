import numpy as np
import pytest
from sklearn.decomposition import PCA

from engine.embeddings import Projection

POINTS = (np.random.default_rng(0).normal(size=(300, 6)) * [5, 3, 2, 1, 0.5, 0.1] + 7).astype(np.float32)


def test_it_is_scikit_learns():
    ours, theirs = Projection.fit(POINTS, 3), PCA(3).fit(POINTS.astype(float))
    np.testing.assert_allclose(np.abs(ours(POINTS)), np.abs(theirs.transform(POINTS)), atol=1e-3)
    assert ours.kept == pytest.approx(theirs.explained_variance_ratio_.sum(), abs=1e-6)


def test_all_dimensions_keep_all_distances(tmp_path):
    np.save(tmp_path / "points.npy", POINTS.astype(np.float16))
    mapped = np.load(tmp_path / "points.npy", mmap_mode="r")
    turned = Projection.fit(mapped, 6)(mapped)
    before = np.linalg.norm(np.asarray(mapped, float)[:50, None] - np.asarray(mapped, float)[None, :50], axis=2)
    np.testing.assert_allclose(np.linalg.norm(turned[:50, None] - turned[None, :50], axis=2), before, atol=1e-4)


def test_equal_vectors_and_bad_input():
    one = Projection.fit(np.ones((1, 4), np.float32), 2)
    assert one.kept == 1
    assert one(np.ones((3, 4), np.float32)).tolist() == [[0, 0]] * 3
    assert one(np.ones((0, 4), np.float32)).shape == (0, 2)
    for n, wanted in ((0, 2), (3, 0), (3, 5)):
        with pytest.raises(ValueError, match="cannot project"):
            Projection.fit(np.ones((n, 4), np.float32), wanted)
