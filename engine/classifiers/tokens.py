"""Snippets to token ids, and on to padded batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from engine.snippets import Snippet

SPARE = 16
"""Of two long parts, so many times the tokens that a classifier reads are looked at."""


class Batch(NamedTuple):
    """Padded token ids, attention mask (1 = token) and segment ids; each int64, shape (b, longest)."""

    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    types: NDArray[np.int64]

    def feeds(self) -> dict[str, NDArray[np.int64]]:
        """The same by the names of a graph's inputs."""
        return {"input_ids": self.ids, "attention_mask": self.mask, "token_type_ids": self.types}


class Tokens(NamedTuple):
    """The tokens of n snippets end to end; those of snippet i are at `starts[i]:starts[i + 1]`."""

    ids: NDArray[np.int32]
    types: NDArray[np.int8]
    starts: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each snippet, shape (n,)."""
        return np.diff(self.starts)

    def batch(self, rows: NDArray[np.int64], pad_id: int) -> Batch:
        """The snippets at `rows`, padded to the longest of them."""
        lengths = self.lengths[rows]
        within = np.arange(int(lengths.max()))
        mask = within < lengths[:, None]
        at = np.where(mask, self.starts[rows][:, None] + within, 0)
        return Batch(
            np.where(mask, self.ids[at], pad_id).astype(np.int64),
            mask.astype(np.int64),
            np.where(mask, self.types[at], 0).astype(np.int64),
        )


class Traced(NamedTuple):
    """The tokens of one snippet and where they come from."""

    ids: NDArray[np.int64]
    """(t,) special tokens included; what is over the limit is not there."""
    types: NDArray[np.int64]
    """(t,) segment ids."""
    spans: NDArray[np.int64]
    """(t, 2) first character and the one after the last, in the part it is of."""
    parts: NDArray[np.int8]
    """(t,) 0 in the prompt, 1 in the completion, -1 for special tokens."""


class PairTokenizer:
    """Encodes a snippet as the pair (prompt, completion), or the completion alone where the prompt is empty.

    Over `max_tokens` the longer part loses its end. Safe to share between threads.
    """

    def __init__(self, tokenizer: Tokenizer, *, max_tokens: int, pad_id: int) -> None:
        text = tokenizer.to_str()
        self._cut, self._whole = Tokenizer.from_str(text), Tokenizer.from_str(text)
        for copy in (self._cut, self._whole):
            copy.no_padding()
        self._whole.no_truncation()
        self._cut.enable_truncation(max_tokens, strategy="longest_first")
        self._most = SPARE * max_tokens
        self.pad_id = pad_id

    def encode(self, snippets: Sequence[Snippet]) -> Tokens:
        """All snippets at once, by the tokenizer's own threads. O(characters)."""
        found = self._cut.encode_batch([_pair(self._shortened(snippet)) for snippet in snippets])
        lengths = [len(encoding) for encoding in found]
        total = sum(lengths)
        return Tokens(
            np.fromiter((i for encoding in found for i in encoding.ids), np.int32, total),
            np.fromiter((i for encoding in found for i in encoding.type_ids), np.int8, total),
            np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
        )

    def trace(self, snippet: Snippet) -> Traced:
        """One snippet, with the place of each token in its text. O(characters)."""
        found = self._cut.encode(*_as_pair(self._shortened(snippet)))
        last = 1 if snippet.prompt else 0
        parts = [-1 if part is None else int(part == last) for part in found.sequence_ids]
        return Traced(
            np.asarray(found.ids, np.int64),
            np.asarray(found.type_ids, np.int64),
            np.asarray(found.offsets, np.int64).reshape(-1, 2),
            np.asarray(parts, np.int8),
        )

    def _shortened(self, snippet: Snippet) -> Snippet:
        """The snippet, without what is cut off anyway where both parts are long.

        The tokenizer pairs each piece that it cuts off one part with each of the other's: two texts of 100,000
        characters took minutes. Ends are far behind what is kept, and the longer part stays the longer.
        """
        if min(len(snippet.prompt), len(snippet.completion)) <= self._most:
            return snippet
        parts = (snippet.prompt, snippet.completion)
        one, two = (self._whole.encode(text, add_special_tokens=False) for text in parts)
        if min(len(one), len(two)) <= self._most:
            return snippet
        longer = SPARE if len(one) > len(two) else -SPARE if len(two) > len(one) else 0
        kept = min(len(one), self._most + longer), min(len(two), self._most - longer)
        ends = one.offsets[kept[0] - 1][1], two.offsets[kept[1] - 1][1]
        return Snippet(snippet.prompt[: ends[0]], snippet.completion[: ends[1]])

    def pieces(self, text: str) -> list[int]:
        """Token ids of a text by itself, without special tokens."""
        return self._whole.encode(text, add_special_tokens=False).ids

    def count(self, snippet: Snippet) -> int:
        """Tokens of the whole snippet, special tokens included."""
        return len(self._whole.encode(*_as_pair(snippet)))


def batches_by_budget(lengths: NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    """Rows in batches of similar length, each of at most `budget` tokens with its padding (or of one row).

    Shortest first; every row once. O(n log n).
    """
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and (end + 1 - start) * lengths[order[end]] <= budget:
            end += 1
        yield order[start:end]
        start = end


def shuffled_batches(
    lengths: NDArray[np.int64], batch_size: int, rng: np.random.Generator, *, pool: int = 32
) -> list[NDArray[np.int64]]:
    """Rows in batches of `batch_size` (the last may be smaller) for one epoch of training.

    Rows are shuffled, sorted by length within pools of `pool` batches, cut, and the batches shuffled: little padding,
    and yet no batch is the same in two epochs. O(n log n).
    """
    order = rng.permutation(len(lengths))
    pools = [order[at : at + batch_size * pool] for at in range(0, len(order), batch_size * pool)]
    batches = [
        ranked[at : at + batch_size]
        for rows in pools
        for ranked in [rows[np.argsort(lengths[rows], kind="stable")]]
        for at in range(0, len(ranked), batch_size)
    ]
    return [batches[i] for i in rng.permutation(len(batches))]


def _pair(snippet: Snippet) -> str | tuple[str, str]:
    return (snippet.prompt, snippet.completion) if snippet.prompt else snippet.completion


def _as_pair(snippet: Snippet) -> tuple[str, str | None]:
    return (snippet.prompt, snippet.completion) if snippet.prompt else (snippet.completion, None)
