from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.classifiers.encoders import load_tokenizer
from engine.classifiers.tokens import PairTokenizer, batches_by_budget, shuffled_batches
from engine.errors import BadInput
from engine.snippets import Snippet
from tests.engine.tiny_encoders import write_encoder

SNIPPETS = [
    Snippet("The old man walked to the mill. Then they rested.", "The dog rested."),
    Snippet("", "A girl walked to the inn."),
    Snippet("Then they went.", ""),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_encoder(tmp_path_factory.mktemp("encoder")))


def tokenizer(folder: str, max_tokens: int = 64) -> PairTokenizer:
    return PairTokenizer(load_tokenizer(folder).backend_tokenizer, max_tokens=max_tokens, pad_id=0)


@pytest.mark.parametrize("max_tokens", [64, 9])
def test_pairs_are_encoded_and_cut_as_transformers_does(folder: str, max_tokens: int) -> None:
    reference = load_tokenizer(folder)
    tokens = tokenizer(folder, max_tokens).encode(SNIPPETS)
    batch = tokens.batch(np.array([1, 0]), pad_id=0)
    for row, index in enumerate([1, 0]):
        snippet = SNIPPETS[index]
        pair = (snippet.prompt, snippet.completion) if snippet.prompt else (snippet.completion,)
        expected = reference(*pair, truncation=True, max_length=max_tokens, return_token_type_ids=True)
        length = len(expected["input_ids"])
        assert batch.ids[row, :length].tolist() == expected["input_ids"]
        assert batch.types[row, :length].tolist() == expected["token_type_ids"]
        assert batch.mask[row].tolist() == [1] * length + [0] * (batch.ids.shape[1] - length)
        assert not batch.ids[row, length:].any()


@pytest.mark.parametrize(("first", "second"), [(200, 200), (700, 300), (300, 700), (201, 200), (200, 201), (500, 3)])
@pytest.mark.parametrize("max_tokens", [9, 10])
def test_long_pairs_are_cut_as_transformers_does(folder: str, max_tokens: int, first: int, second: int) -> None:
    words = ["the", "old", "man", "walked", "to", "the", "mill", "and", "a", "girl", "rested"]
    one, two = (" ".join(words[(at * 7 + at // 5) % 11] for at in range(n)) for n in (first, second))
    expected = load_tokenizer(folder)(one, two, truncation=True, max_length=max_tokens, return_token_type_ids=True)
    cut = tokenizer(folder, max_tokens)
    found = cut.encode([Snippet(one, two)])
    assert found.ids.tolist() == expected["input_ids"]
    assert found.types.tolist() == expected["token_type_ids"]
    assert cut.trace(Snippet(one, two)).ids.tolist() == expected["input_ids"]


def test_two_texts_of_100_000_characters_take_no_minutes(folder: str) -> None:
    began = time.process_time()
    found = tokenizer(folder).encode([Snippet("the mill " * 11_000, "a girl " * 14_000)])
    assert found.ids.size == 64
    assert time.process_time() - began < 10


def test_counting_cuts_nothing(folder: str) -> None:
    cut = tokenizer(folder, 9)
    # [CLS] the old man walked to the mill . then they rested . [SEP] the dog rested . [SEP]
    assert [cut.count(snippet) for snippet in SNIPPETS] == [19, 9, 7]
    assert cut.encode(SNIPPETS).lengths.tolist() == [9, 9, 7]


def test_nothing_to_encode(folder: str) -> None:
    assert tokenizer(folder).encode([]).lengths.tolist() == []


def test_an_encoder_without_a_fast_tokenizer_is_refused(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.classifiers.encoders.AutoTokenizer.from_pretrained", lambda *_, **__: object())
    with pytest.raises(BadInput, match="no fast tokenizer"):
        load_tokenizer(folder)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 200))
def test_every_row_is_in_one_batch_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = list(batches_by_budget(np.array(lengths, dtype=np.int64), budget))
    assert sorted(row for rows in batches for row in rows) == list(range(len(lengths)))
    for rows in batches:
        longest = max(lengths[row] for row in rows)
        assert len(rows) * longest <= budget or len(rows) == 1
    ordered = [lengths[row] for rows in batches for row in rows]
    assert ordered == sorted(lengths)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=80), st.integers(1, 7), st.integers(0, 5))
def test_an_epoch_has_every_row_once(lengths: list[int], size: int, seed: int) -> None:
    batches = shuffled_batches(np.array(lengths), size, np.random.default_rng(seed), pool=2)
    assert sorted(row for rows in batches for row in rows) == list(range(len(lengths)))
    assert max(map(len, batches)) <= size


def test_epochs_differ_and_batches_hold_like_lengths() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 640)
    rng = np.random.default_rng(1)
    first, second = shuffled_batches(lengths, 16, rng), shuffled_batches(lengths, 16, rng)
    assert any((a != b).any() for a, b in zip(first, second, strict=True))
    padded = sum(len(rows) * lengths[rows].max() for rows in first)
    assert padded < 1.1 * lengths.sum()
