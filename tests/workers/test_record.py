"""Answers become labels: each kept, each counted once and only where it is wanted."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from webapi.models import (
    Annotator,
    Batch,
    Gold,
    Label,
    Lease,
    LeaseState,
    Policy,
    Preference,
    Snippet,
    Standing,
    StandingState,
    Task,
)
from workers.record import Answer, record_labels, unflipped

pytestmark = pytest.mark.django_db
MakeBatch = Callable[..., Batch]
MakeSnippets = Callable[..., list[Snippet]]


@pytest.fixture
def alice() -> Annotator:
    return Annotator.objects.create(name="alice")


@pytest.fixture
def bob() -> Annotator:
    return Annotator.objects.create(name="bob")


def hold(task: Task, annotator: Annotator, state: str = LeaseState.LIVE, **fields: object) -> Lease:
    """A lease of the task, as if the queue had given it."""
    if state == LeaseState.LIVE:
        Task.objects.filter(pk=task.pk).update(taken=task.taken + 1)
        task.refresh_from_db()
    expires_at = timezone.now() + timedelta(minutes=30)
    return Lease.objects.create(
        task=task, annotator=annotator, token=uuid.uuid4(), expires_at=expires_at, state=state, **fields
    )


def said(*answers: Answer) -> list[str]:
    return [recorded.outcome for recorded in record_labels(answers)]


def counts(task: Task) -> tuple[str, int, int, int]:
    task.refresh_from_db()
    return task.state, task.wanted, task.taken, task.labelled


def test_a_lease_is_used_up_a_repeat_is_a_duplicate_a_third_is_surplus(
    make_batch: MakeBatch, alice: Annotator, bob: Annotator
) -> None:
    task = make_batch(1).tasks.get()
    lease = hold(task, alice)
    first = record_labels([Answer(task.pk, alice.pk, "Yes", lease_token=lease.token)])[0]
    again = record_labels([Answer(task.pk, alice.pk, "Yes", lease_token=lease.token)])[0]
    assert (first.outcome, again.outcome, again.label_id) == ("recorded", "duplicate", first.label_id)
    assert said(Answer(task.pk, bob.pk, "No")) == ["surplus"]
    assert counts(task) == ("done", 1, 1, 1)
    assert list(Label.objects.order_by("pk").values_list("choice", "counted")) == [("Yes", True), ("No", False)]
    lease.refresh_from_db()
    assert lease.state == LeaseState.ANSWERED


def test_an_unknown_choice_leaves_the_lease_as_it_is(make_batch: MakeBatch, alice: Annotator) -> None:
    task = make_batch(1).tasks.get()
    lease = hold(task, alice)
    assert said(Answer(task.pk, alice.pk, "Maybe", lease_token=lease.token)) == ["unknown_choice"]
    assert (counts(task), Label.objects.count()) == (("open", 1, 1, 0), 0)
    lease.refresh_from_db()
    assert lease.state == LeaseState.LIVE


def test_nothing_is_asked_of_the_database_for_no_answers() -> None:
    with CaptureQueriesContext(connection) as captured:
        assert record_labels([]) == []
    assert len(captured) == 0


def test_another_choice_under_the_same_lease_is_a_revision_while_the_batch_is_open(
    make_batch: MakeBatch, alice: Annotator
) -> None:
    batch = make_batch(2)
    task, other = batch.tasks.all()
    token = hold(task, alice).token
    for choice, flagged in (("Yes", False), ("No", False), ("No", True)):
        assert said(Answer(task.pk, alice.pk, choice, lease_token=token, flagged=flagged)) == ["recorded"]
    assert said(Answer(task.pk, alice.pk, "Yes")) == ["recorded"]  # a vendor's annotator needs no token
    rows = list(Label.objects.order_by("revision").values_list("revision", "choice", "flagged", "counted"))
    assert rows == [(0, "Yes", False, True), (1, "No", False, True), (2, "No", True, True), (3, "Yes", False, True)]
    assert counts(task) == ("done", 1, 1, 1)
    assert said(Answer(other.pk, alice.pk, "No")) == ["recorded"]
    batch.refresh_from_db()
    assert batch.state == "done"
    assert said(Answer(task.pk, alice.pk, "Unsure", lease_token=token)) == ["duplicate"]
    assert Label.objects.count() == 5


def test_a_vendors_answer_with_the_same_id_is_a_revision_while_the_batch_is_open(
    make_batch: MakeBatch, alice: Annotator, bob: Annotator
) -> None:
    batch = make_batch(2)
    task, other = batch.tasks.all()
    for choice, note, external_id, outcome in [
        ("Yes", "", "L-1", "recorded"),
        ("Yes", "", "L-1", "duplicate"),
        ("No", "", "L-2", "duplicate"),
        ("No", "", "", "duplicate"),
        ("No", "", "L-1", "recorded"),
        ("No", "It was red.", "L-1", "recorded"),
        ("No", "It was red.", "L-1", "duplicate"),
    ]:
        assert said(Answer(task.pk, alice.pk, choice, note=note, external_id=external_id)) == [outcome]
    rows = list(Label.objects.order_by("revision").values_list("revision", "choice", "note", "external_id", "counted"))
    assert rows == [(0, "Yes", "", "L-1", True), (1, "No", "", "L-1", True), (2, "No", "It was red.", "L-1", True)]
    assert counts(task) == ("done", 1, 1, 1)
    assert said(Answer(task.pk, bob.pk, "Yes", external_id="L-1")) == ["surplus"]  # another's label, though of one id
    assert said(Answer(other.pk, alice.pk, "Yes")) == ["recorded"]
    batch.refresh_from_db()
    assert batch.state == "done"
    assert said(Answer(task.pk, alice.pk, "Unsure", external_id="L-1")) == ["duplicate"]
    assert Label.objects.filter(annotator=alice, task=task).count() == 3


def test_a_vendors_answer_to_gold_is_closed_once_it_is_told(
    policy: Policy, make_batch: MakeBatch, make_snippets: MakeSnippets, alice: Annotator
) -> None:
    gold = Gold.objects.create(policy=policy, snippet=make_snippets(1, first=9)[0], choice="Yes")
    task = Task.objects.create(batch=make_batch(1), snippet=gold.snippet, gold=gold)
    Standing.objects.create(annotator=alice, policy=policy)
    changed = [Answer(task.pk, alice.pk, choice, external_id="L-1") for choice in ("No", "Unsure", "Yes")]
    assert [said(answer) for answer in changed[:2]] == [["recorded"], ["recorded"]]
    Label.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert said(changed[2]) == ["duplicate"]
    assert list(Label.objects.order_by("revision").values_list("choice", flat=True)) == ["No", "Unsure"]


def test_an_answer_without_an_id_stays_as_it_is(make_batch: MakeBatch, alice: Annotator) -> None:
    task = make_batch(2).tasks.first()
    assert task is not None
    assert said(Answer(task.pk, alice.pk, "Yes"), Answer(task.pk, alice.pk, "No")) == ["recorded", "duplicate"]
    assert Label.objects.get().choice == "Yes"


def test_an_id_changes_the_answer_to_its_own_task_alone(
    make_batch: MakeBatch, make_snippets: MakeSnippets, alice: Annotator
) -> None:
    snippets = make_snippets(2)
    first, second = (make_batch(snippets=snippets, name=name).tasks.get(snippet=snippets[0]) for name in ("a", "b"))
    assert said(Answer(first.pk, alice.pk, "No", external_id="L-1")) == ["recorded"]
    assert said(Answer(second.pk, alice.pk, "Yes", external_id="L-1")) == ["duplicate"]
    assert Label.objects.get().choice == "No"


def test_a_revision_of_what_does_not_count_does_not_count(
    make_batch: MakeBatch, alice: Annotator, bob: Annotator
) -> None:
    task = make_batch(2).tasks.first()
    assert task is not None
    token = hold(task, alice, LeaseState.EXPIRED).token
    assert said(Answer(task.pk, bob.pk, "No")) == ["recorded"]
    assert said(Answer(task.pk, alice.pk, "Yes", lease_token=token)) == ["surplus"]
    assert said(Answer(task.pk, alice.pk, "No", lease_token=token)) == ["surplus"]
    assert list(Label.objects.filter(annotator=alice).values_list("revision", "counted")) == [(0, False), (1, False)]
    assert counts(task) == ("done", 1, 1, 1)


@pytest.mark.parametrize("state", [LeaseState.EXPIRED, LeaseState.RELEASED])
def test_a_late_answer_takes_a_free_place(make_batch: MakeBatch, alice: Annotator, state: str) -> None:
    task = make_batch(1).tasks.get()
    lease = hold(task, alice, state)
    assert said(Answer(task.pk, alice.pk, "No", lease_token=lease.token)) == ["recorded"]
    assert counts(task) == ("done", 1, 1, 1)
    lease.refresh_from_db()
    assert lease.state == state


def test_a_late_answer_does_not_take_the_place_that_another_holds(
    make_batch: MakeBatch, alice: Annotator, bob: Annotator
) -> None:
    task = make_batch(1).tasks.get()
    late = hold(task, alice, LeaseState.EXPIRED)
    hold(task, bob)
    assert said(Answer(task.pk, alice.pk, "No", lease_token=late.token)) == ["surplus"]
    assert counts(task) == ("open", 1, 1, 0)


def test_a_paused_annotators_late_answer_is_kept_and_not_counted(
    make_batch: MakeBatch, policy: Policy, alice: Annotator
) -> None:
    task = make_batch(1).tasks.get()
    late = hold(task, alice, LeaseState.RELEASED)
    Standing.objects.create(annotator=alice, policy=policy, state=StandingState.PAUSED)
    assert said(Answer(task.pk, alice.pk, "No", lease_token=late.token)) == ["surplus"]
    assert (counts(task), Label.objects.get().counted) == (("open", 1, 0, 0), False)


def test_a_snippet_answered_in_one_batch_frees_the_annotators_lease_in_another(
    make_batch: MakeBatch, make_snippets: MakeSnippets, alice: Annotator
) -> None:
    snippets = make_snippets(1)
    first, second = (make_batch(snippets=snippets, name=name).tasks.get() for name in ("a", "b"))
    assert said(Answer(first.pk, alice.pk, "No")) == ["recorded"]
    lease = hold(second, alice)
    assert said(Answer(second.pk, alice.pk, "Yes", lease_token=lease.token)) == ["duplicate"]
    lease.refresh_from_db()
    assert (lease.state, counts(second), Label.objects.count()) == (LeaseState.RELEASED, ("open", 1, 0, 0), 1)


@pytest.mark.parametrize(
    ("answer", "flipped", "choice"),
    [
        ("left", False, "first"),
        ("left", True, "second"),
        ("right", False, "second"),
        ("right", True, "first"),
        ("equally_good", False, "equally_good"),
        ("equally_good", True, "equally_good"),
        ("equally_bad", True, "equally_bad"),
    ],
)
def test_comparisons_are_kept_in_terms_of_first_and_second(
    make_batch: MakeBatch, make_snippets: MakeSnippets, alice: Annotator, answer: str, flipped: bool, choice: str
) -> None:
    one, two = make_snippets(2)
    task = Task.objects.create(batch=make_batch(0, kind="compare"), snippet=one, rival=two)
    token = hold(task, alice, flipped=flipped).token
    assert said(Answer(task.pk, alice.pk, "Yes", lease_token=token)) == ["unknown_choice"]
    assert said(Answer(task.pk, alice.pk, answer, lease_token=token)) == ["recorded"]
    kept = Preference.objects.get()
    assert (kept.choice, kept.flipped, kept.snippet, kept.rival) == (choice, flipped, one, two)
    assert unflipped(answer, flipped) == choice
    assert (counts(task), Label.objects.count()) == (("done", 1, 1, 1), 0)


def deepen(policy: Policy, **depth: object) -> None:
    policy.spec["depth"] = {**policy.spec["depth"], **depth}
    policy.save()


def test_disagreement_asks_for_one_more_until_somebody_leads(
    make_batch: MakeBatch, make_snippets: MakeSnippets, policy: Policy
) -> None:
    deepen(policy, most=4, more_on=["disagreement"])
    task = make_batch(snippets=make_snippets(1, split="train"), wanted=2).tasks.get()
    people = [Annotator.objects.create(name=f"a{n}") for n in range(5)]
    expected = [("open", 2, 1, 1), ("open", 3, 2, 2), ("open", 4, 3, 3), ("done", 4, 4, 4)]
    for person, choice, then in zip(people, ("Yes", "No", "Unsure", "No"), expected, strict=False):
        assert said(Answer(task.pk, person.pk, choice)) == ["recorded"]
        assert counts(task) == then
    assert said(Answer(task.pk, people[4].pk, "No")) == ["surplus"]


def test_answers_that_come_together_deepen_as_one_after_another_do_not(
    make_batch: MakeBatch, make_snippets: MakeSnippets, policy: Policy, alice: Annotator, bob: Annotator
) -> None:
    deepen(policy, most=4, more_on=["disagreement"])
    batch = make_batch(snippets=make_snippets(2, split="train"), wanted=2)
    one, two = batch.tasks.all()
    given = [
        Answer(task.pk, who.pk, choice)
        for task, pair in ((one, "YN"), (two, "NN"))
        for who, choice in zip((alice, bob), ("Yes" if letter == "Y" else "No" for letter in pair), strict=True)
    ]
    assert said(*given) == ["recorded"] * 4
    assert (counts(one), counts(two)) == (("open", 3, 2, 2), ("done", 2, 2, 2))


def test_gold_is_answered_and_no_batch_waits_for_it(
    make_batch: MakeBatch, make_snippets: MakeSnippets, policy: Policy, alice: Annotator
) -> None:
    batch = make_batch(1)
    gold = Gold.objects.create(policy=policy, snippet=make_snippets(1, first=9)[0], choice="Yes")
    task = Task.objects.create(batch=batch, snippet=gold.snippet, gold=gold)
    token = hold(task, alice).token
    assert said(Answer(task.pk, alice.pk, "No", lease_token=token)) == ["recorded"]
    assert counts(task) == ("done", 1, 1, 1)
    batch.refresh_from_db()
    assert batch.state == "open"


def test_as_many_queries_for_one_answer_as_for_many(make_batch: MakeBatch, alice: Annotator) -> None:
    def queries(number: int) -> int:
        batch = make_batch(number + 1)
        given = [Answer(task.pk, alice.pk, "No") for task in batch.tasks.all()[:number]]
        with CaptureQueriesContext(connection) as captured:
            assert said(*given) == ["recorded"] * number
        return len(captured)

    assert queries(1) == queries(40) <= 13
