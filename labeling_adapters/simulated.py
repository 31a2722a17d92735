"""The simulated vendor: simulated annotators who answer at once. Whatever they label is called simulated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from engine.config import checked
from engine.simulation import SimulatedAnnotators, judge_of
from labeling_adapters.base import IncomingLabel, InHouse, OutgoingBatch, OutgoingTask, Settings

SIDES = {"first": "left", "second": "right"}
POPULATION = 25
"""The paper had over 100 labelers, and 25 of them gave more than 95 % of the labels."""


class SimulatedSettings(BaseModel):
    """Its settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    seed: int = Field(ge=0)
    """Of the annotators and their answers."""


class SimulatedVendor(InHouse):
    """A population of simulated annotators. Deterministic by seed; stateless, so that asking twice answers the same."""

    name = "simulated"
    simulated = True
    poll_seconds: float | None = 1.0

    def __init__(self, settings: Settings) -> None:
        # Outside rounds a batch names the seed whose annotators it wants.
        config = {"seed": settings.seed, **settings.config}
        policy, self._seed = settings.policy, checked(SimulatedSettings, config, where=f"adapter {self.name}").seed
        self._annotators = SimulatedAnnotators(judge_of(policy), policy, n=POPULATION, seed=self._seed)

    def collect(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> Iterator[IncomingLabel]:
        """As many answers as each task still wants, by different annotators."""
        for task in tasks:
            texts = [task.snippet, *([task.rival] if task.rival else [])]
            chance = np.random.default_rng([self._seed, *(int(text.content_hash[:12], 16) for text in texts)])
            order = [int(number) for number in chance.permutation(POPULATION)]
            free = [number for number in order if _name(number) not in task.answered_by]
            for number in free[: task.wanted]:
                choice, seconds = self._answer(task, number)
                yield IncomingLabel(task.task_id, _name(number), choice, seconds)

    def _answer(self, task: OutgoingTask, number: int) -> tuple[str, float]:
        if task.rival is None:
            return self._annotators.answer(task.snippet, number)
        found = self._annotators.compare(task.snippet, task.rival, number)
        return SIDES.get(found.choice, found.choice), found.seconds


def _name(number: int) -> str:
    return f"simulated-{number + 1:02d}"
