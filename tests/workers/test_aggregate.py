"""Consensus follows the labels: as they come, as they are withdrawn, and after whatever stopped it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from engine.progress import silent
from webapi.models import (
    Annotator,
    AnnotatorModel,
    Batch,
    Consensus,
    ConsensusChange,
    Gold,
    Job,
    JobState,
    Label,
    Policy,
    Snippet,
    Standing,
    StandingState,
)
from webapi.models.base import first_id_at
from workers.aggregate import LOOK_AGAIN, OVERLAP, aggregate, labels_follow, posteriors
from workers.quality import put_back
from workers.sweep import run_due_job
from workers.votes import votes_of

pytestmark = pytest.mark.django_db
MakeSnippets = Callable[..., list[Snippet]]


@pytest.fixture
def people() -> list[Annotator]:
    return [Annotator.objects.create(name=name) for name in ("alice", "bob", "carol")]


def says(annotator: Annotator, snippet: Snippet, choice: str, **fields: Any) -> Label:
    return Label.objects.create(annotator=annotator, snippet=snippet, choice=choice, **fields)


def follow() -> int:
    """One sweep, and the jobs it brought. Returns how many."""
    started = labels_follow(timezone.now())
    for _ in range(started):
        assert run_due_job()
    assert not Job.objects.exclude(state=JobState.SUCCEEDED).exists()
    return started


def choices() -> dict[Any, tuple[str, int]]:
    return {one.snippet_id: (one.choice, one.labels) for one in Consensus.objects.all()}


def settle(hours: float = 1.0) -> None:
    """All that is there was labelled and followed so long ago."""
    then = timezone.now() - timedelta(hours=hours)
    for label in Label.objects.order_by("pk"):
        Label.objects.filter(pk=label.pk).update(created_at=then)
    AnnotatorModel.objects.update(upto=then + OVERLAP)


def test_new_labels_are_followed_and_nothing_else_is_done(make_snippets: MakeSnippets, people: list[Annotator]) -> None:
    one, two = make_snippets(2)
    assert labels_follow(timezone.now()) == 0
    says(people[0], one, "Yes")
    assert follow() == 1
    assert choices() == {one.pk: ("Yes", 1)}
    assert follow() == 0
    says(people[0], two, "No")
    says(people[1], one, "No")
    says(people[2], one, "No")
    assert follow() == 1
    assert choices() == {one.pk: ("No", 3), two.pk: ("No", 1)}


def test_a_waiting_job_is_not_queued_twice(make_snippets: MakeSnippets, people: list[Annotator]) -> None:
    says(people[0], make_snippets(1)[0], "Yes")
    assert [labels_follow(timezone.now()) for _ in range(3)] == [1, 0, 0]
    assert Job.objects.count() == 1


def test_labels_of_long_ago_that_a_crash_left_are_followed(
    make_snippets: MakeSnippets, people: list[Annotator], policy: Policy
) -> None:
    (snippet,) = make_snippets(1)
    AnnotatorModel.objects.create(policy=policy, upto=timezone.now() - timedelta(days=3))
    made = timezone.now() - timedelta(days=2)
    label = says(people[0], snippet, "Yes", pk=first_id_at(made))
    Label.objects.filter(pk=label.pk).update(created_at=made)
    assert follow() == 1
    assert choices() == {snippet.pk: ("Yes", 1)}
    assert follow() == 0


def test_a_label_whose_transaction_ended_after_the_look_is_seen_by_a_later_one(
    make_snippets: MakeSnippets, people: list[Annotator], policy: Policy
) -> None:
    now = timezone.now()
    says(people[0], make_snippets(1)[0], "Yes")
    AnnotatorModel.objects.create(policy=policy, upto=now + timedelta(seconds=1))
    assert labels_follow(now + timedelta(seconds=2)) == 0
    assert labels_follow(now + LOOK_AGAIN + timedelta(seconds=2)) == 1
    AnnotatorModel.objects.update(upto=now + OVERLAP + timedelta(seconds=1))
    Job.objects.all().delete()
    assert labels_follow(now + OVERLAP + LOOK_AGAIN + timedelta(seconds=2)) == 0


def test_another_policys_labels_are_not_read_again_and_again(
    make_snippets: MakeSnippets, people: list[Annotator], policy: Policy
) -> None:
    quiet = Policy.objects.create(name="quiet", spec={"name": "quiet", "question": "?"}, digest="q")
    long_ago = timezone.now() - timedelta(days=9)
    AnnotatorModel.objects.create(policy=quiet, upto=long_ago)
    says(people[0], make_snippets(1)[0], "Yes")
    now = timezone.now()
    assert labels_follow(now) == 1
    assert AnnotatorModel.objects.get(policy=quiet).upto == now
    assert list(Job.objects.values_list("args__policy", flat=True)) == [str(policy.pk)]


def test_an_audit_of_an_old_snippet_changes_its_consensus(make_snippets: MakeSnippets, people: list[Annotator]) -> None:
    (snippet,) = make_snippets(1)
    says(people[0], snippet, "Yes")
    says(people[1], snippet, "Yes")
    follow()
    settle()
    assert follow() == 0
    says(Annotator.objects.create(name="sam", staff=True), snippet, "No")
    assert follow() == 1
    assert choices() == {snippet.pk: ("No", 3)}


def test_withdrawn_labels_leave_the_consensus_and_a_snippet_without_any_has_none(
    make_snippets: MakeSnippets, people: list[Annotator], policy: Policy
) -> None:
    shared, lonely = make_snippets(2)
    alice, bob, carol = people
    for who, snippet, choice in (
        (alice, shared, "Yes"),
        (bob, shared, "No"),
        (carol, shared, "Yes"),
        (alice, lonely, "No"),
    ):
        says(who, snippet, choice)
    follow()
    assert choices() == {shared.pk: ("Yes", 3), lonely.pk: ("No", 1)}
    settle()
    standing = Standing.objects.create(annotator=alice, policy=policy, state=StandingState.PAUSED)
    assert put_back(standing).withdrawn == 2
    assert labels_follow(timezone.now()) == 0  # the withdrawal brought its own job
    assert run_due_job()
    assert choices() == {shared.pk: ("Yes", 2)}
    history = list(ConsensusChange.objects.filter(snippet=lonely).values_list("choice", "labels"))
    assert [(choice, len(labels)) for choice, labels in history] == [("No", 1), ("", 0)]


def test_history_keeps_what_it_rested_on_and_only_changes(
    make_snippets: MakeSnippets, people: list[Annotator], policy: Policy
) -> None:
    (snippet,) = make_snippets(1)
    first = says(people[0], snippet, "Yes")
    for _ in range(2):
        assert aggregate(policy, [snippet.pk], silent) == 1
    second, third = says(people[1], snippet, "No"), says(people[2], snippet, "No")
    aggregate(policy, [snippet.pk], silent)
    revised = says(people[2], snippet, "Unsure", revision=1)
    aggregate(policy, [snippet.pk], silent)
    kept = list(ConsensusChange.objects.values_list("choice", "rule", "labels"))
    assert [(choice, rule) for choice, rule, _ in kept][:2] == [("Yes", "policy_rule"), ("No", "policy_rule")]
    assert [sorted(labels) for *_, labels in kept] == [
        [str(first.pk)],
        sorted(map(str, (first.pk, second.pk, third.pk))),
        sorted(map(str, (first.pk, second.pk, revised.pk))),
    ]


def test_only_the_latest_counted_answer_of_each_is_a_vote(make_snippets: MakeSnippets, people: list[Annotator]) -> None:
    one, two = make_snippets(2)
    says(people[0], one, "Yes")
    revised = says(people[0], one, "No", revision=1)
    says(people[1], one, "Yes", counted=False)
    votes = votes_of([one.pk, two.pk])
    assert {pk: [(voted.label, voted.vote.choice) for voted in given] for pk, given in votes.items()} == {
        one.pk: [(revised.pk, "No")]
    }


def test_the_posterior_of_a_majority_is_its_share(
    make_snippets: MakeSnippets, people: list[Annotator], policy: Policy
) -> None:
    policy.spec["aggregation"] = "majority"
    policy.save()
    one, two = make_snippets(2)
    for who, choice in zip(people, ("No", "No", "Yes"), strict=True):
        says(who, one, choice)
    says(people[0], two, "Unsure")
    found = posteriors(policy, votes_of([one.pk, two.pk]))
    assert found[one.pk] == pytest.approx([1 / 3, 0, 2 / 3])
    assert found[two.pk] == pytest.approx([0, 1, 0])
    aggregate(policy, [one.pk], silent)
    assert Consensus.objects.get().posterior == [0.333333, 0.0, 0.666667]


def test_gold_answers_alone_make_no_consensus_until_the_snippet_is_labelled(
    make_snippets: MakeSnippets, people: list[Annotator], policy: Policy
) -> None:
    (snippet,) = make_snippets(1)
    gold = Gold.objects.create(policy=policy, snippet=snippet, choice="No")
    task = Batch.objects.create(policy=policy, name="b").tasks.create(snippet=snippet, gold=gold)
    says(people[0], snippet, "Yes", task=task)
    assert follow() == 1
    assert choices() == {}
    says(people[1], snippet, "Yes")
    assert follow() == 1
    assert choices() == {snippet.pk: ("Yes", 2)}
