"""Whatever annotators, vendors, sweepers and staff do, in whatever order: the queue's promises hold after each step."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from webapi.errors import DomainError
from webapi.models import (
    Annotator,
    Batch,
    BatchState,
    Gold,
    Label,
    Lease,
    LeaseState,
    Role,
    Snippet,
    Standing,
    StandingState,
    Task,
    TaskState,
    User,
)
from webapi.permissions import Actor
from webapi.selectors.tasks import tasks_for
from webapi.services.idempotency import Answer, answer_once
from webapi.services.labels import LabelInput, labels_record
from webapi.services.leases import annotator_for, leases_release, leases_renew, tasks_lease
from webapi.services.policies import policy_create
from workers.leases import leases_expire
from workers.quality import pause, put_back

CHOICES = ("Yes", "Unsure", "No")
SNIPPETS, AGAIN = 8, 3
"""Snippets of the first batch, and how many of them are in the second too."""
PEOPLE = ("alice", "acme 1", "acme 2", "best 1")
"""One with an account, and the workers of two vendors."""


class Queue(RuleBasedStateMachine):
    """The queue, driven through the services that the API calls, and a tally of what it said."""

    @initialize(wanted=st.integers(1, 3), more=st.sampled_from([(), ("disagreement",), ("disagreement", "unsure")]))
    def open_batches(self, wanted: int, more: tuple[str, ...]) -> None:
        """Two batches that share snippets, one snippet written by alice, adaptive depth and some gold."""
        self.transaction = transaction.atomic()
        self.transaction.__enter__()
        policy = policy_create(
            spec={
                "name": "harm",
                "question": "Harm?",
                "depth": {"first": wanted, "test": wanted, "most": 4, "more_on": more},
                "quality": {"gold_rate": 0.3, "bar": 0.0},
            }
        )
        self.policy = policy
        self.users = {name: self._user(name.split()[0]) for name in PEOPLE}
        alice = annotator_for(actor=Actor(self.users["alice"], Role.CONTRACTOR))
        texts = [
            Snippet(
                policy=policy,
                completion=f"Text {n}.",
                content_hash=str(n),
                root_hash=str(n),
                split="train",
                author=None if n else alice,
            )
            for n in range(SNIPPETS + 2)
        ]
        Snippet.objects.bulk_create(texts)
        for name, rows in (("first", texts[:SNIPPETS]), ("second", texts[:AGAIN])):
            batch = Batch.objects.create(policy=policy, name=name)
            Task.objects.bulk_create([Task(batch=batch, snippet=row, wanted=wanted) for row in rows])
        Gold.objects.bulk_create([Gold(policy=policy, snippet=row, choice="Yes") for row in texts[SNIPPETS:]])
        self.wanted = wanted
        self.accepted: dict[uuid.UUID, bool] = {}
        """Label -> whether the queue said that it counts."""
        self.tokens: dict[str, list[tuple[uuid.UUID, uuid.UUID]]] = {name: [] for name in PEOPLE}
        """Task and lease token of whatever was leased, by person."""

    def _user(self, name: str) -> User:
        role = Role.CONTRACTOR if name == "alice" else Role.VENDOR
        return User.objects.get_or_create(username=name, defaults={"role": role})[0]

    def _annotator(self, who: str) -> Annotator:
        user = self.users[who]
        return annotator_for(actor=Actor(user, user.role), worker=who.partition(" ")[2])

    @rule(who=st.sampled_from(PEOPLE), count=st.integers(1, 4))
    def lease(self, who: str, count: int) -> None:
        """Takes tasks; a paused annotator gets none."""
        refused = ""
        try:
            leases = tasks_lease(annotator=self._annotator(who), count=count)
        except DomainError as error:
            leases, refused = [], error.code
        if self._is_paused(who):
            assert (leases, refused) in (([], "annotator_paused"), ([], ""))
        else:
            assert refused == ""
        assert len(leases) <= count
        golden = [lease for lease in leases if lease.task.gold_id]
        assert len(golden) < max(len(leases), 2)
        if golden and len(leases) == 1:
            batch, annotator = golden[0].task.batch, self._annotator(who)
            assert tasks_for(annotator.pk, batch.pk).exists(), "gold alone would say what it is"
        self.tokens[who] += [(lease.task_id, lease.token) for lease in leases]

    @rule(who=st.sampled_from(PEOPLE), choice=st.sampled_from(CHOICES), late=st.booleans())
    def work(self, who: str, choice: str, late: bool) -> None:
        """Takes tasks and answers all of them, before or after the leases run out."""
        before = len(self.tokens[who])
        self.lease(who, 3)
        if late:
            self.expire(who)
        for held in self.tokens[who][before:]:
            self._answer(who, held, choice, times=1)

    @precondition(lambda self: any(self.tokens.values()))
    @rule(data=st.data(), choice=st.sampled_from([*CHOICES, "Perhaps"]), times=st.integers(1, 3))
    def label(self, data: st.DataObject, choice: str, times: int) -> None:
        """Answers something that was leased at some time, perhaps long ago, once or again and again."""
        who = data.draw(st.sampled_from([name for name, held in self.tokens.items() if held]))
        self._answer(who, data.draw(st.sampled_from(self.tokens[who])), choice, times)

    def _answer(self, who: str, held: tuple[uuid.UUID, uuid.UUID], choice: str, times: int) -> None:
        task, token = held
        paused, stored = self._is_paused(who), Label.objects.count()
        for turn in range(times):
            (done,) = labels_record(user=self.users[who], answers=[LabelInput(task, token, choice)])
            if choice == "Perhaps":
                assert (done.outcome, done.label) == ("unknown_choice", None)
                continue
            assert done.label is not None
            if turn:
                assert done.outcome == "duplicate"
                assert done.label in self.accepted
            elif done.outcome == "duplicate":
                assert done.label in self.accepted
            else:
                stored += 1
                self.accepted[done.label] = done.outcome == "recorded"
                assert not (paused and done.outcome == "recorded" and not Label.objects.get(pk=done.label).revision)
        assert Label.objects.count() == stored

    @precondition(lambda self: any(self.tokens.values()))
    @rule(data=st.data())
    def another_persons_lease_is_nobodys(self, data: st.DataObject) -> None:
        """A token that another account leased with is unknown, and changes nothing."""
        who = data.draw(st.sampled_from([name for name, held in self.tokens.items() if held]))
        other = next(user for user in self.users.values() if user != self.users[who])
        task, token = data.draw(st.sampled_from(self.tokens[who]))
        before = self._everything()
        (done,) = labels_record(user=other, answers=[LabelInput(task, token, "No")])
        assert done.outcome == "lease_not_found"
        assert [one.outcome for one in leases_release(user=other, tokens=[token])] == ["not_held"]
        assert self._everything() == before

    @rule(who=st.sampled_from(PEOPLE))
    def release(self, who: str) -> None:
        """Gives back whatever is held; a second time nothing is."""
        tokens = [token for _, token in self.tokens[who]]
        live = set(Lease.objects.filter(token__in=tokens, state=LeaseState.LIVE).values_list("token", flat=True))
        said = leases_release(user=self.users[who], tokens=tokens)
        assert {one.token for one in said if one.outcome == "released"} == live
        assert {one.outcome for one in leases_release(user=self.users[who], tokens=tokens)} <= {"not_held"}

    @rule(who=st.sampled_from(PEOPLE))
    def renew(self, who: str) -> None:
        """What is live stays so; what ended stays ended."""
        tokens = [token for _, token in self.tokens[who]]
        live = set(Lease.objects.filter(token__in=tokens, state=LeaseState.LIVE).values_list("token", flat=True))
        said = leases_renew(user=self.users[who], tokens=tokens)
        assert {one.token for one in said if one.outcome == "renewed"} == live

    @rule(who=st.sampled_from([*PEOPLE, None, None]))
    def expire(self, who: str | None) -> None:
        """Somebody's leases run out, or everybody's, and the sweeper sees it, once."""
        held = Lease.objects.filter(state=LeaseState.LIVE)
        if who:
            held = held.filter(annotator=self._annotator(who))
        now = timezone.now()
        number = held.update(expires_at=now - timedelta(seconds=1))
        assert leases_expire(now) == number
        assert leases_expire(now) == 0

    @rule(who=st.sampled_from(PEOPLE), choice=st.sampled_from(CHOICES))
    def unreliable(self, who: str, choice: str) -> None:
        """Somebody works, is stopped, and what they said is asked again."""
        self.work(who, choice, late=False)
        self.pause(who)
        self.resume(keep=False)

    @precondition(lambda self: sum(map(self._is_paused, PEOPLE)) < 2)
    @rule(who=st.sampled_from(PEOPLE))
    def pause(self, who: str) -> None:
        """Stops somebody; nothing of this policy stays with them."""
        annotator = self._annotator(who)
        standing, _ = Standing.objects.get_or_create(
            annotator=annotator, policy=self.policy, defaults={"state": StandingState.QUALIFIED}
        )
        pause(standing, "by hand")
        assert not Lease.objects.filter(annotator=annotator, state=LeaseState.LIVE).exists()

    @precondition(lambda self: any(map(self._is_paused, PEOPLE)))
    @rule(keep=st.booleans())
    def resume(self, keep: bool) -> None:
        """Lets them go on, and perhaps asks again what they said since the last good gold: once."""
        for standing in Standing.objects.filter(state=StandingState.PAUSED):
            if not keep:
                put_back(standing)
                assert put_back(standing) == (0, 0)
            standing.resume(now=timezone.now())

    @rule(number=st.integers(0, 19))
    def cancel(self, number: int) -> None:
        """Rarely, the second batch is called off."""
        if number == 0:
            Batch.objects.get(name="second").cancel()
            assert Batch.objects.get(name="second").state in (BatchState.CANCELLED, BatchState.DONE)

    @rule(who=st.sampled_from(PEOPLE), key=st.sampled_from("abc"))
    def repeat_a_request(self, who: str, key: str) -> None:
        """The same lease request under the same key takes tasks once and is answered the same."""

        def work() -> Answer:
            try:
                leases = tasks_lease(annotator=self._annotator(who), count=2)
            except DomainError as error:
                return Answer(error.status, error.code)
            self.tokens[who] += [(lease.task_id, lease.token) for lease in leases]
            return Answer(200, [str(lease.token) for lease in leases])

        def ask() -> Answer:
            return answer_once(user=self.users[who], key=f"{who} {key}", request="POST", digest=who, work=work)

        first = ask()
        before = self._everything()
        again = ask()
        assert (again.status, again.body, again.replayed) == (first.status, first.body, True)
        assert self._everything() == before

    @invariant()
    def taken_is_live_leases_and_votes(self) -> None:
        """Never over what is wanted, which never grows beyond the policy's most (or what the batch began with)."""
        live = Counter(Lease.objects.filter(state=LeaseState.LIVE).values_list("task", flat=True))
        votes = Counter(Label.objects.filter(counted=True, revision=0).values_list("task", flat=True))
        for task in Task.objects.all():
            assert task.labelled == votes[task.pk]
            assert task.taken == live[task.pk] + votes[task.pk]
            assert task.taken <= task.wanted <= max(4, self.wanted)
            if task.state == TaskState.DONE:
                assert task.labelled == task.wanted

    @invariant()
    def nobody_has_a_snippet_twice(self) -> None:
        """In whatever batch, as gold or not."""
        labels = Label.objects.filter(revision=0).values_list("snippet", "annotator")
        busy = Lease.objects.filter(state__in=(LeaseState.LIVE, LeaseState.ANSWERED))
        for pairs in (labels, busy.values_list("task__snippet", "annotator")):
            assert max(Counter(pairs).values(), default=0) <= 1

    @invariant()
    def nobody_judges_what_they_wrote(self) -> None:
        """Neither as a lease nor as a label."""
        alice = Annotator.objects.get(user__username="alice")
        assert not Label.objects.filter(annotator=alice, snippet__author=alice).exists()
        assert not Lease.objects.filter(annotator=alice, task__snippet__author=alice).exists()

    @invariant()
    def what_was_accepted_is_stored(self) -> None:
        """And nothing else; it counts if the queue said so, unless it was withdrawn."""
        stored = {pk: counted or at is not None for pk, counted, at in self._labels()}
        assert stored.keys() == self.accepted.keys()
        assert all(stored[pk] == counted for pk, counted in self.accepted.items())

    def _labels(self) -> Iterator[tuple[uuid.UUID, bool, Any]]:
        yield from Label.objects.values_list("pk", "counted", "withdrawn_at")

    def _is_paused(self, who: str) -> bool:
        paused = Standing.objects.filter(annotator=self._annotator(who), state=StandingState.PAUSED)
        return paused.exists()

    def _everything(self) -> tuple[Any, ...]:
        return (
            list(Task.objects.order_by("pk").values_list("pk", "state", "taken", "labelled", "wanted")),
            list(Lease.objects.order_by("pk").values_list("pk", "state", "expires_at")),
            list(Label.objects.order_by("pk").values_list("pk", "choice", "counted")),
        )

    def teardown(self) -> None:
        """Forgets it all."""
        if hasattr(self, "transaction"):
            transaction.set_rollback(True)
            self.transaction.__exit__(None, None, None)


@pytest.mark.django_db
def test_the_queue_keeps_its_promises() -> None:
    assert connection.in_atomic_block
    quick = settings(
        max_examples=20,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    run_state_machine_as_test(Queue, settings=quick)
