"""Moves among the texts of a generator that leave its own distribution as it is: what splitting needs of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from engine.generation.base import Generator
from engine.snippets import Snippet


@runtime_checkable
class Continuing(Protocol):
    """A generator that says its completions token by token, and goes on from any prefix of one."""

    @property
    def most_tokens(self) -> int:
        """Tokens of a completion, at most."""
        ...

    def go_on(self, prompts: Sequence[str], prefixes: Sequence[tuple[int, ...]], *, seed: int) -> list[tuple[int, ...]]:
        """A completion's tokens for each prompt, that begin with the prefix: drawn as the rest of one would be. A
        prefix that is a whole completion stays."""
        ...

    def text_of(self, tokens: Sequence[int]) -> str:
        """The completion, cut as any; empty where it says nothing."""
        ...


class Spoken(NamedTuple):
    """A state: a snippet, and its completion's tokens where they are known."""

    snippet: Snippet
    tokens: tuple[int, ...] = ()


class Suffixes:
    """Draws a cut uniformly over {0, ..., most_tokens - 1} and says the rest anew; in one move of `most_tokens` + 1
    the prompt too, uniformly from the pool. Reversible for any generator that draws token by token."""

    what = "the completion's rest from a random token on, or prompt and completion"

    def __init__(self, generator: Continuing, pool: Sequence[str]) -> None:
        self._generator, self._pool = generator, list(pool)

    def draw(self, n: int, chance: np.random.Generator) -> NDArray[Any]:
        """Prompts uniform over the pool."""
        return self._said(_prompts(self._pool, n, chance), [()] * n, chance)

    def move(self, states: NDArray[Any], chance: np.random.Generator) -> NDArray[Any]:
        """A proposal for each state."""
        cuts = chance.integers(-1, self._generator.most_tokens, len(states))
        others = iter(_prompts(self._pool, int((cuts < 0).sum()), chance))
        prompts = [next(others) if cut < 0 else one.snippet.prompt for cut, one in zip(cuts, states, strict=True)]
        return self._said(prompts, [one.tokens[: max(cut, 0)] for cut, one in zip(cuts, states, strict=True)], chance)

    def _said(
        self, prompts: Sequence[str], prefixes: Sequence[tuple[int, ...]], chance: np.random.Generator
    ) -> NDArray[Any]:
        said = self._generator.go_on(prompts, prefixes, seed=int(chance.integers(2**31)))
        texts = [Snippet(prompt, self._generator.text_of(one)) for prompt, one in zip(prompts, said, strict=True)]
        return _array([Spoken(text, one) for text, one in zip(texts, said, strict=True)])


class Redrawn:
    """For a generator of whole texts: another completion of the same prompt, or, as often, prompt and completion."""

    what = "the completion, or prompt and completion"

    def __init__(self, generator: Generator, pool: Sequence[str]) -> None:
        self._generator, self._pool = generator, list(pool)

    def draw(self, n: int, chance: np.random.Generator) -> NDArray[Any]:
        """Prompts uniform over the pool."""
        return self._said(_prompts(self._pool, n, chance), chance)

    def move(self, states: NDArray[Any], chance: np.random.Generator) -> NDArray[Any]:
        """A proposal for each state."""
        swap = chance.random(len(states)) < 0.5
        others = iter(_prompts(self._pool, int(swap.sum()), chance))
        prompts = [next(others) if other else one.snippet.prompt for other, one in zip(swap, states, strict=True)]
        return self._said(prompts, chance)

    def _said(self, prompts: Sequence[str], chance: np.random.Generator) -> NDArray[Any]:
        drawn = self._generator.complete(prompts, 1, seed=int(chance.integers(2**31)))
        return _array([Spoken(Snippet(prompt, text)) for prompt, (text,) in zip(prompts, drawn, strict=True)])


def _prompts(pool: Sequence[str], n: int, chance: np.random.Generator) -> list[str]:
    return [pool[place] for place in chance.integers(0, len(pool), n)]


def _array(states: Sequence[Spoken]) -> NDArray[Any]:
    made = np.empty(len(states), dtype=object)
    for place, state in enumerate(states):
        made[place] = state
    return made
