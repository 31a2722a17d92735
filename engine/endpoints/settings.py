"""Where an endpoint is, how it is asked, and on whose account."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from engine.endpoints.ledger import Ledger
from engine.endpoints.prices import Price, listed_price


class EndpointSettings(BaseModel):
    """Where and how to ask. Keys never stand here: only the name of the environment variable that holds one.

    Nor does a folder for finished requests: settings come over the API, and a path in them would have the server make
    folders and files where a stranger likes. Whoever makes an Endpoint names it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1)
    base_url: str = Field("https://api.openai.com/v1", pattern=r"^https?://[^\s@]+$")
    api: Literal["chat", "completions"] = "chat"
    key_variable: str | None = Field("OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Environment variable that holds the key; null for a server that wants none."""
    timeout_s: float = Field(60, gt=0)
    max_retries: int = Field(5, ge=0)
    """Tries beyond the first on 408, 409, 429, 5xx and lost connections; waits double from 0.5 s to 8 s, with jitter,
    or as long as the server asks."""
    concurrency: int = Field(8, ge=1)
    """Requests under way at once."""
    choices_per_request: int = Field(8, ge=1)
    """Answers asked for in one request. Servers that give one anyway are asked again one by one."""
    temperature: float = Field(0.9, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(32, ge=1)
    token_limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"  # noqa: S105 - no password
    """What the server calls `max_tokens`; newer chat models want the second."""
    send_seed: bool = True
    """False for servers that refuse the field."""
    price: Price | None = None
    """USD per million tokens; where it is not given, prices.toml may know it."""

    @property
    def known_price(self) -> Price | None:
        """The price given, else the listed one."""
        return self.price or listed_price(self.model, self.base_url)


class Account(NamedTuple):
    """Who pays for requests, and the folder where finished ones are kept."""

    ledger: Ledger | None = None
    cache_dir: Path | None = None
