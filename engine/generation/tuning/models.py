"""What a tuning begins with: a causal LM from a folder or the hub, or a small one from nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils.logging import disable_progress_bar

from engine.classifiers.encoders import fetched, load_tokenizer
from engine.errors import BadInput
from engine.generation.tuning.recipe import FreshModel, TuningRecipe

END = "<|endoftext|>"


class Beginning(NamedTuple):
    """A model in fp32 on the CPU, and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast


def beginning(recipe: TuningRecipe, texts: Sequence[str]) -> Beginning:
    """The model that the recipe begins with; one from nothing learns its vocabulary from `texts` first.

    Weights are read as safetensors only and no code from the hub is run. Raises MissingModel, or BadInput for a model
    without a fast tokenizer, a tokenizer of another model, or blocks longer than it reads.
    """
    if recipe.base is None:
        assert recipe.fresh is not None
        return _fresh(recipe.fresh, texts, recipe.seed)
    found = _pretrained(recipe.base)
    if recipe.block_tokens > context_of(found.model):
        raise BadInput(
            f"{recipe.block_tokens} is more than the {context_of(found.model)} tokens that {recipe.base!r} reads",
            where="block_tokens",
        )
    return found


def context_of(model: PreTrainedModel) -> int:
    """Tokens the model can attend to."""
    return int(getattr(model.config, "max_position_embeddings", None) or 2048)


def weights_hash(model: PreTrainedModel) -> str:
    """SHA-256 (hex) over the parameters' names and values. O(parameters)."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(f"{name}\0{tuple(parameter.shape)}\0".encode())
        digest.update(parameter.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _pretrained(name: str) -> Beginning:
    disable_progress_bar()
    tokenizer = load_tokenizer(name, kind="causal LM")

    def load(source: str, local: bool) -> PreTrainedModel:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            source, use_safetensors=True, trust_remote_code=False, dtype="float32", local_files_only=local
        )
        return model

    model = fetched(name, load, kind="causal LM")
    words = cast(torch.nn.Embedding, model.get_input_embeddings()).num_embeddings
    if len(tokenizer) > words:
        raise BadInput(f"its tokenizer has {len(tokenizer)} tokens, the model {words}", where=f"causal LM {name!r}")
    return Beginning(model, tokenizer)


def _fresh(wanted: FreshModel, texts: Sequence[str], seed: int) -> Beginning:
    tokenizer = _vocabulary(wanted, texts)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=wanted.width,
        intermediate_size=3 * wanted.width,
        num_hidden_layers=wanted.layers,
        num_attention_heads=wanted.heads,
        max_position_embeddings=wanted.context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,  # padding shares its token with the end, whose embedding must learn
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Beginning(LlamaForCausalLM(config), tokenizer)


def _vocabulary(wanted: FreshModel, texts: Sequence[str]) -> PreTrainedTokenizerFast:
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=wanted.vocabulary, special_tokens=[END], show_progress=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token=END, eos_token=END, pad_token=END, model_max_length=wanted.context
    )
