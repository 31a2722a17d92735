"""A trained classifier from its folder, at the precision asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer

from engine.classifiers import artifact
from engine.classifiers.base import Classifier
from engine.classifiers.recipe import Recipe
from engine.classifiers.scoring import Int8Classifier
from engine.classifiers.tokens import PairTokenizer
from engine.errors import BadInput, UnknownName


def load(path: Path, *, precision: str = "int8") -> Classifier:
    """The classifier that `train` wrote to `path`: "int8" (CPU, without torch), "fp32" or "bf16" (on a GPU if any).

    Reads JSON, safetensors and ONNX only. Raises UnknownName for another precision, BadInput naming the file that is
    missing or damaged.
    """
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    recipe = artifact.read_recipe(path)
    artifact.present(path, artifact.WEIGHTS)
    return PRECISIONS[precision](path, recipe, read_tokenizer(path, recipe))


def read_tokenizer(path: Path, recipe: Recipe) -> PairTokenizer:
    """The tokenizer that was trained with. Raises BadInput naming the file that is missing or damaged."""
    config, file = artifact.present(path, artifact.CONFIG), artifact.present(path, artifact.TOKENIZER)
    try:
        pad_id = json.loads(config.read_text()).get("pad_token_id") or 0
    except (ValueError, AttributeError) as error:
        raise BadInput(f"is not JSON of an encoder ({error})", where=str(config)) from error
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises nothing narrower
        raise BadInput(f"is not a tokenizer ({error})", where=str(file)) from error
    return PairTokenizer(tokenizer, max_tokens=recipe.max_tokens, pad_id=int(pad_id))


def _int8(path: Path, recipe: Recipe, tokenizer: PairTokenizer) -> Classifier:
    return Int8Classifier(artifact.present(path, artifact.INT8), tokenizer)


def _fp32(path: Path, recipe: Recipe, tokenizer: PairTokenizer) -> Classifier:
    from engine.classifiers.torch_scoring import TorchClassifier, read_network  # int8 scoring needs no torch

    return TorchClassifier(read_network(path, recipe), tokenizer)


def _bf16(path: Path, recipe: Recipe, tokenizer: PairTokenizer) -> Classifier:
    import torch

    from engine.classifiers.torch_scoring import TorchClassifier, read_network

    return TorchClassifier(read_network(path, recipe), tokenizer, torch.bfloat16)


PRECISIONS: dict[str, Callable[[Path, Recipe, PairTokenizer], Classifier]] = {
    "int8": _int8,
    "fp32": _fp32,
    "bf16": _bf16,
}
