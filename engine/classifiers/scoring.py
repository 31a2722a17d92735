"""Scoring: snippets in any order and number to logits in that order, in batches of similar length."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from engine.classifiers.base import CHUNK
from engine.classifiers.int8 import saturates, with_unsigned_weights
from engine.classifiers.threads import threads
from engine.classifiers.tokens import Batch, PairTokenizer, Tokens, batches_by_budget
from engine.errors import BadInput
from engine.progress import Progress, silent
from engine.snippets import Snippet

Rows = NDArray[np.int64]
Map = Callable[[Callable[[Rows], NDArray[np.float32]], Iterable[Rows]], Iterator[NDArray[np.float32]]]


class LengthBucketed(ABC):
    """A classifier that scores padded batches. Subclasses say how one batch is scored."""

    budget: int
    """Padded tokens in one batch."""
    workers = 1
    """Batches scored at a time."""

    def __init__(self, tokenizer: PairTokenizer) -> None:
        self._tokenizer = tokenizer

    @abstractmethod
    def _margins(self, batch: Batch) -> NDArray[np.float32]:
        """z1 - z0 of each row."""

    def logits(self, snippets: Sequence[Snippet], *, progress: Progress = silent) -> NDArray[np.float32]:
        """Margins z1 - z0, shape (n,), in the order given. O(n log n); holds the tokens of one chunk at a time."""
        result = np.empty(len(snippets), dtype=np.float32)
        done = 0
        with _mapper(self.workers) as run:
            for start in range(0, len(snippets), CHUNK):
                tokens = self._tokenizer.encode(snippets[start : start + CHUNK])
                batches = list(batches_by_budget(tokens.lengths, self.budget))
                for rows, margins in zip(batches, run(partial(self._score, tokens), batches), strict=True):
                    result[start + rows] = margins
                    done += len(rows)
                    progress(done, len(snippets))
        return result

    def count_tokens(self, snippet: Snippet) -> int:
        """Tokens of the whole snippet, special tokens included, nothing cut off."""
        return self._tokenizer.count(snippet)

    def _score(self, tokens: Tokens, rows: Rows) -> NDArray[np.float32]:
        return self._margins(tokens.batch(rows, self._tokenizer.pad_id))


class Int8Classifier(LengthBucketed):
    """The ONNX graph beside the weights. Needs no torch. Safe to share between threads.

    Each thread scores its own small batch: threads that share one batch wait for each other at every layer, which is
    several times slower as soon as anything else runs on the machine.
    """

    budget = 512

    def __init__(self, file: Path, tokenizer: PairTokenizer) -> None:
        super().__init__(tokenizer)
        self.workers = threads()
        self._session = _session(file)
        self._inputs = {node.name for node in self._session.get_inputs()}

    def _margins(self, batch: Batch) -> NDArray[np.float32]:
        feeds = {name: value for name, value in batch.feeds().items() if name in self._inputs}
        (margins,) = self._session.run(None, feeds)
        return margins  # type: ignore[no-any-return]


def _session(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        source = with_unsigned_weights(onnx.load(file)).SerializeToString() if saturates() else str(file)
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # neither onnx nor onnxruntime has an error of its own to catch
        raise BadInput(f"is not a readable ONNX graph ({error})", where=str(file)) from error


@contextmanager
def _mapper(workers: int) -> Iterator[Map]:
    """`map` over some threads; what has not begun is dropped when the caller stops."""
    if workers == 1:
        yield map
        return
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)
