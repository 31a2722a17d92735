"""How much less fluent a language model finds a rewriting than its seed."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from engine.attacks.language_models import Likelihood


class FluencySettings(BaseModel):
    """By which model, and how much may be lost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1)
    """A causal or masked language model: a folder or a name on the hub."""
    most_drop: float = Field(1.5, ge=0)
    """Nats an edited token, `drop` (methods E.3)."""


def drop(seed: Likelihood, rewriting: Likelihood) -> float:
    """Nats lost per edited token: (n m - l) / e, below 0 where the rewriting reads better.

    m is the seed's mean log-probability of a token, n the rewriting's number of tokens, l its log-likelihood, and e its
    edited tokens (at least 1). Of two texts of the same length n m is the seed's log-likelihood, and the drop the plain
    difference an edited token. Where the lengths differ, plain sums would forbid whatever makes a text longer and allow
    whatever makes it shorter. A seed without tokens: 0.
    """
    if not seed.tokens:
        return 0.0
    expected = len(rewriting.tokens) * seed.nats / len(seed.tokens)
    return (expected - rewriting.nats) / max(1, edited_tokens(seed.tokens, rewriting.tokens))


def edited_tokens(before: tuple[int, ...], after: tuple[int, ...]) -> int:
    """Tokens put in, taken out, or in the place of others (the more of the two), by difflib. O(tokens^2) at worst."""
    changes = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return sum(max(i2 - i1, j2 - j1) for kind, i1, i2, j1, j2 in changes if kind != "equal")
