"""Classifiers: fine-tuned transformer encoders that score a snippet for failure.

`train` and `load` import torch and onnxruntime when first called, so that a web process can name them for free.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.classifiers.artifact import TrainingResult
from engine.classifiers.base import Classifier, Example, score_stream
from engine.classifiers.recipe import Recipe
from engine.progress import Progress, silent

__all__ = ["Classifier", "Example", "Recipe", "TrainingResult", "load", "score_stream", "train"]


def train(examples: Sequence[Example], recipe: Recipe, *, out_dir: Path, progress: Progress = silent) -> TrainingResult:
    """See `engine.classifiers.training.train`."""
    from engine.classifiers import training

    return training.train(examples, recipe, out_dir=out_dir, progress=progress)


def load(path: Path, *, precision: str = "int8") -> Classifier:
    """See `engine.classifiers.loading.load`."""
    from engine.classifiers import loading

    return loading.load(path, precision=precision)
