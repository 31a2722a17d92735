"""The steps of `run_conditions`, in order: each queues the jobs that are still wanted, and reads what came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from webapi.models import Classifier, Job, JobState, Policy, Round
from webapi.models.attacks import ATTACK_SHARD
from workers.condition_data import MANUAL, TOOL_ASSISTED, attacks_beside, shards_of
from workers.condition_settings import ConditionSettings
from workers.conditions import BASELINE, PARAPHRASES, TABLE_3, Condition, Dataset, baseline_of, table_3
from workers.conditions import TOOL_ASSISTED as LAST
from workers.jobs import enqueue


class Step(NamedTuple):
    """A part of the work: its title, the jobs that it queues (none: all is done), and what becomes of their results."""

    title: str
    queue: Callable[[], list[Job]]
    take: Callable[[list[Job]], None]


@dataclass
class Steps:
    """What is to be trained and measured, and what is known of it so far."""

    policy: Policy
    settings: ConditionSettings
    seed: int
    round_: Round | None = None
    logs: str = ""
    trained: dict[str, dict[str, str]] = field(default_factory=dict)
    """By condition: keys of snapshot, classifier and evaluation."""
    batches: dict[str, str] = field(default_factory=dict)

    def table_3(self) -> Iterable[Step]:
        """The paper's conditions on a round: each data set is written against the classifier of the one before."""
        yield self.train(BASELINE)
        yield self.write(MANUAL, BASELINE)
        for name in TABLE_3[1:-1]:
            yield self.train(name)
        yield self.attack(PARAPHRASES)
        yield self.write(TOOL_ASSISTED, PARAPHRASES)
        yield self.train(LAST)

    def own(self, conditions: Iterable[Condition]) -> Iterable[Step]:
        """Conditions that name their data themselves."""
        for condition in conditions:
            yield self.train(condition.name, condition)

    def train(self, name: str, condition: Condition | None = None) -> Step:
        """A condition's snapshot, classifier and figures."""

        def queue() -> list[Job]:
            parent = next(iter(self.trained.values()), None)
            args = {
                "policy": str(self.policy.pk),
                "round": str(self.round_.pk) if self.round_ else None,
                "condition": (condition or self._of_table_3(name)).model_dump(mode="json"),
                "settings": self._settings(),
                "seed": self.seed,
                "parent": parent["classifier"] if parent else None,
                "logs": self.logs,
            }
            return [_job("train_condition", args, "training")]

        def take(jobs: list[Job]) -> None:
            self.trained[name] = jobs[0].result

        return Step(f"Train {name}", queue, take)

    def write(self, kind: str, target: str) -> Step:
        """What simulated contractors write against the classifier of `target`."""

        def queue() -> list[Job]:
            attacks = self._attacks(target) if kind == TOOL_ASSISTED else []
            args = {
                "round": str(self._round.pk),
                "classifier": self.trained[target]["classifier"],
                "kind": kind,
                "attacks": [str(row.pk) for row in attacks],
                "settings": self._settings(),
            }
            return [_job("write_examples", args, "scoring")]

        def take(jobs: list[Job]) -> None:
            self.batches[kind] = jobs[0].result["batch"]

        return Step(f"Simulated: {kind}", queue, take)

    def attack(self, target: str) -> Step:
        """The automatic attacks on the classifier of `target`."""

        def queue() -> list[Job]:
            jobs = []
            for row in self._attacks(target):
                have = {job.shard: job for job in row.jobs.filter(kind=ATTACK_SHARD).order_by("pk")}
                for shard, args in shards_of(row).items():
                    job = have.get(shard)
                    if job is None or job.state in (JobState.FAILED, JobState.CANCELLED):
                        job = enqueue(ATTACK_SHARD, args, attack=row.pk, shard=shard, queue="generation")
                    jobs.append(job)
            return [job for job in jobs if job.state != JobState.SUCCEEDED]

        return Step("Automatic attacks", queue, _nothing)

    @property
    def _round(self) -> Round:
        if self.round_ is None:
            raise ValueError("table 3 is made beside a round")
        return self.round_

    def _attacks(self, target: str) -> list[Any]:
        classifier = Classifier.objects.get(pk=self.trained[target]["classifier"])
        return attacks_beside(self._round, classifier, self.settings)

    def _settings(self) -> Mapping[str, Any]:
        """The conditions stand in the jobs one by one."""
        return self.settings.model_copy(update={"conditions": ()}).model_dump(mode="json")

    def _of_table_3(self, name: str) -> Condition:
        if name == BASELINE:
            return baseline_of(self._round)
        manual = Dataset(name=MANUAL, batch=self.batches[MANUAL])
        assisted = Dataset(name=TOOL_ASSISTED, batch=self.batches.get(TOOL_ASSISTED, self.batches[MANUAL]))
        return table_3(self._round, manual, assisted)[name]


def _nothing(jobs: list[Job]) -> None:
    """What an attack found is read where it is used."""


def _job(kind: str, args: Mapping[str, Any], queue: str) -> Job:
    """The job that a command stopped before left, or a new one; what it finds finished costs it nothing."""
    left = Job.objects.filter(kind=kind, args=args, state__in=[JobState.QUEUED, JobState.RUNNING]).first()
    return left or enqueue(kind, args, queue=queue)
