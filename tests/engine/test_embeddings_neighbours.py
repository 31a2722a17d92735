import numpy as np
import pytest

from engine.embeddings.neighbours import INDEXES, NearestNeighbours
from engine.embeddings.vectors import unit_rows
from engine.errors import BadInput, UnknownName

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(1024, 16))
VECTORS = unit_rows((np.repeat(CENTRES, 2, axis=0) + 0.1 * RNG.normal(size=(2048, 16))).astype(np.float32))
QUERIES = VECTORS[:50]


@pytest.fixture(scope="module", params=INDEXES)
def index(request):
    made = NearestNeighbours(16, kind=request.param)
    assert len(made) == 0
    assert made.search(QUERIES, 5).indices.shape == (50, 0)
    made.add(VECTORS[:1500])
    made.add(VECTORS[1500:])
    return made


def test_neighbours_are_those_of_brute_force(index):
    found = index.search(QUERIES, 5)
    exact = np.argsort(-(QUERIES @ VECTORS.T), axis=1)[:, :5]
    shared = [len(set(a) & set(b)) for a, b in zip(found.indices, exact, strict=True)]
    assert np.mean(shared) / 5 >= 0.9
    assert (found.indices[:, 0] == np.arange(50)).all()
    np.testing.assert_allclose(found.similarities[:, 0], 1, atol=1e-5)
    assert (np.diff(found.similarities, axis=1) <= 0).all()


def test_a_saved_index_answers_alike(index, tmp_path):
    path = tmp_path / "index.faiss"
    index.save(path)
    again = NearestNeighbours.load(path)
    assert (len(again), again.dimension) == (2048, 16)
    assert (again.search(QUERIES, 5).indices == index.search(QUERIES, 5).indices).all()
    assert list(tmp_path.iterdir()) == [path]


def test_flat_is_exact_and_gives_all_where_there_are_fewer_than_asked():
    index = NearestNeighbours(16)
    index.add(VECTORS[:3])
    found = index.search(QUERIES, 10)
    assert (found.indices == np.argsort(-(QUERIES @ VECTORS[:3].T), axis=1)).all()


def test_a_failed_save_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "index.faiss"
    index = NearestNeighbours(16)
    index.add(VECTORS[:3])
    index.save(path)
    index.add(VECTORS[3:6])

    def full(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space"):
        index.save(path)
    assert len(NearestNeighbours.load(path)) == 3
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_index(tmp_path):
    with pytest.raises(BadInput, match="no such index"):
        NearestNeighbours.load(tmp_path / "gone")
    broken = tmp_path / "broken"
    broken.write_bytes(b"IxFI cut short")
    with pytest.raises(BadInput, match=r"broken: not a whole FAISS index; build it again"):
        NearestNeighbours.load(broken)
    with pytest.raises(UnknownName, match="unknown index 'tree'; known: flat, hnsw, ivf"):
        NearestNeighbours(16, kind="tree")


def test_shapes_are_checked():
    index = NearestNeighbours(16)
    with pytest.raises(ValueError, match=r"shape \(n, 16\), not \(3, 8\)"):
        index.add(VECTORS[:3, :8])
    with pytest.raises(ValueError, match=r"not \(16,\)"):
        index.search(VECTORS[0], 1)
    with pytest.raises(ValueError, match="k must be at least 1"):
        index.search(QUERIES, 0)
