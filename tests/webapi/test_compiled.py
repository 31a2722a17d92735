"""Queries put together once answer as Django's own do: on SQLite, and on PostgreSQL where the services answer."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.db.models import Exists, F, OuterRef, QuerySet

from tests.services import assert_passes_on_postgresql
from webapi.models import Annotator, Batch, Label, Lease, LeaseState, Policy, Snippet, Task, TaskState
from webapi.models.base import locked
from webapi.models.compiled import Update, compiled, compiled_update, insert

SOON = datetime(2031, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
built: list[tuple[object, ...]] = []


@compiled
def tasks(reverse: bool, *, batch: uuid.UUID | None = None, keys: list[uuid.UUID] | None = None) -> QuerySet[Task]:
    built.append((reverse, batch is not None, keys is not None))
    found = Task.objects.filter(state=TaskState.OPEN).select_related("snippet", "rival", "batch__policy")
    found = found if batch is None else found.filter(batch=batch)
    found = found if keys is None else found.filter(pk__among=keys)
    mine = Lease.objects.filter(task=OuterRef("pk"))
    return found.annotate(split=F("snippet__split"), held=Exists(mine)).order_by("-place" if reverse else "place")


@compiled
def names(*, name: str) -> QuerySet[Annotator, tuple[uuid.UUID, str, bool]]:
    return Annotator.objects.filter(name=name).exclude(external_id="100 % '--").values_list("pk", "name", "staff")


@compiled
def due(*, before: datetime, batches: list[uuid.UUID]) -> QuerySet[Lease]:
    return Lease.objects.filter(expires_at__lt=before, task__batch__among=batches, state=LeaseState.LIVE)


@compiled
def held(*, key: uuid.UUID) -> QuerySet[Annotator]:
    return locked(Annotator.objects.filter(pk=key))


@compiled_update
def close(state: TaskState, *, keys: list[uuid.UUID], more: int) -> Update:
    return Task.objects.filter(pk__among=keys, state=TaskState.OPEN), {"state": state, "wanted": F("wanted") + more}


@pytest.fixture
def batch(make_batch: Callable[..., Batch]) -> Batch:
    return make_batch(5)


def person(name: str, **fields: Any) -> Annotator:
    return Annotator.objects.create(name=name, **fields)


def lease(task: Task, annotator: Annotator) -> Lease:
    return Lease(task=task, annotator=annotator, token=uuid.uuid4(), expires_at=SOON)


def test_rows_are_those_of_the_query_with_what_belongs_to_them(batch: Batch, make_batch: Callable[..., Batch]) -> None:
    make_batch(2)
    lease(batch.tasks.order_by("place")[0], person("ann")).save()
    batch.tasks.order_by("place").last().delete()
    rows = tasks(False, batch=batch.pk)
    assert rows == list(batch.tasks.order_by("place"))
    assert len(rows) == 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "cursor", None)  # nothing is read any more
        for row in rows:
            assert (row.snippet.pk, row.rival, row.split) == (row.snippet_id, None, row.snippet.split)
            assert row.batch.policy.spec == Policy(spec=row.batch.policy.spec).spec != {}
            assert not row._state.adding
    assert [row.held for row in rows] == [True, False, False, False]
    for row in rows:
        stored = Task.objects.select_related("snippet", "batch__policy").get(pk=row.pk)
        for mine, its in ((row, stored), (row.snippet, stored.snippet), (row.batch.policy, stored.batch.policy)):
            fields = [field.attname for field in mine._meta.concrete_fields]
            assert [getattr(mine, field) for field in fields] == [getattr(its, field) for field in fields]


def test_a_shape_is_built_once_and_what_is_none_is_left_out(batch: Batch, make_batch: Callable[..., Batch]) -> None:
    other = make_batch(2)
    all_ = list(Task.objects.order_by("place"))
    tasks(True, batch=batch.pk)
    built.clear()
    assert tasks(True, batch=batch.pk) == list(batch.tasks.order_by("-place"))
    assert tasks(True, batch=other.pk, keys=None) == list(other.tasks.order_by("-place"))
    assert built == []
    assert tasks(False, keys=[all_[4].pk, all_[1].pk]) == [all_[1], all_[4]]
    assert tasks(False, keys=[]) == []
    assert tasks(False, batch=other.pk, keys=[task.pk for task in all_]) == list(other.tasks.order_by("place"))
    assert tasks(False) == all_
    assert len(built) == len(set(built))


def test_values_are_sent_as_they_are_and_literals_too(db: None) -> None:
    for name in ("x' OR 1=1 --", "50 %s", "ÄÖ {}", '"'):
        ann = person(name, staff=True)
        person(name, external_id="100 % '--", vendor=name)
        assert names(name=name) == [(ann.pk, name, True)]


def test_times_and_lists_are_compared_as_django_does(batch: Batch) -> None:
    ann = person("ann")
    for task in batch.tasks.all():
        lease(task, ann).save()
    late = batch.tasks.first().leases.get()
    Lease.objects.filter(pk=late.pk).update(expires_at=SOON.replace(microsecond=123455))
    assert due(before=SOON, batches=[batch.pk]) == [late]
    assert due(before=SOON, batches=[uuid.uuid4()]) == []
    assert due(before=SOON, batches=[batch.pk])[0].expires_at == SOON.replace(microsecond=123455)


def test_an_update_says_how_many_rows_it_changed(batch: Batch) -> None:
    first, second, third, *_ = batch.tasks.order_by("place")
    Task.objects.filter(pk=second.pk).update(state=TaskState.DONE)
    assert close(TaskState.CANCELLED, keys=[first.pk, second.pk], more=2) == 1
    assert close(TaskState.DONE, keys=[third.pk], more=0) == 1
    assert close(TaskState.DONE, keys=[], more=1) == 0
    said = list(batch.tasks.order_by("place").values_list("state", "wanted"))
    assert said == [("cancelled", 3), ("done", 1), ("done", 1), ("open", 1), ("open", 1)]


@pytest.mark.parametrize("count", [1, 3])
def test_what_is_inserted_is_as_django_would(batch: Batch, count: int) -> None:
    ann, some = person("ann"), list(batch.tasks.all()[:count])
    rows = [
        Label(task=task, snippet=task.snippet, annotator=ann, choice="No", seconds=n / 4 if n else None, note=f"% '{n}")
        for n, task in enumerate(some)
    ]
    assert insert(rows) == rows
    read = Label.objects.in_bulk([row.pk for row in rows])
    for row in rows:
        stored = read[row.pk]
        for field in Label._meta.concrete_fields:
            assert getattr(stored, field.attname) == getattr(row, field.attname), field
        assert row.created_at is not None
        assert not row._state.adding
    with transaction.atomic(), pytest.raises(IntegrityError), transaction.atomic():
        insert([Label(snippet=row.snippet, annotator=ann, choice="Yes") for row in rows])
    assert Label.objects.count() == count
    assert insert([]) == []


def test_a_broken_transaction_leaves_later_queries_as_they_were(batch: Batch) -> None:
    ann = person("ann")
    for _ in range(8):
        with transaction.atomic():
            insert([lease(batch.tasks.first(), ann)])
            assert len(due(before=SOON.replace(year=2032), batches=[batch.pk])) == 1
            transaction.set_rollback(True)
        assert due(before=SOON.replace(year=2032), batches=[batch.pk]) == []


@pytest.mark.django_db(transaction=True)
def test_rows_are_locked_in_transactions_only() -> None:
    ann = person("ann")
    with transaction.atomic():
        assert held(key=ann.pk) == [ann]
    with pytest.raises(transaction.TransactionManagementError):
        held(key=ann.pk)


@pytest.mark.django_db(transaction=True)
def test_each_thread_asks_over_its_own_connection(make_batch: Callable[..., Batch]) -> None:
    keys = [make_batch(3).pk for _ in range(4)]

    def read(key: uuid.UUID) -> list[list[uuid.UUID]]:
        try:
            return [[task.batch_id for task in tasks(False, batch=key)] for _ in range(20)]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, keys)) == [[[key] * 3] * 20 for key in keys]


@pytest.mark.django_db(transaction=True)
def test_on_postgresql_a_statement_is_prepared_with_its_literals(make_batch: Callable[..., Batch]) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("on PostgreSQL only: see the last test")
    key = make_batch(1).pk
    for _ in range(10):
        due(before=SOON, batches=[key])
        Snippet.objects.filter(pk=key).exists()
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        (statement,) = [sql for (sql,) in cursor.fetchall() if "webapi_lease" in sql or "webapi_snippet" in sql]
    assert "\"state\" = 'live'" in statement
    assert "$2" in statement
    assert "$3" not in statement


@pytest.mark.services
def test_all_of_it_on_postgresql() -> None:
    assert_passes_on_postgresql(__file__, tests=11)
