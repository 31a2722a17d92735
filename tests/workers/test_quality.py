"""Quality control: who passes, who is stopped, and what is asked again."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from webapi.models import (
    Annotator,
    Batch,
    Gold,
    Job,
    Label,
    Lease,
    LeaseState,
    Policy,
    Preference,
    Snippet,
    Standing,
    StandingState,
    Task,
    User,
)
from webapi.selectors.gold_answers import GoldRecord, gold_record, qualification_size
from webapi.services.leases import tasks_lease
from workers.quality import PutBack, pause, put_back, standing_of, to_put_back
from workers.record import Answer, record_labels

pytestmark = pytest.mark.django_db
MakeBatch = Callable[..., Batch]
MakeSnippets = Callable[..., list[Snippet]]


@pytest.fixture
def ann(alice: User) -> Annotator:
    return Annotator.objects.create(name="ann", user=alice)


@pytest.fixture
def gold(policy: Policy, make_snippets: MakeSnippets) -> list[Gold]:
    """Four gold snippets, all Yes."""
    rows = make_snippets(4, first=100)
    return Gold.objects.bulk_create([Gold(policy=policy, snippet=row, choice="Yes") for row in rows])


def ask(policy: Policy, **quality: object) -> None:
    policy.spec["quality"] = quality
    policy.save()


def leased(annotator: Annotator, count: int) -> list[Lease]:
    return tasks_lease(annotator=annotator, count=count)


def answer(leases: list[Lease], choice: str) -> list[str]:
    given = [Answer(lease.task_id, lease.annotator_id, choice, lease_token=lease.token) for lease in leases]
    return [one.outcome for one in record_labels(given)]


def test_a_new_annotator_gets_gold_alone_passes_and_then_works(
    policy: Policy, gold: list[Gold], make_batch: MakeBatch, ann: Annotator
) -> None:
    ask(policy, qualification=3)
    make_batch(2)
    assert qualification_size(policy) == 3
    test = leased(ann, 9)
    assert [lease.task.gold in gold for lease in test] == [True] * 3
    assert leased(ann, 9) == []
    assert answer(test[:2], "Yes") == ["recorded"] * 2
    assert standing_of(ann, policy).state == StandingState.QUALIFYING
    assert answer(test[2:], "Yes") == ["recorded"]
    standing = standing_of(ann, policy)
    assert (standing.state, standing.reason) == (StandingState.QUALIFIED, "3 of 3 gold answers right")
    assert [lease.task.gold for lease in leased(ann, 9)] == [None, None]


def test_who_fails_is_stopped_and_starts_over_with_other_gold(
    policy: Policy, gold: list[Gold], make_batch: MakeBatch, ann: Annotator
) -> None:
    ask(policy, qualification=2)
    make_batch(1)
    assert answer(leased(ann, 9), "No") == ["recorded"] * 2
    standing = standing_of(ann, policy)
    assert (standing.state, standing.reason) == (StandingState.PAUSED, "0 of 2 gold answers right")
    assert standing.start_over(now=timezone.now()) is True
    assert gold_record(standing_of(ann, policy)) == GoldRecord(0, 0)
    again = leased(ann, 9)
    assert {lease.task.gold for lease in again}.isdisjoint(Gold.objects.filter(tasks__labels__annotator=ann))
    assert len(again) == 2


def test_no_more_gold_is_asked_than_there_is(policy: Policy, gold: list[Gold], ann: Annotator) -> None:
    ask(policy, qualification=10)
    assert qualification_size(policy) == 4
    Gold.objects.filter(pk=gold[0].pk).update(active=False)
    assert qualification_size(policy) == 3
    Gold.objects.update(active=False)
    assert standing_of(ann, policy).state == StandingState.QUALIFIED


def test_gold_is_mixed_with_real_tasks_and_stands_alone_for_a_task_that_waits(
    policy: Policy, gold: list[Gold], make_batch: MakeBatch, ann: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(policy, gold_rate=0.5)
    make_batch(3)
    monkeypatch.setattr("random.random", lambda: 0.0)  # every task would be gold
    mixed = leased(ann, 3)
    assert sorted(lease.task.gold is not None for lease in mixed) == [False, True, True]
    (one,) = leased(ann, 1)
    assert one.task.gold is not None
    real = leased(ann, 2)
    assert sorted(lease.task.gold is not None for lease in real) == [False, True]
    (last,) = leased(ann, 1)
    assert last.task.gold is None  # no gold is left


def test_where_no_work_waits_there_is_no_gold(
    policy: Policy, gold: list[Gold], make_batch: MakeBatch, ann: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(policy, gold_rate=0.5)
    batch = make_batch(1)
    monkeypatch.setattr("random.random", lambda: 0.9)
    (real,) = leased(ann, 1)
    assert real.task.gold is None
    monkeypatch.setattr("random.random", lambda: 0.0)
    for count in (1, 5):
        assert leased(ann, count) == []
    assert batch.tasks.exclude(gold=None).count() == 0


def test_a_pause_gives_back_what_is_held_under_that_policy_once(
    policy: Policy, make_batch: MakeBatch, ann: Annotator
) -> None:
    batch = make_batch(3, wanted=2)
    held = leased(ann, 3)
    answer(held[:1], "No")
    standing = standing_of(ann, policy)
    assert pause(standing, "by hand") is True
    assert pause(standing, "again") is False
    standing.refresh_from_db()
    assert (standing.state, standing.reason) == (StandingState.PAUSED, "by hand")
    states = dict(Lease.objects.values_list("task", "state"))
    assert [states[lease.task_id] for lease in held] == ["answered", "released", "released"]
    taken = dict(batch.tasks.values_list("pk", "taken"))
    assert [taken[lease.task_id] for lease in held] == [1, 0, 0]


def test_wrong_gold_pauses_and_gives_back_in_the_same_moment(
    policy: Policy, gold: list[Gold], make_batch: MakeBatch, ann: Annotator
) -> None:
    batch = make_batch(2)
    held = leased(ann, 2)
    task = Task.objects.create(batch=batch, snippet=gold[0].snippet, gold=gold[0], taken=1)
    expires_at = timezone.now() + timedelta(minutes=5)
    test = Lease.objects.create(task=task, annotator=ann, token=uuid.uuid4(), expires_at=expires_at)
    assert answer([test], "No") == ["recorded"]
    assert standing_of(ann, policy).state == StandingState.PAUSED
    assert Lease.objects.filter(pk__in=[lease.pk for lease in held], state=LeaseState.RELEASED).count() == 2
    assert set(batch.tasks.filter(gold=None).values_list("taken", flat=True)) == {0}


def test_staff_are_not_paused_for_gold(policy: Policy, gold: list[Gold], make_batch: MakeBatch) -> None:
    staff = Annotator.objects.create(name="sam", staff=True)
    task = Task.objects.create(batch=make_batch(1), snippet=gold[0].snippet, gold=gold[0])
    assert [one.outcome for one in record_labels([Answer(task.pk, staff.pk, "No")])] == ["recorded"]
    assert standing_of(staff, policy).state == StandingState.QUALIFIED


def test_labels_since_the_last_good_gold_are_put_back_once(
    policy: Policy, gold: list[Gold], make_batch: MakeBatch, ann: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.quality.CHUNK", 1)
    batch, done = make_batch(4, wanted=2), make_batch(1)
    tasks = list(batch.tasks.all())
    good = Task.objects.create(batch=batch, snippet=gold[0].snippet, gold=gold[0])
    bad = Task.objects.create(batch=batch, snippet=gold[1].snippet, gold=gold[1])
    for task, choice in ((tasks[0], "No"), (good, "Yes"), (tasks[1], "No"), (bad, "No"), (tasks[2], "Yes")):
        assert [one.outcome for one in record_labels([Answer(task.pk, ann.pk, choice)])] == ["recorded"]
        standing_of(ann, policy).resume(now=timezone.now())
    Label.objects.filter(task=tasks[2]).update(created_at=timezone.now())
    ended = done.tasks.get()
    record_labels([Answer(ended.pk, ann.pk, "No")])
    Job.objects.all().delete()
    standing = Standing.objects.get()
    assert to_put_back(ann, policy) == put_back(standing) == PutBack(withdrawn=3, reopened=2)
    assert to_put_back(ann, policy) == put_back(standing) == PutBack(withdrawn=0, reopened=0)
    counts = dict(Task.objects.values_list("pk", "labelled"))
    assert [counts[task.pk] for task in (*tasks, good, bad, ended)] == [1, 0, 0, 0, 1, 1, 1]
    assert set(Task.objects.filter(pk__in=[tasks[1].pk, tasks[2].pk]).values_list("state", "taken")) == {("open", 0)}
    withdrawn = Label.objects.filter(counted=False, withdrawn_at__isnull=False)
    assert {label.task_id for label in withdrawn} == {tasks[1].pk, tasks[2].pk, ended.pk}
    (job,) = Job.objects.all()
    assert (job.kind, job.args) == ("follow_labels", {"policy": str(policy.pk), "withdrawn_by": str(ann.pk)})


def test_comparisons_since_the_last_good_gold_are_put_back_too(
    policy: Policy, gold: list[Gold], make_batch: MakeBatch, make_snippets: MakeSnippets, ann: Annotator
) -> None:
    """One before it, two after it, of which one was changed and one lies in a batch that has ended."""
    batch, done, labels = make_batch(kind="compare"), make_batch(kind="compare"), make_batch(2)
    one, two, three = make_snippets(3, first=10)
    early = Task.objects.create(batch=batch, snippet=one, rival=two)
    late = Task.objects.create(batch=batch, snippet=one, rival=three)
    ended = Task.objects.create(batch=done, snippet=two, rival=three)
    good = Task.objects.create(batch=labels, snippet=gold[0].snippet, gold=gold[0])
    for task, choice in ((early, "left"), (good, "Yes"), (late, "left"), (ended, "right")):
        assert [one.outcome for one in record_labels([Answer(task.pk, ann.pk, choice)])] == ["recorded"]
    late.refresh_from_db()
    assert late.state == "done"
    first = Preference.objects.get(task=late)
    fields = {"task": late, "snippet": one, "rival": three, "annotator": ann, "choice": "second"}
    Preference.objects.create(**fields, revision=1)
    Batch.objects.filter(pk=batch.pk).update(state="open", finished_at=None)
    Job.objects.all().delete()
    standing = standing_of(ann, policy)
    assert to_put_back(ann, policy) == put_back(standing) == PutBack(withdrawn=3, reopened=1)
    assert to_put_back(ann, policy) == put_back(standing) == PutBack(withdrawn=0, reopened=0)
    assert [(row.task, row.counted) for row in Preference.objects.order_by("pk")] == [
        *((early, True), (late, False), (ended, False), (late, False))
    ]
    first.refresh_from_db()
    assert first.choice == "first"
    rows = Task.objects.filter(rival__isnull=False).order_by("created_at").values_list("state", "taken", "labelled")
    assert list(rows) == [("done", 1, 1), ("open", 0, 0), ("done", 1, 1)]
    assert not Job.objects.exists()  # no consensus is made of comparisons
    compare = {"count": 9, "compare": True}
    assert tasks_lease(annotator=ann, **compare) == []
    assert [lease.task for lease in tasks_lease(annotator=Annotator.objects.create(name="ben"), **compare)] == [late]
