"""Stories into blocks of tokens, each of one story alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from engine.progress import Progress, silent

IGNORED = -100
"""A target that is none: padding."""
_AT_ONCE = 64
"""Stories tokenised at a time."""


class Batch(NamedTuple):
    """Padded blocks, arrays (b, t)."""

    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    targets: NDArray[np.int64]
    """The token that follows each; `IGNORED` where there is none."""


class Blocks(NamedTuple):
    """Stories as tokens, cut into blocks that between them predict every token exactly once."""

    ids: NDArray[np.int32]
    """(tokens,) all stories, one after the other."""
    starts: NDArray[np.int64]
    """(n,) first token of each block."""
    lengths: NDArray[np.int64]
    """(n,) tokens that each block predicts: it reads as many, from its start on, and predicts the next ones."""
    story: NDArray[np.int64]
    """(n,) number of the story that each block is of."""

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """Those blocks, padded to the longest."""
        width = int(self.lengths[rows].max())
        ids = np.zeros((len(rows), width), dtype=np.int64)
        mask = np.zeros_like(ids)
        targets = np.full_like(ids, IGNORED)
        for place, row in enumerate(rows):
            start, length = self.starts[row], self.lengths[row]
            ids[place, :length] = self.ids[start : start + length]
            mask[place, :length] = 1
            targets[place, :length] = self.ids[start + 1 : start + length + 1]
        return Batch(ids, mask, targets)


def blocks_of(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, block_tokens: int, *, progress: Progress = silent
) -> Blocks:
    """Tokens of each story, between its opening and its end, in blocks of `block_tokens`; the last of each is shorter.

    A block shares its first token with the last target of the one before it, so that a story of n tokens has n - 1
    targets however long its blocks are. `progress` is told stories. O(characters).
    """
    parts: list[NDArray[np.int32]] = []
    starts: list[int] = []
    lengths: list[int] = []
    story: list[int] = []
    at = 0
    for number, tokens in enumerate(_tokens(texts, tokenizer)):
        last = len(tokens) - 1
        for first in range(0, last, block_tokens):
            starts.append(at + first)
            lengths.append(min(block_tokens, last - first))
            story.append(number)
        parts.append(tokens)
        at += len(tokens)
        if number % _AT_ONCE == 0:
            progress(number, len(texts))
    ids = np.concatenate(parts) if parts else np.zeros(0, np.int32)
    return Blocks(ids, *(np.asarray(column, np.int64) for column in (starts, lengths, story)))


def _tokens(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> Iterator[NDArray[np.int32]]:
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    begin = end if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    for start in range(0, len(texts), _AT_ONCE):
        chunk = list(texts[start : start + _AT_ONCE])
        for ids in tokenizer(chunk, add_special_tokens=False, verbose=False)["input_ids"]:
            yield np.asarray([*begin, *ids, *end], np.int32)
