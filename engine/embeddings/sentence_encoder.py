"""Sentence embeddings by a transformer, in batches of like length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from transformers.utils.logging import disable_progress_bar

from engine.classifiers.encoders import resolve
from engine.embeddings.vectors import unit_rows
from engine.errors import MissingModel
from engine.progress import Progress, silent

Precision = Literal["auto", "fp32", "bf16"]

_BATCH_CHARS: Final = {"cpu": 6_000, "cuda": 200_000}
"""Characters a batch: on CPUs small batches stay in the cache and run a fifth faster."""
_MAX_BATCH: Final = 1024


class SentenceEncoder:
    """Texts as unit vectors whose dot product says how alike they are."""

    def __init__(
        self, name: str = "minilm", *, precision: Precision = "auto", device: Literal["auto", "cpu", "cuda"] = "auto"
    ) -> None:
        """`name`: "minilm" (all-MiniLM-L6-v2 inside a package, no network), a folder, or a name on the hub.

        `precision` "auto" is bf16 where the processor multiplies it (there it is over twice as fast, and cosines differ
        by less than 0.001), else fp32. Raises MissingModel when the weights are not here and cannot be fetched.
        """
        self.name = name
        self._device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self.precision = best_precision(self._device) if precision == "auto" else precision
        self._model = _load(name, self._device, torch.bfloat16 if self.precision == "bf16" else torch.float32)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self._model.get_embedding_dimension() or 0)

    def encode(self, texts: Sequence[str], *, progress: Progress = silent) -> NDArray[np.float32]:
        """(n, d) unit rows, one a text, in order; texts beyond the model's length are cut.

        The same texts in the same call give the same rows; a text's row may differ in the last digits between calls.
        MiniLM runs about 60 snippets of 120 tokens a second on two cores in fp32.
        """
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        done = 0
        progress(0, len(texts))
        for batch in _batches(texts, _BATCH_CHARS[self._device]):
            encoded = self._model.encode(
                [texts[i] for i in batch], batch_size=len(batch), convert_to_numpy=True, show_progress_bar=False
            )
            rows[batch] = encoded
            done += len(batch)
            progress(done, len(texts))
        return unit_rows(rows)


def _batches(texts: Sequence[str], chars: int) -> Iterator[NDArray[np.int64]]:
    """Indices of texts of like length, longest first so that too little memory shows at once."""
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < order.size:
        size = int(min(max(1, chars // max(1, lengths[order[start]])), _MAX_BATCH))
        yield order[start : start + size]
        start += size


def best_precision(device: str = "auto") -> Literal["fp32", "bf16"]:
    """What "auto" stands for on this machine."""
    where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    return "bf16" if _multiplies_bf16(where) else "fp32"


def _multiplies_bf16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    able = torch.cpu.get_capabilities()
    return any(bool(able.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _load(name: str, device: str, dtype: torch.dtype) -> SentenceTransformer:
    disable_progress_bar()
    try:
        return SentenceTransformer(
            resolve(name), device=device, model_kwargs={"dtype": dtype, "use_safetensors": True}
        ).eval()
    except (OSError, ValueError) as error:
        raise MissingModel(
            f"cannot load the sentence encoder {name!r}: {error} Fetch it where there is network with "
            f"`hf download {name}`, name a folder that holds it, or use 'minilm', which is always there."
        ) from error
