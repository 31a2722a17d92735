"""What tokens cost: from the endpoint's settings, else from the list in prices.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

_DATE = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8})$")


class Price(BaseModel):
    """USD for a million tokens; zero for a server of your own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """USD for so many tokens."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / 1e6


def listed_price(model: str, base_url: str) -> Price | None:
    """The list's price of a model at its seller's host; None at any other: the same name may cost otherwise there."""
    models = _listed().get(urlsplit(base_url).hostname or "", {})
    found = models.get(model) or models.get(_DATE.sub("", model))
    return Price(**found) if found else None


@cache
def _listed() -> Mapping[str, Mapping[str, Any]]:
    rows = tomllib.loads(Path(__file__).with_name("prices.toml").read_text(encoding="utf-8"))
    return {host: models for host, models in rows.items() if isinstance(models, dict)}
