"""Texts as vectors: sentence encoders, neighbours, near-duplicates. Torch and FAISS load with what needs them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from engine.embeddings.minhash import NearDuplicates, near_duplicates

if TYPE_CHECKING:
    from engine.embeddings.alike import AlikeSearch, codes_of, groups_within
    from engine.embeddings.neighbours import NearestNeighbours, Neighbours
    from engine.embeddings.projection import Projection
    from engine.embeddings.sentence_encoder import SentenceEncoder, best_precision
    from engine.embeddings.token_mean import TokenMeanEncoder
    from engine.embeddings.version import encoder_version

__all__ = [
    "AlikeSearch",
    "NearDuplicates",
    "NearestNeighbours",
    "Neighbours",
    "Projection",
    "SentenceEncoder",
    "TokenMeanEncoder",
    "best_precision",
    "codes_of",
    "encoder_version",
    "groups_within",
    "near_duplicates",
]

_HOME = {
    "AlikeSearch": "engine.embeddings.alike",
    "NearestNeighbours": "engine.embeddings.neighbours",
    "Neighbours": "engine.embeddings.neighbours",
    "Projection": "engine.embeddings.projection",
    "SentenceEncoder": "engine.embeddings.sentence_encoder",
    "TokenMeanEncoder": "engine.embeddings.token_mean",
    "best_precision": "engine.embeddings.sentence_encoder",
    "codes_of": "engine.embeddings.alike",
    "encoder_version": "engine.embeddings.version",
    "groups_within": "engine.embeddings.alike",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
