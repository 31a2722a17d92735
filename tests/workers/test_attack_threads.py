"""Shards of an attack that end at the same moment: the attack ends, once, with the totals of all.

Runs on SQLite by default, and once more on PostgreSQL where the services answer.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.services import assert_passes_on_postgresql
from tests.webapi.test_leasing_threads import at_once
from webapi.errors import DomainError
from webapi.models import Attack, Classifier, Job, Policy
from webapi.models.attacks import ATTACK_SHARD
from webapi.services.attacks import attack_cancel
from workers import execute as executing
from workers.jobs import JobRun

SHARDS = 5


@pytest.fixture
def attack(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> Attack:
    """A running attack whose shards do nothing but end."""

    def shard(run: JobRun) -> dict[str, Any]:
        return {"kept": 1, "stops": {"searched": 1}}

    monkeypatch.setitem(executing.JOBS, ATTACK_SHARD, shard)
    classifier = Classifier.objects.create(policy=policy, name="c", condition="b", encoder="e", threshold=0.5)
    row = Attack.objects.create(
        policy=policy, classifier=classifier, threshold=0.5, role="alone", name="filler", state="running", seeds=SHARDS
    )
    Job.objects.bulk_create([Job(kind=ATTACK_SHARD, attack=row, shard=str(i)) for i in range(SHARDS)])
    return row


@pytest.mark.django_db(transaction=True)
def test_shards_that_end_at_once_end_the_attack(attack: Attack) -> None:
    jobs = list(Job.objects.values_list("pk", flat=True))
    assert at_once(lambda number: executing.execute(jobs[number]), SHARDS) == [True] * SHARDS
    attack.refresh_from_db()
    assert (attack.state, attack.result) == ("succeeded", {"kept": SHARDS, "stops": {"searched": SHARDS}})


@pytest.mark.django_db(transaction=True)
def test_an_attack_cancelled_while_its_shards_end_is_one_or_the_other(attack: Attack) -> None:
    jobs = list(Job.objects.values_list("pk", flat=True))

    def work(number: int) -> object:
        if number < SHARDS:
            return executing.execute(jobs[number])
        try:
            return attack_cancel(attack=Attack.objects.get()).state
        except DomainError as error:
            return error.code

    said = at_once(work, SHARDS + 1)[-1]
    attack.refresh_from_db()
    assert (said, attack.state) in {("cancelled", "cancelled"), ("attack_finished", "succeeded")}
    assert not attack.jobs.filter(state__in=["queued", "running"]).exists()
    if attack.state == "succeeded":
        assert attack.result["kept"] == SHARDS


@pytest.mark.services
def test_the_same_on_postgresql() -> None:
    assert_passes_on_postgresql(__file__, tests=2)
