"""How a generator is tuned: one frozen, checked set of values, saved beside the weights."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

PAPERS_RATE, FRESH_RATE = 5e-6, 2e-3
"""Learning rates: of the paper for a pretrained model (A.2), and what suits a small one from nothing."""


class FreshModel(BaseModel):
    """A small causal LM (Llama's architecture) with random weights, and the vocabulary it learns from the stories."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: int = Field(4, ge=1, le=48)
    width: int = Field(192, ge=8, le=4096)
    heads: int = Field(4, ge=1, le=64)
    vocabulary: int = Field(4096, ge=260, le=200_000)
    """Byte-level BPE tokens, at most; 256 of them are bytes, so that no text is unknown."""
    context: int = Field(512, ge=16, le=32_768)
    """Tokens the model can attend to."""

    @model_validator(mode="after")
    def _even_heads(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(f"width must be a multiple of twice the heads; {self.width} is none of {2 * self.heads}")
        return self


class TuningRecipe(BaseModel):
    """Everything, besides the stories, that decides what `tune` produces.

    The paper's (A.2): `base` EleutherAI/gpt-neo-2.7B, Adam at 5e-6, raw text, sampled at temperature 0.9.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base: str | None = Field(None, min_length=1)
    """A causal LM to go on from: name on the Hugging Face hub, or a folder. None: `fresh` from nothing."""
    fresh: FreshModel | None = None
    """The model to begin with where there is no `base`; as its defaults unless said otherwise."""
    cleaned: bool = False
    """Leave preambles, headings and notes out and put each paragraph on one line; the paper took the raw text."""
    max_chars: int = Field(100_000_000, ge=1, le=2**63 - 1)
    """Characters of stories to train on, at most: they come in random order until there are so many."""
    held_out_chars: int = Field(500_000, ge=1, le=2**63 - 1)
    """Characters of stories to evaluate on, at most, of the validation and of the test split each; of one story no more
    than a tenth of it, from its beginning."""
    block_tokens: int = Field(256, ge=2, le=1_000_000)
    """Tokens the model reads at once in training. No block holds parts of two stories."""
    batch_size: int = Field(16, ge=1, le=100_000)
    """Blocks in one forward pass."""
    accumulate: int = Field(1, ge=1, le=100_000)
    """Forward passes in one step of the optimizer."""
    epochs: int = Field(1, ge=1, le=1000)
    steps: int | None = Field(None, ge=1, le=2**63 - 1)
    """Steps of the optimizer, instead of whole epochs."""
    learning_rate: float = Field(PAPERS_RATE, gt=0, le=1)
    """At the end of the warm-up. Unless said, 5e-6 for a `base` and 2e-3 from nothing."""
    warmup: float = Field(0.05, ge=0, le=1)
    """Share of the steps over which the rate climbs from nothing; then it falls in a line to nothing."""
    weight_decay: float = Field(0.0, ge=0, le=100)
    """Of matrices; biases and norms are spared. The paper used plain Adam."""
    max_grad_norm: float = Field(1.0, gt=0)
    evaluations: int = Field(10, ge=1, le=1_000_000)
    """How often the validation loss is taken, evenly over the steps; the weights that did best are kept."""
    patience: int | None = Field(3, ge=1)
    """Evaluations in a row without a gain after which training stops; None: it never stops early."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Of the arithmetic; "bf16" only where the machine is good at it. Weights and optimizer stay in fp32."""
    recompute: bool = False
    """Compute activations again in the backward pass: a third slower, far less memory."""
    seed: int = Field(0, ge=0, le=2**31 - 1)

    @model_validator(mode="before")
    @classmethod
    def _said_out(cls, data: Any) -> Any:
        """What follows from other fields is written out, so that a saved recipe says all of it."""
        if not isinstance(data, dict):
            return data
        made = dict(data)
        if made.get("base") is None and made.get("fresh") is None:
            made["fresh"] = {}
        if made.get("learning_rate") is None:
            made["learning_rate"] = PAPERS_RATE if made.get("base") is not None else FRESH_RATE
        return made

    @model_validator(mode="after")
    def _one_beginning(self) -> Self:
        if self.base is not None and self.fresh is not None:
            raise ValueError("give `base` or `fresh`, not both")
        if self.fresh is not None and self.block_tokens > self.fresh.context:
            raise ValueError(
                f"block_tokens: {self.block_tokens} is more than the {self.fresh.context} that fresh.context reads"
            )
        return self
