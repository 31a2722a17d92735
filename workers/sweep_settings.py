"""What a sweep is asked to do, checked field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from engine.classifiers.recipe import Recipe
from engine.config import checked
from workers.round_settings import Part

MOST_RUNS = 400
SPREAD = (0.5, 2.0)
"""The paper's learning rates, 1e-6 to 4e-6 (A.4), as shares of their middle."""


class LabelWanted(Part):
    """Validation snippets to be written and sent out for labels before anything is trained."""

    in_distribution: int = Field(300, ge=0, le=100_000)
    """Completions of random validation prompts."""
    seeds: int = Field(150, ge=0, le=100_000)
    """Completions that fit the policy's word heuristics: labelled to find failures to re-tell, and for nothing else."""
    draws: int = Field(4, ge=1, le=100)
    """Re-tellings of each failure found."""


class SweepSettings(Part):
    """Learning rates x seeds, and how their classifiers are compared."""

    recipe: Recipe = Recipe()
    """Of every run, but for learning rate and seed."""
    learning_rates: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field((), max_length=50)
    """None: five from half to twice the recipe's, evenly spaced in the logarithm."""
    seeds: tuple[Annotated[int, Field(ge=0, le=2**31 - 1)], ...] = Field((0, 1, 2, 3, 4), min_length=1, max_length=50)
    precision: Literal["int8", "fp32", "bf16"] = "int8"
    """What runs are scored at, as the picked one will be."""
    target_kl: float = Field(0.5, gt=0)
    """Nats that every run's threshold costs."""
    label: LabelWanted | None = None
    """None: runs are compared on what is labelled of the validation split already."""
    seed: int = Field(0, ge=0, le=2**31 - 1)
    """Decides the halves of the validation mix, and what is written for it."""

    @model_validator(mode="after")
    def _suits(self) -> Self:
        for name in ("learning_rates", "seeds"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: one is named twice")
        if len(self.rates) * len(self.seeds) > MOST_RUNS:
            raise ValueError(f"at most {MOST_RUNS} runs, not {len(self.rates)} x {len(self.seeds)}")
        if self.precision == "int8" and not self.recipe.export_int8:
            raise ValueError("precision int8 needs recipe.export_int8")
        if any(rate > 1 for rate in self.rates):
            raise ValueError("learning_rates: at most 1")
        return self

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates, ascending."""
        low, high = (self.recipe.learning_rate * share for share in SPREAD)
        return tuple(sorted(self.learning_rates or (float(f"{rate:.3g}") for rate in np.geomspace(low, high, 5))))

    @property
    def recipes(self) -> list[Recipe]:
        """One a run: by learning rate, then by seed."""
        pairs = [(rate, seed) for rate in self.rates for seed in self.seeds]
        return [self.recipe.model_copy(update={"learning_rate": rate, "seed": seed}) for rate, seed in pairs]


def sweep_settings(data: Mapping[str, Any], *, where: str = "settings") -> SweepSettings:
    """Checked settings. Raises BadInput naming each wrong field."""
    return checked(SweepSettings, data, where=where)
