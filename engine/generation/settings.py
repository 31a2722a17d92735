"""What generators are made from, apart from them: settings can be checked where no model is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class NearestSettings(BaseModel):
    """How continuations are drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    neighbours: int = Field(64, ge=1, le=1_000_000)
    """Contexts a completion is drawn from: the nearest so many."""
    temperature: float = Field(0.03, gt=0)
    """Of the softmax over cosine similarities. Small: only the most similar contexts; large: all alike."""
    graft_names: bool = True
    """Call the people of the completion by the names in the prompt."""


class NearestConfig(NearestSettings):
    """The same, or where to find them."""

    directory: Path | None = None
    """Where a fitted generator was saved; None: fit one on the corpus that is given."""


class CausalLMSettings(BaseModel):
    """Which model, and how it samples."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str = Field(min_length=1)
    """Name on the Hugging Face hub, or a folder."""
    temperature: float = Field(0.9, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_new_tokens: int = Field(32, ge=1, le=100_000)
    batch_size: int = Field(32, ge=1, le=100_000)
    """Completions sampled side by side."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
