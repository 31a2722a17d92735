"""A second architecture without a hub: a small DistilBERT, to be named as an encoder (`--second-encoder FOLDER`).

Two layers of DistilBERT's shape with random weights, over MiniLM's word embeddings and its tokenizer; so it shares
MiniLM's words and nothing of its reading. Nobody pretrained it: it is trained here on the training comments of
toxic_spans (Yes or not), every weight but the words', and then trained again as any encoder is. It is weaker than what
a hub offers. What it says of scores' correlation is an example of a small, badly read second opinion, not the best one.

    python benchmarks/_second_architecture.py FOLDER
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from _judged_text import Text, toxic_spans  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from transformers import AutoModel, DistilBertConfig, PreTrainedModel  # noqa: E402

from engine.classifiers.encoders import load_encoder, load_tokenizer  # noqa: E402

DATA = ROOT.parent / "shared" / "data"
MOST_TOKENS, BATCH, RATE = 64, 32, 5e-4


def main() -> None:
    """Writes the encoder to the folder."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--data", type=Path, default=DATA)
    options.add_argument("--comments", type=int, default=3000, help="trained on")
    options.add_argument("--epochs", type=int, default=4)
    options.add_argument("--seed", type=int, default=7)
    given = options.parse_args()
    torch.manual_seed(given.seed)
    chosen = [one for one in toxic_spans(given.data) if one.split == "train"][: given.comments]
    encoder = untrained()
    trained(encoder, chosen, epochs=given.epochs, seed=given.seed)
    encoder.save_pretrained(given.folder)
    load_tokenizer("minilm").save_pretrained(given.folder)


def untrained() -> PreTrainedModel:
    """Random, but for the words."""
    words = load_encoder("minilm").get_input_embeddings().weight.detach()
    shape = DistilBertConfig(
        vocab_size=words.shape[0],
        max_position_embeddings=512,
        dim=words.shape[1],
        n_layers=2,
        n_heads=6,
        hidden_dim=768,
    )
    encoder: PreTrainedModel = AutoModel.from_config(shape)
    table = encoder.get_input_embeddings()
    table.weight.data.copy_(words)
    table.weight.requires_grad_(False)
    return encoder


def trained(encoder: PreTrainedModel, texts: list[Text], *, epochs: int, seed: int) -> None:
    """By cross entropy of a linear head over the mean of the tokens, which is thrown away then."""
    read, head = load_tokenizer("minilm"), nn.Linear(encoder.config.dim, 1)
    kept = [*(one for one in encoder.parameters() if one.requires_grad), *head.parameters()]
    steps = epochs * -(-len(texts) // BATCH)
    moves = torch.optim.AdamW(kept, lr=RATE, weight_decay=0.01)
    pace = torch.optim.lr_scheduler.OneCycleLR(moves, RATE, total_steps=steps, pct_start=0.1)
    rng = np.random.default_rng(seed)
    encoder.train()
    for epoch in range(epochs):
        losses = []
        for rows in np.array_split(rng.permutation(len(texts)), -(-len(texts) // BATCH)):
            batch = [texts[row] for row in rows]
            loss = _loss(encoder, head, read([one.text for one in batch], **_READING), [one.positive for one in batch])
            moves.zero_grad()
            loss.backward()
            moves.step()
            pace.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.3f}", flush=True)
    encoder.eval()


_READING = {"padding": True, "truncation": True, "max_length": MOST_TOKENS, "return_tensors": "pt"}


def _loss(encoder: PreTrainedModel, head: nn.Linear, tokens: dict[str, Tensor], positive: list[bool]) -> Tensor:
    mask = tokens["attention_mask"]
    states = encoder(input_ids=tokens["input_ids"], attention_mask=mask).last_hidden_state
    mean = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    return nn.functional.binary_cross_entropy_with_logits(head(mean)[:, 0], torch.tensor(positive).float())


if __name__ == "__main__":
    main()
