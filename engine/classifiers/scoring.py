"""Scoring: snippets in any order and number to logits in that order, in batches of similar length."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from engine.classifiers.base import CHUNK
from engine.classifiers.threads import threads
from engine.classifiers.tokens import Batch, PairTokenizer, batches_by_budget
from engine.errors import BadInput
from engine.progress import Progress, silent
from engine.snippets import Snippet


class LengthBucketed(ABC):
    """A classifier that scores padded batches. Subclasses say how one batch is scored, and how large it may be."""

    budget: int
    """Padded tokens a batch."""

    def __init__(self, tokenizer: PairTokenizer) -> None:
        self._tokenizer = tokenizer

    @abstractmethod
    def _margins(self, batch: Batch) -> NDArray[np.float32]:
        """z1 - z0 of each row."""

    def logits(self, snippets: Sequence[Snippet], *, progress: Progress = silent) -> NDArray[np.float32]:
        """Margins z1 - z0, shape (n,), in the order given. O(n log n); tokens of one chunk are held at a time."""
        result = np.empty(len(snippets), dtype=np.float32)
        done = 0
        for start in range(0, len(snippets), CHUNK):
            tokens = self._tokenizer.encode(snippets[start : start + CHUNK])
            for rows in batches_by_budget(tokens.lengths, self.budget):
                result[start + rows] = self._margins(tokens.batch(rows, self._tokenizer.pad_id))
                done += len(rows)
                progress(done, len(snippets))
        return result

    def count_tokens(self, snippet: Snippet) -> int:
        """Tokens of the whole snippet, special tokens included, nothing cut off."""
        return self._tokenizer.count(snippet)


class Int8Classifier(LengthBucketed):
    """The ONNX graph beside the weights. Needs no torch. Safe to share between threads."""

    budget = 2048

    def __init__(self, file: Path, tokenizer: PairTokenizer) -> None:
        super().__init__(tokenizer)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BadInput(f"is not a readable ONNX graph ({error})", where=str(file)) from error
        self._inputs = {node.name for node in self._session.get_inputs()}

    def _margins(self, batch: Batch) -> NDArray[np.float32]:
        feeds = {"input_ids": batch.ids, "attention_mask": batch.mask, "token_type_ids": batch.types}
        (margins,) = self._session.run(None, {name: feeds[name] for name in self._inputs})
        return margins  # type: ignore[no-any-return]
