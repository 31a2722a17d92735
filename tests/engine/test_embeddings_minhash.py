import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.embeddings import NearDuplicates, near_duplicates
from engine.embeddings.minhash import shingle_hashes


def triples(text):
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}


def jaccard(one, other):
    return len(triples(one) & triples(other)) / len(triples(one) | triples(other))


def varied(words, rng, changes):
    words = list(words)
    for place in rng.choice(len(words), changes, replace=False):
        words[place] = f"new{rng.integers(10**6)}"
    return " ".join(words)


def test_pairs_agree_with_the_exact_jaccard_index():
    rng = np.random.default_rng(0)
    found, wanted = [], []
    for _ in range(300):
        words = [f"w{n}" for n in rng.integers(0, 10**6, 90)]
        copy = varied(words, rng, rng.integers(0, 22))
        similarity = jaccard(" ".join(words), copy)
        if abs(similarity - 0.7) > 0.12:  # Three standard errors of the estimate.
            wanted.append(similarity > 0.7)
            found.append(near_duplicates([" ".join(words), copy])[1] == 0)
    assert sum(wanted) > 30
    assert wanted.count(False) > 50
    assert found == wanted


def test_groups_are_named_by_their_first_text():
    rng = np.random.default_rng(1)
    texts = [" ".join(f"w{n}" for n in rng.integers(0, 10**6, 60)) for _ in range(3)]
    a, b, c = texts
    listed = [a, b, a.upper(), c, b.replace(" ", ",  "), varied(a.split(), rng, 2), a]
    assert near_duplicates(listed).tolist() == [0, 1, 0, 3, 1, 0, 0]
    assert near_duplicates(listed, threshold=1.0).tolist() == [0, 1, 0, 3, 1, 5, 0]


def test_short_and_empty_texts():
    assert near_duplicates(["", "Run!", "run", "...", "Run, run"]).tolist() == [0, 1, 1, 0, 4]
    assert near_duplicates([]).tolist() == []


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text("ab c.", max_size=12), max_size=12), st.integers(0, 3))
def test_a_group_s_first_text_is_its_own(texts, seed):
    first = near_duplicates(texts, seed=seed)
    assert all(first[first] == first)
    assert all(first <= np.arange(len(texts)))


def test_hashes_are_the_same_on_every_machine():
    assert shingle_hashes("Anna ran home again").tolist() == HASHES


HASHES = [17109171902291279832, 14473994078532719008]


def test_old_texts_are_forgotten():
    texts = [f"{word} one two three four" for word in ("red", "green", "blue")]
    seen = NearDuplicates(threshold=0.9, capacity=2)
    assert [seen.add(text) for text in texts] == [None, None, None]
    assert seen.add(texts[2]) == 2
    assert seen.add(texts[1]) == 1
    assert seen.add(texts[0]) is None


@pytest.mark.parametrize("threshold", [0, -0.1, 1.1])
def test_threshold_is_checked(threshold):
    with pytest.raises(ValueError, match="threshold must lie in"):
        near_duplicates(["a"], threshold=threshold)


def test_corpus_and_near_duplicates_load_neither_torch_nor_faiss():
    code = (
        "import sys, engine.corpus, engine.embeddings, engine.embeddings.token_mean, engine.acquisition\n"
        "assert not {'torch', 'transformers', 'faiss'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
