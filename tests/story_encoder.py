"""A random encoder that knows the story world's words, small enough to be trained in a second."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from engine.simulation import StoryWorld
from tests.engine.tiny_encoders import SPECIAL


def write_story_encoder(folder: Path, *, stories: int = 150, seed: int = 0) -> Path:
    """Written to `folder`, as a hub would give it: up to 256 tokens a text."""
    splitter = pre_tokenizers.Whitespace()
    world, words = StoryWorld(0), {}
    for number in range(stories):
        words |= dict.fromkeys(word for word, _ in splitter.pre_tokenize_str(world.story(number).text.lower()))
    vocabulary = [*SPECIAL, *words]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertModel(
            BertConfig(
                vocab_size=len(vocabulary), max_position_embeddings=256, hidden_size=48, num_attention_heads=2,
                num_hidden_layers=2, intermediate_size=64,
            )
        )  # fmt: skip
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), splitter
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), SPECIAL, strict=True))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **{f"{key}_token": name for key, name in names.items()})
    fast.save_pretrained(folder)
    return folder
