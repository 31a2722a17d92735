"""Simulated annotators: they mostly give the judge's answer, err more where it is hard, and take their time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from engine.policies import Policy
from engine.simulation.judges import Judge
from engine.simulation.quality import liking
from engine.simulation.reading import hardness
from engine.snippets import Snippet

TASTE = 0.12
"""Standard deviation of what one annotator makes of a completion around how good it is, in [0, 1]."""
ALIKE = 0.08
"""Completions that seem so close are called equally good, or equally bad where neither seems good."""


class Profile(NamedTuple):
    """What one simulated annotator is like."""

    name: str
    slip: float
    """Chance of a wrong answer on the plainest snippet."""
    confusion: float
    """What the chance of a wrong answer grows by on the hardest."""
    unsure_bias: float
    """Share of wrong answers that are the middle choice, where there is one."""
    seconds_a_word: float


class SimulatedAnswer(NamedTuple):
    """One answer to one task."""

    choice: str
    seconds: float


class SimulatedComparison(NamedTuple):
    """One answer to two completions of one prompt."""

    choice: Literal["first", "second", "equally_good", "equally_bad"]
    seconds: float


class SimulatedAnnotators:
    """A population of `n` annotators who share one judge of what is true, drawn by `seed`.

    Two of them disagree on about 1 % of snippets drawn from the world's stories and on about 10 % of hard ones
    (rare wordings, outcomes that hang on the prompt); in the paper people did on 0.39 % and 10.2 %.
    """

    def __init__(
        self,
        judge: Judge,
        policy: Policy,
        *,
        n: int,
        seed: int = 0,
        hardness: Callable[[Snippet], float] = hardness,
    ) -> None:
        if n < 1:
            raise ValueError(f"at least one annotator is wanted, not {n}")
        self.profiles = tuple(_profile(seed, index) for index in range(n))
        self._policy = policy
        self._judge = judge
        self._hardness = hardness
        self._seed = seed

    def __len__(self) -> int:
        return len(self.profiles)

    def answer(self, snippet: Snippet, annotator: int) -> SimulatedAnswer:
        """What annotator number `annotator` (from 0) answers, always the same for the same snippet, in whatever order
        they are asked. Raises IndexError for an annotator who is not there.
        """
        profile = self.profiles[annotator]
        chance = np.random.default_rng([self._seed, annotator, _number(snippet)])
        hard = self._hardness(snippet)
        right = self._judge(snippet)
        wrong = chance.random() < profile.slip + profile.confusion * hard
        choice = self._wrong_choice(right, profile, chance) if wrong else right
        reading = 1.5 + profile.seconds_a_word * len(snippet.text.split()) * (1 + 0.6 * hard)
        return SimulatedAnswer(choice, round(float(reading * chance.lognormal(0.0, 0.35)), 2))

    def compare(self, first: Snippet, second: Snippet, annotator: int) -> SimulatedComparison:
        """Which of two completions annotator number `annotator` (from 0) likes better, always the same for the same
        two, whichever comes first. By `liking` and a taste of one's own, and not by the policy.
        """
        profile = self.profiles[annotator]
        one, other = (self._taste(snippet, annotator) for snippet in (first, second))
        chance = np.random.default_rng([self._seed, annotator, *sorted(map(_number, (first, second))), 2])
        words = len(first.text.split()) + len(second.completion.split())
        seconds = round(float((1.5 + profile.seconds_a_word * words) * chance.lognormal(0.0, 0.35)), 2)
        if abs(one - other) < ALIKE:
            return SimulatedComparison("equally_good" if one + other >= 1 else "equally_bad", seconds)
        return SimulatedComparison("first" if one > other else "second", seconds)

    def _taste(self, snippet: Snippet, annotator: int) -> float:
        chance = np.random.default_rng([self._seed, annotator, _number(snippet), 1])
        return liking(snippet) + TASTE * float(chance.standard_normal())

    def _wrong_choice(self, right: str, profile: Profile, chance: np.random.Generator) -> str:
        first, *middle, last = self._policy.choices
        if right in middle:
            return first if chance.random() < 0.5 else last
        if middle and chance.random() < profile.unsure_bias:
            return middle[0]
        return last if right == first else first


def _number(snippet: Snippet) -> int:
    return int(snippet.content_hash[:15], 16)


def _profile(seed: int, index: int) -> Profile:
    chance = np.random.default_rng([seed, index])
    return Profile(
        name=f"simulated-{index + 1:02d}",
        slip=float(min(0.05, 0.003 * chance.lognormal(0.0, 0.5))),
        confusion=float(min(0.4, 0.065 * chance.lognormal(0.0, 0.4))),
        unsure_bias=float(chance.beta(4, 4)),
        seconds_a_word=float(0.16 * chance.lognormal(0.0, 0.25)),
    )
