"""Classifiers: fine-tuned transformer encoders that score a snippet for failure.

`train` and `load` import torch and onnxruntime when first called, so that a web process can name them for free.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from engine.classifiers.artifact import Point, TrainingResult
from engine.classifiers.base import Classifier, Example, score_stream
from engine.classifiers.recipe import Recipe
from engine.progress import Progress, silent
from engine.snippets import Snippet

__all__ = [
    "Classifier",
    "Example",
    "Point",
    "Recipe",
    "TrainingResult",
    "load",
    "score_stream",
    "token_counter",
    "train",
]


def train(
    examples: Sequence[Example],
    recipe: Recipe,
    *,
    out_dir: Path,
    validation: Sequence[Example] = (),
    checkpoints: Path | None = None,
    logs: Path | None = None,
    progress: Progress = silent,
) -> TrainingResult:
    """See `engine.classifiers.training.train`; `engine.classifiers.apart.train_apart` does it in another process."""
    from engine.classifiers import training

    return training.train(
        examples,
        recipe,
        out_dir=out_dir,
        validation=validation,
        checkpoints=checkpoints,
        logs=logs,
        progress=progress,
    )


def load(path: Path, *, precision: str = "int8") -> Classifier:
    """See `engine.classifiers.loading.load`."""
    from engine.classifiers import loading

    return loading.load(path, precision=precision)


def check_encoder(recipe: Recipe) -> None:
    """See `engine.classifiers.suiting.check_encoder`."""
    from engine.classifiers import suiting

    suiting.check_encoder(recipe)


def token_counter(encoder: str) -> Callable[[Snippet], int]:
    """Counts a snippet's tokens as classifiers on this encoder will, special tokens included, nothing cut off.

    Raises MissingModel.
    """
    from engine.classifiers.encoders import load_tokenizer
    from engine.classifiers.tokens import PairTokenizer

    return PairTokenizer(load_tokenizer(encoder).backend_tokenizer, max_tokens=1 << 20, pad_id=0).count
