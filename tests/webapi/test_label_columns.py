"""The columns of labels are what the database says after anything that can happen to labels, read again or not.

Runs on SQLite by default, and once more on PostgreSQL, which hands labels over by COPY, where the services answer.
"""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from tests.services import assert_passes_on_postgresql
from webapi.models import Annotator, Batch, Gold, Label, Policy, Snippet, Task
from webapi.models.base import first_id_at, new_id
from webapi.selectors import label_columns, label_rows
from webapi.selectors.label_columns import SOURCES, SPLITS, Columns, LabelColumns
from webapi.selectors.label_rows import NO_CODE, key_at, packed
from workers.votes import votes_of

MakeSnippets = Callable[..., list[Snippet]]
MakeBatch = Callable[..., Batch]


@pytest.fixture
def people(db: None) -> list[Annotator]:
    return [Annotator.objects.create(name=name, vendor=vendor) for name, vendor in (("ann", ""), ("ben", "acme"))]


def votes(columns: Columns) -> dict[tuple[uuid.UUID, uuid.UUID], str]:
    """Snippet and annotator -> the answer that stands."""
    return {
        (key_at(columns.item_keys, columns.items[place]), columns.annotator_keys[columns.annotators[place]]): (
            columns.choice_names[columns.choices[place]]
        )
        for place in columns.standing.nonzero()[0]
    }


def expected() -> dict[tuple[uuid.UUID, uuid.UUID], str]:
    """The same by the query that consensus rests on, without gold."""
    gold = set(Label.objects.filter(task__gold__isnull=False).values_list("pk", flat=True))
    found = votes_of(set(Snippet.objects.values_list("pk", flat=True)))
    return {
        (snippet, uuid.UUID(one.vote.annotator)): one.vote.choice
        for snippet, given in found.items()
        for one in given
        if one.label not in gold
    }


def label(snippet: Snippet, annotator: Annotator, choice: str = "No", **fields: object) -> Label:
    return Label.objects.create(snippet=snippet, annotator=annotator, choice=choice, **fields)


def test_what_is_held_of_a_label(people: list[Annotator], make_batch: MakeBatch, policy: Policy) -> None:
    batch = make_batch(1)
    task = batch.tasks.get()
    given = label(task.snippet, people[1], "Yes", task=task, seconds=2.3)
    columns = LabelColumns().current()
    assert [key_at(columns.keys, 0), key_at(columns.item_keys, 0)] == [given.pk, task.snippet_id]
    assert (columns.annotator_keys, columns.vendors, columns.choice_names) == ((people[1].pk,), ("acme",), ("Yes",))
    assert (columns.batch_keys, columns.rounds, columns.policy_keys) == ((batch.pk,), (None,), (policy.pk,))
    assert SOURCES[columns.item_sources[0]] == task.snippet.source
    assert SPLITS[columns.item_splits[0]] == task.snippet.split
    assert columns.times.tolist() == [
        (given.created_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    ]
    assert columns.seconds.tolist() == [2.3]
    assert columns.since is None
    label(task.snippet, people[0])
    assert str(LabelColumns().current().seconds.tolist()) == "[2.3, nan]"


def test_gold_surplus_withdrawn_and_replaced_answers_are_no_votes(
    people: list[Annotator], make_snippets: MakeSnippets, make_batch: MakeBatch, policy: Policy
) -> None:
    ann, ben = people
    rows = make_snippets(5)
    gold = Gold.objects.create(policy=policy, snippet=rows[0], choice="Yes")
    batch = make_batch()
    label(rows[0], ann, task=Task.objects.create(batch=batch, snippet=rows[0], gold=gold))
    label(rows[1], ann, counted=False)
    label(rows[2], ann, counted=False, withdrawn_at=timezone.now())
    for revision, choice in enumerate(("Yes", "No", "Unsure")):
        label(rows[3], ben, choice, revision=revision, counted=revision < 2)
    label(rows[4], ben, "Yes")
    columns = LabelColumns().current()
    assert columns.keys.size == 7
    assert votes(columns) == expected() == {(rows[3].pk, ben.pk): "No", (rows[4].pk, ben.pk): "Yes"}
    assert sorted(columns.batches.tolist()) == [NO_CODE] * 6 + [0]


def test_nothing_is_read_where_nothing_changed(
    people: list[Annotator], make_snippets: MakeSnippets, django_assert_num_queries: Callable[[int], object]
) -> None:
    held = LabelColumns()
    assert held.current().keys.size == 0
    label(make_snippets(1)[0], people[0])
    first = held.current()
    with django_assert_num_queries(2):
        assert held.current() is first
    held.forget()
    assert votes(held.current()) == votes(first)


@pytest.mark.parametrize("late", [timedelta(0), timedelta(seconds=30), timedelta(minutes=30), timedelta(hours=20)])
def test_labels_committed_late_are_found_without_reading_all(
    people: list[Annotator], make_snippets: MakeSnippets, late: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_snippets(3)
    label(rows[0], people[0])
    held = LabelColumns()
    first = held.current()
    monkeypatch.setattr(label_columns, "_load", None)
    label(rows[1], people[1], id=first_id_at(timezone.now() - late))
    label(rows[2], people[1])
    assert votes(held.current()) == expected()
    assert len(votes(first)) == 1, "a snapshot changes under nobody's hands"


def test_labels_of_any_age_are_found(people: list[Annotator], make_snippets: MakeSnippets) -> None:
    rows = make_snippets(2)
    label(rows[0], people[0])
    held = LabelColumns()
    held.current()
    label(rows[1], people[1], id=first_id_at(datetime(2020, 1, 1, tzinfo=UTC)))
    assert votes(held.current()) == expected()
    assert len(expected()) == 2


def test_a_row_taken_away_and_another_put_in_its_place_is_seen(
    people: list[Annotator], make_snippets: MakeSnippets
) -> None:
    """Labels are never deleted, but a transaction that was read may be rolled back."""
    rows = make_snippets(3)
    held = LabelColumns()
    label(rows[0], people[0])
    held.current()
    with transaction.atomic():
        label(rows[1], people[0])
        held.current()
        transaction.set_rollback(True)
    assert votes(held.current()) == expected()
    with transaction.atomic():
        label(rows[1], people[0])
        held.current()
        transaction.set_rollback(True)
    label(rows[2], people[1])
    label(rows[2], people[0])
    assert votes(held.current()) == expected()
    assert len(expected()) == 3


def test_rows_rolled_back_are_not_held_for_others_that_came(
    people: list[Annotator], make_snippets: MakeSnippets
) -> None:
    """The counts alone would fit: two rows were read and went, two older ones and a younger one are there now."""
    rows, held, now = make_snippets(4), LabelColumns(), timezone.now()
    with transaction.atomic():
        for row in rows[:2]:
            label(row, people[0])
        held.current()
        transaction.set_rollback(True)
    for row, age in zip(rows[:3], (3000, 2000, 0), strict=True):
        label(row, people[1], id=first_id_at(now + timedelta(minutes=5) - timedelta(seconds=age)))
    assert votes(held.current()) == expected()
    assert len(expected()) == 3


@pytest.mark.parametrize("seed", range(4))
def test_any_history_ends_in_what_the_database_says(
    people: list[Annotator], make_snippets: MakeSnippets, make_batch: MakeBatch, policy: Policy, seed: int
) -> None:
    """Two holders that look at different times, as two processes do, against the query."""
    chance = random.Random(seed)
    rows, batch = make_snippets(12), make_batch()
    golden = Gold.objects.create(policy=policy, snippet=rows[0], choice="Yes")
    gold = Task.objects.create(batch=batch, snippet=rows[0], gold=golden)
    both = LabelColumns(), LabelColumns()
    given: dict[tuple[int, int], int] = {}
    for _ in range(40):
        what, who, said = chance.randrange(12), chance.randrange(2), chance.choice(("Yes", "Unsure", "No"))
        if chance.random() < 0.2 and given:
            theirs = list(Label.objects.filter(annotator=people[who], counted=True).values_list("pk", flat=True))
            gone = chance.sample(theirs, min(2, len(theirs)))
            Label.objects.filter(pk__in=gone).update(counted=False, withdrawn_at=timezone.now())
        else:
            revision = given.get((what, who), -1) + 1
            given[what, who] = revision
            key = first_id_at(timezone.now() - timedelta(seconds=chance.choice((30, 3000)))) if revision else new_id()
            key = uuid.UUID(int=key.int | chance.getrandbits(60))
            label(
                rows[what], people[who], said, id=key, revision=revision, task=None if what else gold,
                counted=chance.random() < 0.9,
            )  # fmt: skip
        if chance.random() < 0.5:
            assert votes(both[0].current()) == expected()
    assert votes(both[0].current()) == votes(both[1].current()) == expected()


def test_only_the_newest_are_held_where_there_are_too_many(
    people: list[Annotator], make_snippets: MakeSnippets, settings: Any
) -> None:
    settings.AGREEMENT_LABELS = 10
    rows = make_snippets(30)
    keys = [label(row, people[0]).pk for row in rows[:14]]
    held = LabelColumns()
    columns = held.current()
    assert [key_at(columns.keys, place) for place in columns.keys.argsort()] == keys[4:]
    assert columns.since == datetime.fromtimestamp((keys[3].int >> 80) / 1000, UTC)
    keys.append(label(rows[14], people[0]).pk)
    assert held.current().keys.size == 11
    keys.append(label(rows[15], people[0]).pk)
    columns = held.current()
    assert [key_at(columns.keys, place) for place in columns.keys.argsort()] == keys[6:]


@pytest.mark.parametrize("chunk", [1, 3, 4])
def test_labels_come_in_pieces_of_any_size(
    people: list[Annotator], make_snippets: MakeSnippets, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(label_rows, "CHUNK", chunk)
    for n, row in enumerate(make_snippets(12)):
        label(row, people[n % 2], ("Yes", "Unsure", "No")[n % 3])
    columns = LabelColumns().current()
    assert votes(columns) == expected()
    assert columns.keys.size == 12


def test_the_last_moment_of_a_day_stays_on_its_day(people: list[Annotator], make_snippets: MakeSnippets) -> None:
    given = label(make_snippets(1)[0], people[0])
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    Label.objects.filter(pk=given.pk).update(created_at=midnight - timedelta(microseconds=1))
    assert LabelColumns().current().times.tolist() == [int(midnight.timestamp()) * 1000 - 1]


def test_keys_that_end_in_zeros_stay_whole() -> None:
    key = uuid.UUID(int=new_id().int >> 24 << 24)
    assert key_at(packed([key]), 0) == key


@pytest.mark.django_db(transaction=True)
def test_threads_that_read_while_others_write_see_all_in_the_end(policy: Policy, make_snippets: MakeSnippets) -> None:
    ann, ben = (Annotator.objects.create(name=name) for name in ("ann", "ben"))
    rows, held, wrong = make_snippets(60), LabelColumns(), []
    label(rows[0], ann)

    def write(annotator: Annotator) -> None:
        for row in rows[1:]:
            label(row, annotator)
        connection.close()

    def read() -> None:
        last = 0
        for _ in range(25):
            size = held.current().keys.size
            if size < last:
                wrong.append((last, size))
            last = size
        connection.close()

    jobs = [*(threading.Thread(target=write, args=(who,)) for who in (ann, ben)), *(
        threading.Thread(target=read) for _ in range(4)
    )]  # fmt: skip
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert wrong == []
    assert held.current().keys.size == 119
    assert votes(held.current()) == expected()


@pytest.mark.services
def test_all_of_the_above_on_postgresql() -> None:
    assert_passes_on_postgresql(__file__, tests=21)
