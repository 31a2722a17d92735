"""A chat model of ninety thousand weights that tells stories of one small world, trained here in seconds.

Its chat template shows it the user's last message and nothing else: it is too small to read a task or examples. What it
has learnt is the form of a retelling and a hundred words, not to keep what happens.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from engine.snippets import Snippet

WHO = ["baker", "miller", "sailor", "widow", "farmer", "tailor", "guard", "smith", "nurse", "pilot"]
WHERE = ["harbour", "orchard", "quarry", "station", "chapel", "cellar", "market", "tower", "bridge", "stable"]
HOW = ["cold", "dark", "loud", "empty", "warm", "quiet", "narrow", "bright", "dusty", "wet"]
WHAT = ["ladder", "lantern", "barrel", "engine", "bucket", "kettle", "wagon", "chain", "rope", "door"]
DID = ["waited", "shouted", "slept", "sang", "knelt", "argued", "worked", "laughed"]
DEED = ["crushed", "burned", "wounded", "stabbed", "greeted", "thanked", "helped", "praised"]
SHAPES = (
    ("The {who} went down to the {where} with a {what}.", "It was {how} in there, and a {other} {did}."),
    ("Nobody at the {where} had seen the {who} or the {what}.", "The old {other} {did} where it was {how}."),
    ("A {who} and a {other} met by the {where}.", "They {did} until it was {how}, and lost the {what}."),
)
ENDS = ("After an hour the {who} {deed} the {other} with a {what}.", "Then a {what} in the {where} {deed} the {who}.")
END, ANSWER, UNKNOWN = "<|end|>", "<|answer|>", "<|unknown|>"


def story(chance: random.Random) -> Snippet:
    """A passage of three sentences and one more, valid for the policy `injury`."""
    words = {"who": WHO, "other": WHO, "where": WHERE, "how": HOW, "what": WHAT, "did": DID, "deed": DEED}

    def told(shape: str) -> str:
        return shape.format(**{slot: chance.choice(known) for slot, known in words.items()})

    first, second = chance.choice(SHAPES)
    third = chance.choice(SHAPES)[1]
    return Snippet(f"{told(first)} {told(second)} {told(third)}", told(chance.choice(ENDS)))


def _parts(snippet: Snippet) -> str:
    return f"<context>\n{snippet.prompt}\n</context>\n<last>\n{snippet.completion}\n</last>"


def _example(chance: random.Random) -> str:
    passage, retelling = story(chance), story(chance)
    return f"<passage>\n{_parts(passage)}\n</passage>{ANSWER}{_parts(retelling)}{END}"


def _tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Whole words with the space before them, so that what is decoded is what was written."""
    pieces = pre_tokenizers.Split(Regex(r"<\|\w+\|>|</?\w+>| ?\w+|[^\w\s]|\s"), "isolated")
    known = sorted({piece for text in texts for piece, _ in pieces.pre_tokenize_str(text)} - {END, ANSWER, UNKNOWN})
    vocabulary = {piece: i for i, piece in enumerate([END, UNKNOWN, ANSWER, *known])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pieces
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END, unk_token=UNKNOWN)
    fast.chat_template = f"{{{{ messages[-1]['content'] }}}}{ANSWER}"
    return fast


def write_chat_model(folder: Path, *, steps: int = 150) -> Path:
    """Trains the model and writes it and its tokenizer to `folder`: about ten seconds on one core."""
    chance = random.Random(1)
    tokenizer = _tokenizer([_example(chance) for _ in range(500)])
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=2048, bos_token_id=None, eos_token_id=0, pad_token_id=0, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = LlamaForCausalLM(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
        for _ in range(steps):
            batch = tokenizer([_example(chance) for _ in range(16)], return_tensors="pt", padding=True)
            labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
            model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    # The server samples where the model's own settings say so, and not else.
    model.generation_config = GenerationConfig(do_sample=True, eos_token_id=0, pad_token_id=0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
