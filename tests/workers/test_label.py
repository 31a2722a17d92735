"""Labels: each wanted one is kept, none is counted twice, and a batch ends when its last task has its last label."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable

import pytest
from django.db import IntegrityError, connection, transaction

from engine.progress import silent
from engine.snippets import Snippet as SnippetText
from tests.driving import WorkerKilled, killed_at
from webapi.models import (
    Annotator,
    Batch,
    BatchState,
    Consensus,
    Corpus,
    Job,
    Label,
    Lease,
    LeaseState,
    Policy,
    Round,
    RoundSnippet,
    Snippet,
    Source,
    SplitName,
    Stage,
    Task,
    TaskState,
)
from webapi.services.policies import policy_create
from workers.aggregate import aggregate
from workers.jobs import JobRun
from workers.label import send_first
from workers.record import Answer, record_labels
from workers.sweep import sweep

pytestmark = pytest.mark.django_db


@pytest.fixture
def policy() -> Policy:
    return policy_create(spec={"name": "harm", "question": "Harm?", "choices": ["Yes", "Unsure", "No"]})


@pytest.fixture
def batch(policy: Policy) -> Batch:
    return Batch.objects.create(policy=policy, name="first", adapter="pull")


@pytest.fixture
def task(policy: Policy, batch: Batch) -> Callable[..., Task]:
    def make(completion: str = "He fell down the stairs.", wanted: int = 1) -> Task:
        digest = SnippetText("", completion).content_hash
        snippet = Snippet.objects.create(
            policy=policy,
            completion=completion,
            content_hash=digest,
            root_hash=digest,
            source=Source.MANUAL,
            split=SplitName.TRAIN,
        )
        return Task.objects.create(batch=batch, snippet=snippet, wanted=wanted)

    return make


def annotator(name: str, **fields: object) -> Annotator:
    return Annotator.objects.create(name=name, vendor="acme", external_id=name, **fields)


def outcomes(*answers: Answer) -> list[str]:
    return [recorded.outcome for recorded in record_labels(answers)]


def test_a_label_closes_its_task_and_the_last_one_its_batch(batch: Batch, task: Callable[..., Task]) -> None:
    one, two, alice = task("He fell down a stair."), task("She sang a song then."), annotator("alice")
    assert outcomes(Answer(one.pk, alice.pk, "Yes", 3.5)) == ["recorded"]
    batch.refresh_from_db()
    assert batch.state == BatchState.OPEN
    assert outcomes(Answer(two.pk, alice.pk, "No")) == ["recorded"]
    batch.refresh_from_db()
    assert batch.state == BatchState.DONE
    assert list(Task.objects.values_list("state", "taken", "labelled")) == [("done", 1, 1)] * 2
    assert list(Label.objects.order_by("pk").values_list("choice", "seconds")) == [("Yes", 3.5), ("No", None)]


def test_the_same_answer_twice_is_one_label(task: Callable[..., Task]) -> None:
    one, alice = task(wanted=2), annotator("alice")
    assert outcomes(Answer(one.pk, alice.pk, "Yes")) == ["recorded"]
    assert outcomes(Answer(one.pk, alice.pk, "No")) == ["duplicate"]
    one.refresh_from_db()
    assert (one.state, one.taken, one.labelled, Label.objects.get().choice) == (TaskState.OPEN, 1, 1, "Yes")


def test_beyond_the_wanted_number_nothing_is_counted(task: Callable[..., Task]) -> None:
    one = task(wanted=2)
    answers = [Answer(one.pk, annotator(name).pk, "Yes") for name in ("alice", "bob", "carol")]
    assert outcomes(*answers) == ["recorded", "recorded", "surplus"]
    assert list(Label.objects.order_by("pk").values_list("counted", flat=True)) == [True, True, False]
    one.refresh_from_db()
    assert (one.state, one.wanted, one.taken, one.labelled) == (TaskState.DONE, 2, 2, 2)


def test_a_choice_the_policy_lacks_changes_nothing(task: Callable[..., Task]) -> None:
    one = task()
    assert outcomes(Answer(one.pk, annotator("alice").pk, "Perhaps")) == ["unknown_choice"]
    one.refresh_from_db()
    assert (one.taken, Label.objects.count()) == (0, 0)


def test_a_label_uses_up_its_lease_and_not_another_place(task: Callable[..., Task]) -> None:
    from django.utils import timezone

    one, alice = task(wanted=2), annotator("alice")
    Task.objects.filter(pk=one.pk).update(taken=1)
    token = uuid.uuid4()
    Lease.objects.create(task=one, annotator=alice, token=token, expires_at=timezone.now())
    assert outcomes(Answer(one.pk, alice.pk, "Yes", lease_token=token)) == ["recorded"]
    one.refresh_from_db()
    assert (one.taken, one.labelled, Lease.objects.get().state) == (1, 1, LeaseState.ANSWERED)


def test_a_task_is_never_taken_beyond_what_it_wants(task: Callable[..., Task]) -> None:
    one = task(wanted=1)
    with pytest.raises(IntegrityError, match="task_never_above_wanted"), transaction.atomic():
        Task.objects.filter(pk=one.pk).update(taken=2)


def test_consensus_follows_the_policys_rule_and_the_latest_revision(policy: Policy, task: Callable[..., Task]) -> None:
    one, tie, staffed = (task(f"Sentence number {n} it is.", wanted=3) for n in (1, 2, 3))
    alice, bob, carol = (annotator(name) for name in ("alice", "bob", "carol"))
    staff = annotator("sam", staff=True)
    record_labels([Answer(one.pk, a.pk, c) for a, c in ((alice, "Yes"), (bob, "No"), (carol, "No"))])
    record_labels([Answer(tie.pk, a.pk, c) for a, c in ((alice, "Unsure"), (bob, "No"))])
    record_labels([Answer(staffed.pk, a.pk, c) for a, c in ((alice, "Yes"), (bob, "Yes"), (staff, "No"))])
    ids = [t.snippet_id for t in (one, tie, staffed)]
    assert aggregate(policy, ids, silent) == 3
    choices = dict(Consensus.objects.values_list("snippet_id", "choice"))
    assert [choices[pk] for pk in ids] == ["No", "Unsure", "No"]
    Label.objects.create(snippet=one.snippet, annotator=bob, choice="Yes", revision=1)
    assert aggregate(policy, ids, silent) == 3
    after = Consensus.objects.get(snippet=one.snippet)
    assert (after.choice, after.labels, after.rule, Consensus.objects.count()) == ("Yes", 3, "policy_rule", 3)


def test_a_rule_that_estimates_annotators_learns_from_all_labels_under_the_policy(
    task: Callable[..., Task], policy: Policy
) -> None:
    """Alice, whom Ann and Abe confirm elsewhere, is believed against two who answer by habit."""
    policy.spec["aggregation"] = "dawid_skene"
    policy.save()
    names = ("alice", "ann", "abe", "bob", "bert")
    people = {name: annotator(name) for name in names}
    for n in range(12):
        one, truth = task(f"Sentence number {n} it is.", wanted=5), ("Yes", "No", "No")[n % 3]
        record_labels([Answer(one.pk, people[name].pk, "Yes" if name[0] == "b" else truth) for name in names])
    disputed = task("The last sentence of all.", wanted=3)
    given = (("alice", "No"), ("bob", "Yes"), ("bert", "Yes"))
    record_labels([Answer(disputed.pk, people[name].pk, choice) for name, choice in given])
    assert aggregate(policy, [disputed.snippet_id], silent) == 1
    only = Consensus.objects.get()
    assert (only.snippet_id, only.choice, only.labels, only.rule) == (disputed.snippet_id, "No", 3, "dawid_skene")


def test_killed_at_any_statement_and_swept_a_stage_sends_everything_out(
    policy: Policy, task: Callable[..., Task]
) -> None:
    """A batch without tasks that a sweep finds has ended, and what is put into it afterwards goes to nobody."""
    members = [task(f"She told the {name} a story then.").snippet for name in ("cat", "dog", "cow")]
    Batch.objects.all().delete()
    config = {"labeling": {"adapter": "pull"}}
    round_ = Round.objects.create(
        name="r", policy=policy, corpus=Corpus.objects.create(name="c"), config=config, state="paused"
    )
    stage = Stage.objects.create(round=round_, name="label_first", position=0, state="running")
    RoundSnippet.objects.bulk_create(
        RoundSnippet(round=round_, snippet=snippet, pool=pool)
        for snippet, pool in zip(members, ("initial", "initial", "test"), strict=True)
    )
    expected = {("initial", "open", 2), ("test", "open", 1), ("seed", "done", 0)}
    for statement in itertools.count():
        Task.objects.all().delete()
        Batch.objects.all().delete()
        run = JobRun(Job.objects.create(kind="stage", stage=stage, shard=str(statement), state="running"))
        died = False
        with connection.execute_wrapper(killed_at(statement)):
            try:
                send_first(run)
            except WorkerKilled:
                died = True
        sweep()
        send_first(run)
        sweep()
        found = {(batch.name, batch.state, batch.tasks.count()) for batch in Batch.objects.all()}
        assert found == expected
        if not died:
            break
    assert statement > 10
