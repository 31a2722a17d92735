"""What every classifier can do, and what it learns from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.progress import Progress, silent
from engine.snippets import Snippet

CHUNK = 8192
"""Snippets tokenised, and sorted by length, at a time: memory does not grow beyond them."""


class Example(NamedTuple):
    """A snippet and whether it counts as a failure in training (`Yes` and `Unsure` do)."""

    snippet: Snippet
    positive: bool


class Classifier(Protocol):
    """A trained scorer. A completion is accepted iff its score, sigmoid(logit), is below the threshold."""

    def logits(self, snippets: Sequence[Snippet], *, progress: Progress = silent) -> NDArray[np.float32]:
        """Margins z1 - z0, shape (n,), in the order given; compare in logit space."""
        ...

    def count_tokens(self, snippet: Snippet) -> int:
        """Tokens of the whole snippet, special tokens included, nothing cut off."""
        ...


def score_stream(
    classifier: Classifier, snippets: Iterable[Snippet], *, chunk: int = CHUNK
) -> Iterator[NDArray[np.float32]]:
    """Logits of a stream, a `(<=chunk,)` array at a time, in order; holds one chunk in memory, whatever the length."""
    source = iter(snippets)
    while part := list(islice(source, chunk)):
        yield classifier.logits(part)
