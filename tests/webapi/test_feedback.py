"""When labelers may know the right answers to gold that they answered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from webapi.models import Annotator, Batch, Gold, Label, Policy, Snippet, Standing, StandingState, Task
from webapi.selectors.feedback import FURTHER, LATER, told_gold
from webapi.selectors.gold_answers import qualification_size
from webapi.services.policies import policy_create
from workers.quality import pause, standing_of
from workers.record import Answer, record_labels

pytestmark = pytest.mark.django_db
MakeBatch = Callable[..., Batch]
MakeSnippets = Callable[..., list[Snippet]]
Asked = Callable[..., list[Task]]


@pytest.fixture
def policy(policy: Policy) -> Policy:
    """The policy of the other tests, with an entrance test of two."""
    return policy_create(spec={**policy.spec, "name": "tested", "quality": {"qualification": 2}})


@pytest.fixture
def ben(db: None) -> Annotator:
    return Annotator.objects.create(name="ben")


@pytest.fixture
def batch(make_batch: MakeBatch) -> Batch:
    return make_batch(60)


@pytest.fixture
def gold(policy: Policy, make_snippets: MakeSnippets) -> list[Gold]:
    """Four pieces of gold whose right answer is No."""
    rows = make_snippets(4, first=500)
    return [Gold.objects.create(policy=policy, snippet=row, choice="No", explanation="Nobody was.") for row in rows]


def give(ben: Annotator, task: Task, choice: str = "No") -> str:
    lease, _ = task.leases.get_or_create(
        annotator=ben, defaults={"token": task.pk, "expires_at": timezone.now() + timedelta(hours=1)}
    )
    if task.gold_id and not task.taken:
        Task.objects.filter(pk=task.pk).update(taken=1)
    (told,) = record_labels([Answer(task.pk, ben.pk, choice, lease_token=lease.token)])
    return told.outcome


def gold_task(batch: Batch, one: Gold) -> Task:
    return Task.objects.create(batch=batch, snippet=one.snippet, gold=one)


def told(ben: Annotator) -> set[str]:
    return set(told_gold(ben).values_list("snippet__completion", flat=True))


def texts(*gold: Gold) -> set[str]:
    return {one.snippet.completion for one in gold}


def work(ben: Annotator, batch: Batch, count: int) -> None:
    for task in batch.tasks.filter(gold=None, labelled=0).order_by("place")[:count]:
        Task.objects.filter(pk=task.pk).update(taken=1)
        give(ben, task)


def test_an_entrance_test_is_told_at_its_end_and_not_before(ben: Annotator, batch: Batch, gold: list[Gold]) -> None:
    standing_of(ben, batch.policy)
    first, second = gold_task(batch, gold[0]), gold_task(batch, gold[1])
    assert give(ben, first, "Yes") == "recorded"
    assert told(ben) == set()
    assert give(ben, first, "No") == "recorded"  # still open to changes
    assert give(ben, second) == "recorded"
    assert standing_of(ben, batch.policy).state == StandingState.QUALIFIED
    assert told(ben) == texts(*gold[:2])


def test_what_was_told_is_closed_to_changes(ben: Annotator, batch: Batch, gold: list[Gold]) -> None:
    standing_of(ben, batch.policy)
    tasks = [gold_task(batch, one) for one in gold[:2]]
    assert [give(ben, task, "Yes") for task in tasks] == ["recorded", "recorded"]
    standing = standing_of(ben, batch.policy)
    assert (standing.state, standing.reason) == (StandingState.PAUSED, "0 of 2 gold answers right")
    assert [give(ben, task, "No") for task in tasks] == ["duplicate", "duplicate"]
    assert list(Label.objects.values_list("choice", "revision")) == [("Yes", 0), ("Yes", 0)]
    assert standing_of(ben, batch.policy).state == StandingState.PAUSED


def qualified(ben: Annotator, batch: Batch, gold: list[Gold]) -> None:
    standing_of(ben, batch.policy)
    for one in gold[:2]:
        give(ben, gold_task(batch, one))


def test_hidden_gold_is_told_after_twenty_further_answers(ben: Annotator, batch: Batch, gold: list[Gold]) -> None:
    qualified(ben, batch, gold)
    work(ben, batch, 1)
    hidden = gold_task(batch, gold[2])
    give(ben, hidden, "Yes")
    work(ben, batch, FURTHER - 1)
    assert told(ben) == texts(*gold[:2])
    assert give(ben, hidden, "No") == "recorded"
    assert give(ben, hidden, "Yes") == "recorded"
    work(ben, batch, 1)
    assert told(ben) == texts(*gold[:2]), "twenty after the last change"
    work(ben, batch, FURTHER - 1)
    assert told(ben) == texts(*gold[:3])
    assert give(ben, hidden, "No") == "duplicate"


def test_hidden_gold_is_told_after_a_day(ben: Annotator, batch: Batch, gold: list[Gold]) -> None:
    qualified(ben, batch, gold)
    work(ben, batch, 1)
    give(ben, gold_task(batch, gold[2]))
    Standing.objects.update(since=timezone.now() - timedelta(days=3))
    mine = Label.objects.filter(annotator=ben, snippet=gold[2].snippet)
    mine.update(created_at=timezone.now() - LATER + timedelta(minutes=1))
    assert told(ben) == texts(*gold[:2])
    mine.update(created_at=timezone.now() - LATER)
    assert told(ben) == texts(*gold[:3])


def test_gold_that_comes_before_other_work_in_no_test_is_hidden(ben: Annotator, batch: Batch, gold: list[Gold]) -> None:
    """One who was qualified without a test, or went on after a pause: the first gold looks like any other task."""
    Standing.objects.create(annotator=ben, policy=batch.policy, state=StandingState.QUALIFIED)
    give(ben, gold_task(batch, gold[0]))
    assert told(ben) == set()


def test_a_clean_slate_tells_what_came_before_it(ben: Annotator, batch: Batch, gold: list[Gold]) -> None:
    qualified(ben, batch, gold)
    work(ben, batch, 1)
    give(ben, gold_task(batch, gold[2]))
    standing = standing_of(ben, batch.policy)
    pause(standing, "asked to")
    standing.start_over(now=timezone.now())
    assert told(ben) == texts(*gold[:3])
    assert qualification_size(batch.policy, standing_of(ben, batch.policy)) == 1, "one is left that was not answered"


def test_a_policy_may_give_no_feedback(ben: Annotator, batch: Batch, gold: list[Gold]) -> None:
    spec = {**batch.policy.spec, "quality": {"qualification": 2, "feedback": False}}
    Policy.objects.filter(pk=batch.policy_id).update(spec=spec)
    batch.refresh_from_db()
    qualified(ben, batch, gold)
    assert standing_of(ben, batch.policy).state == StandingState.QUALIFIED
    Label.objects.update(created_at=timezone.now() - timedelta(days=2))
    assert told(ben) == set()


def test_the_tests_size_is_what_is_there_at_most(policy: Policy, ben: Annotator, gold: list[Gold]) -> None:
    assert qualification_size(policy) == 2
    Gold.objects.exclude(pk=gold[0].pk).update(active=False)
    assert qualification_size(policy) == 1
    Gold.objects.update(active=False)
    assert qualification_size(policy) == 0
    assert standing_of(ben, policy).state == StandingState.QUALIFIED


def test_gold_withdrawn_after_it_was_answered_still_counts(ben: Annotator, batch: Batch, gold: list[Gold]) -> None:
    standing = standing_of(ben, batch.policy)
    give(ben, gold_task(batch, gold[0]))
    Gold.objects.filter(pk__in=[gold[0].pk, *(one.pk for one in gold[2:])]).update(active=False)
    assert qualification_size(batch.policy, standing) == 2
    give(ben, gold_task(batch, gold[1]))
    assert standing_of(ben, batch.policy).state == StandingState.QUALIFIED
