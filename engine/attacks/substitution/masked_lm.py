"""Words that a masked language model puts in a place: the paper's source (there deberta-v2-xlarge)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from threading import Lock

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from engine.attacks.language_models import KIND, load_head
from engine.attacks.substitution.words import Slot
from engine.classifiers.encoders import load_tokenizer
from engine.classifiers.hardware import device
from engine.classifiers.tokens import batches_by_budget
from engine.errors import BadInput
from engine.snippets import Snippet

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_BYTE_SPACE, _PIECE_SPACE = "\u0120", "\u2581"
_FETCHED = 3
"""Tokens looked at for one word that is wanted: many are pieces or punctuation."""


class MaskedLMSettings(BaseModel):
    """Which model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1)
    """A folder or a name on the hub, with a head for masked words: bert, roberta, deberta-v2 (v3 has none)."""
    batch_tokens: int = Field(4096, ge=1)
    """Padded tokens in one forward pass."""


class MaskedLM:
    """Reads the whole snippet with a mask in each place, all places in a few batches."""

    def __init__(self, settings: MaskedLMSettings) -> None:
        """Raises MissingModel when the weights are not here and cannot be fetched, BadInput for one without masks."""
        self._settings = settings
        self._tokenizer = load_tokenizer(settings.model, kind=KIND)
        if self._tokenizer.mask_token is None:
            raise BadInput("has no mask token, so it fills no gaps", where=f"{KIND} {settings.model!r}")
        marks = (_BYTE_SPACE, _PIECE_SPACE)
        self._marks = tuple(mark for mark in marks if any(token.startswith(mark) for token in self._tokenizer.vocab))
        """What begins a piece that begins a word; empty where the pieces inside words are marked instead."""
        self._device = device()
        self._model = load_head(settings.model, "masked")
        self._lock = Lock()
        """Fast tokenizers cannot change their padding from two threads at once."""

    def propose(self, snippet: Snippet, slots: Sequence[Slot], k: int) -> list[list[str]]:
        """The likeliest whole words of each place. One copy of the snippet a slot; O(slots x tokens) of the model."""
        if not slots:
            return []
        masked = [_masked(snippet, slot, self._tokenizer.mask_token) for slot in slots]
        with self._lock:
            ids = self._tokenizer(masked, truncation=True, max_length=self._longest())["input_ids"]
        lengths = np.array([len(row) for row in ids], np.int64)
        found: list[list[str]] = [[] for _ in slots]
        for rows in batches_by_budget(lengths, self._settings.batch_tokens):
            for row, best in zip(rows, self._likeliest([ids[row] for row in rows], k), strict=True):
                slot = slots[row]
                there = snippet.completion[slot.start : slot.end].casefold()
                found[row] = self._words(best, there)[:k]
        return found

    def _likeliest(self, ids: Sequence[Sequence[int]], k: int) -> list[list[int]]:
        """Token ids for the mask of each row, best first; none where the mask was cut off."""
        longest = max(map(len, ids))
        pad = self._tokenizer.pad_token_id or 0
        padded = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in ids], device=self._device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids], device=self._device)
        at = [row.index(self._tokenizer.mask_token_id) if self._tokenizer.mask_token_id in row else -1 for row in ids]
        with torch.inference_mode():
            logits = self._model(input_ids=padded, attention_mask=mask).logits
            places = torch.tensor([max(place, 0) for place in at], device=self._device)
            rows = logits[torch.arange(len(ids), device=self._device), places].float()
            best = rows.topk(min(_FETCHED * k, rows.shape[1])).indices.tolist()
        return [top if place >= 0 else [] for top, place in zip(best, at, strict=True)]

    def _words(self, tokens: Sequence[int], there: str) -> list[str]:
        found: dict[str, None] = {}
        for token, piece in zip(tokens, self._tokenizer.convert_ids_to_tokens(list(tokens)), strict=True):
            word = str(self._tokenizer.decode([token])).strip()
            inner = not piece.startswith(self._marks) if self._marks else piece.startswith("##")
            if not inner and _WORD.fullmatch(word) and word.casefold() != there:
                found.setdefault(word)
        return list(found)

    def _longest(self) -> int:
        return int(min(self._tokenizer.model_max_length, getattr(self._model.config, "max_position_embeddings", 512)))


def _masked(snippet: Snippet, slot: Slot, mask: str) -> str:
    text = snippet.completion
    after = text[slot.end :]
    space = " " if slot.is_gap and after[:1].isalnum() else ""
    before = " " if slot.is_gap and not space else ""
    return f"{snippet.prompt} {text[: slot.start]}{before}{mask}{space}{after}".strip()
