"""Whether an encoder can be trained as a recipe says: told before labels are paid for, and again before training."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from engine.classifiers.encoders import fetched, load_tokenizer
from engine.classifiers.network import transformer_layers
from engine.classifiers.recipe import Recipe
from engine.errors import BadInput


def check_encoder(recipe: Recipe) -> None:
    """Raises what `train` would raise for the recipe's encoder, as far as its configuration, its tokenizer and the
    heads of its local files tell. No weights are read, nor fetched."""
    files = load_tokenizer(recipe.encoder)
    config = fetched(recipe.encoder, _config)
    with torch.device("meta"):
        suits(AutoModel.from_config(config), files, recipe)


def suits(encoder: PreTrainedModel, files: PreTrainedTokenizerFast, recipe: Recipe) -> None:
    """Raises BadInput where encoder, tokenizer and recipe do not go together."""
    longest = getattr(encoder.config, "max_position_embeddings", None) or recipe.max_tokens
    if recipe.max_tokens > longest:
        raise BadInput(f"{recipe.max_tokens} is more than the {longest} the encoder can read", where="max_tokens")
    last, rows = max(files.get_vocab().values()), len(cast(Tensor, encoder.get_input_embeddings().weight))
    if last >= rows:
        raise BadInput(
            f"its tokenizer counts tokens up to {last}, its embeddings end at {rows - 1}: they are of two models",
            where="encoder",
        )
    if recipe.trainable_layers is None:
        return
    _, layers = transformer_layers(encoder)
    if recipe.trainable_layers > len(layers):
        raise BadInput(
            f"{recipe.trainable_layers} is more than the encoder's {len(layers)} layers", where="trainable_layers"
        )


def _config(source: str, local: bool) -> PretrainedConfig:
    config: PretrainedConfig = AutoConfig.from_pretrained(source, trust_remote_code=False, local_files_only=local)
    folder = Path(source)
    if not folder.is_dir():
        return config
    if not (weights := sorted(folder.glob("*.safetensors"))):
        raise FileNotFoundError("it has no model.safetensors")
    for file in weights:
        try:
            with safe_open(file, framework="pt"):
                pass
        except SafetensorError as error:
            raise ValueError(f"{file.name}: {error}") from error
    return config
