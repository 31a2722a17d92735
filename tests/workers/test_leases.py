"""Leases that ran out are given back once; answers under idempotency keys are forgotten in time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from webapi.models import Annotator, Batch, IdempotentRequest, Lease, LeaseState, Task, User
from webapi.models.base import first_id_at
from workers import leases
from workers.leases import answers_forget, leases_expire


@pytest.fixture
def held(make_batch: Callable[..., Batch]) -> list[Lease]:
    """Three leases of one annotator, a minute apart."""
    annotator = Annotator.objects.create(name="alice")
    now = timezone.now()
    made = []
    for minutes, task in enumerate(make_batch(3).tasks.order_by("pk")):
        assert task.take()
        expires_at = now + timedelta(minutes=minutes)
        made.append(Lease.objects.create(task=task, annotator=annotator, token=uuid4(), expires_at=expires_at))
    return made


def taken() -> list[int]:
    return list(Task.objects.order_by("pk").values_list("taken", flat=True))


def test_only_what_ran_out_is_given_back_and_only_once(held: list[Lease]) -> None:
    now = timezone.now() + timedelta(seconds=90)
    assert leases_expire(now) == 2
    assert taken() == [0, 0, 1]
    assert leases_expire(now) == 0
    assert taken() == [0, 0, 1]
    assert [Lease.objects.get(pk=row.pk).state for row in held] == ["expired", "expired", "live"]


def test_what_was_answered_or_released_is_not_given_back(held: list[Lease]) -> None:
    held[0].end(LeaseState.ANSWERED)
    held[1].end(LeaseState.RELEASED)
    assert leases_expire(timezone.now() + timedelta(hours=1)) == 1
    assert taken() == [1, 1, 0]


def test_a_lease_renewed_meanwhile_stays(held: list[Lease]) -> None:
    now = timezone.now() + timedelta(seconds=30)
    Lease.objects.filter(pk=held[0].pk).update(expires_at=now + timedelta(hours=1))
    assert not held[0].expire(now)
    assert leases_expire(now) == 0


def test_many_are_given_back_in_turns(held: list[Lease], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "EXPIRE_AT_ONCE", 2)
    now = timezone.now() + timedelta(hours=1)
    assert [leases_expire(now) for _ in range(3)] == [2, 1, 0]
    assert taken() == [0, 0, 0]


def test_a_labels_place_is_never_given_back(held: list[Lease]) -> None:
    Task.objects.filter(pk=held[0].task_id).update(labelled=1)
    assert not held[0].task.give_back()
    assert taken() == [1, 1, 1]


def test_answers_are_forgotten_after_a_week(alice: User) -> None:
    for key, days in (("old", 8), ("new", 6)):
        made = first_id_at(timezone.now() - timedelta(days=days))
        IdempotentRequest.objects.create(id=made, user=alice, key=key, method_path="POST /", body_digest="0")
    assert answers_forget(timezone.now()) == 1
    assert answers_forget(timezone.now()) == 0
    assert list(IdempotentRequest.objects.values_list("key", flat=True)) == ["new"]
