"""Random encoders of a few thousand weights, with a word vocabulary, in a folder as a hub would give them."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    DebertaV2Config,
    DistilBertConfig,
    GPT2Config,
    GPT2LMHeadModel,
    ModernBertConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

from engine.classifiers import Example
from engine.snippets import Snippet

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PLACES = ["hall", "yard", "barn", "road", "mill", "inn", "ford", "cave"]
HARM = ["stabbed", "burned", "crushed", "shot"]
CALM = ["greeted", "thanked", "painted", "fed"]
COMMON = "the a in old man girl baker knight dog then walked to and . they rested went by"
VOCABULARY = [*SPECIAL, *COMMON.split(), *PLACES, *HARM, *CALM]

_SIZE = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 3, "intermediate_size": 48}
CONFIGS: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(vocab_size=len(VOCABULARY), max_position_embeddings=64, **_SIZE),
    "roberta": RobertaConfig(
        vocab_size=len(VOCABULARY), max_position_embeddings=66, pad_token_id=0, type_vocab_size=1, **_SIZE
    ),
    "deberta": DebertaV2Config(
        vocab_size=len(VOCABULARY), max_position_embeddings=64, relative_attention=True, position_buckets=16,
        pos_att_type=["p2c", "c2p"], share_att_key=True, norm_rel_ebd="layer_norm", type_vocab_size=0,
        position_biased_input=False, **_SIZE,
    ),
    "distilbert": DistilBertConfig(
        vocab_size=len(VOCABULARY), max_position_embeddings=64, dim=32, n_heads=2, n_layers=3, hidden_dim=48
    ),
    "modernbert": ModernBertConfig(
        vocab_size=len(VOCABULARY), max_position_embeddings=64, pad_token_id=0, cls_token_id=2, sep_token_id=3,
        bos_token_id=2, eos_token_id=3, **_SIZE,
    ),
}  # fmt: skip


def write_encoder(folder: Path, kind: str = "bert", seed: int = 0) -> Path:
    """A random encoder of this kind and its tokenizer, written to `folder`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModel.from_config(CONFIGS[kind])
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    second = 1 if getattr(CONFIGS[kind], "type_vocab_size", 0) > 1 else 0
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair=f"[CLS] $A [SEP] $B:{second} [SEP]:{second}",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), SPECIAL, strict=True))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **{f"{key}_token": name for key, name in names.items()})
    fast.save_pretrained(folder)
    return folder


def examples(n: int, *, positive_every: int = 4) -> list[Example]:
    """Snippets whose completion's verb decides; every `positive_every`-th is a failure."""
    made = []
    for i in range(n):
        positive = i % positive_every == 0
        verb = (HARM if positive else CALM)[i // positive_every % 4]
        prompt = f"The old man walked to the {PLACES[i % 8]}." + " Then they rested." * (i % 3)
        made.append(Example(Snippet(prompt, f"The {('baker', 'knight')[i % 2]} {verb} a girl."), positive))
    return made


def write_language_model(folder: Path, kind: str, seed: int = 0, *, begins: str | None = "[CLS]") -> Path:
    """A random language model, "causal" (GPT-2) or "masked" (BERT), of the same vocabulary, written to `folder`.

    `begins` is the token that a causal one's texts begin with.
    """
    write_encoder(folder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "causal":
            model: PreTrainedModel = GPT2LMHeadModel(
                GPT2Config(
                    vocab_size=len(VOCABULARY), n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=2,
                    eos_token_id=3, initializer_range=0.5,
                )
            )  # fmt: skip
        else:
            model = BertForMaskedLM(CONFIGS["bert"])
            torch.nn.init.normal_(model.cls.predictions.decoder.weight, std=0.5)  # so that words differ
    model.save_pretrained(folder)
    if kind == "causal" and begins:
        AutoTokenizer.from_pretrained(folder, bos_token=begins).save_pretrained(folder)
    return folder
