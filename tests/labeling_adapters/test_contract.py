"""What every labeling adapter keeps to, whoever is behind it.

An adapter joins with one entry in HARNESSES: a subclass of `harness.Harness` that is a real or a fake vendor seen from
outside (what it holds, how people answer there, how it breaks). Its class variables say what holds for the vendor
(`sends`, `gold`, `moves`, `refuses`, `http`, `steps`), and with that which tests it must pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.errors import BadInput, UnknownName
from engine.policies import Simulation, WordRule, load_policy
from engine.snippets import Snippet
from labeling_adapters import ADAPTERS, adapter_named, compares
from labeling_adapters.base import (
    AdapterError,
    Delivery,
    IncomingLabel,
    LabelingAdapter,
    OutgoingBatch,
    OutgoingTask,
    Pushed,
    Said,
)
from labeling_adapters.sending import ATTEMPTS, deepen, send
from tests.labeling_adapters.dropbox_folder import DropboxHarness
from tests.labeling_adapters.harness import Harness, InHouseHarness
from tests.labeling_adapters.http_server import FAULTS, PASSING, Fault
from tests.labeling_adapters.label_studio_harness import LabelStudioHarness
from tests.labeling_adapters.recorded_folder import RecordedHarness
from tests.labeling_adapters.surge_server import SurgeHarness
from tests.labeling_adapters.webhook_vendor_harness import WebhookVendorHarness

HARNESSES: dict[str, type[Harness]] = {
    "csv_dropbox": DropboxHarness,
    "label_studio": LabelStudioHarness,
    "pull": InHouseHarness,
    "recorded": RecordedHarness,
    "simulated": InHouseHarness,
    "surge": SurgeHarness,
    "webhook_vendor": WebhookVendorHarness,
}

PROMPT = "He took the knife. She cut the bread. They sat down."
COMPLETIONS = [
    "The knife slipped and wounded his hand.",
    '=HYPERLINK("http://evil.example") he said, and <b>{{prompt}}</b> was gone.',
    "Nobody spoke for a long while; “naïve” they were, 雪 fell.",
    "The soup was warm and good.",
]
TASKS = [OutgoingTask(f"task-{i}", Snippet(PROMPT, text), wanted=3) for i, text in enumerate(COMPLETIONS)]
IDS = [task.task_id for task in TASKS]
GOLD = [replace(TASKS[0], gold="Yes"), TASKS[1], replace(TASKS[2], gold="No"), TASKS[3]]
NAME = "held_out_attack"
BATCH = OutgoingBatch("0190f3a2-batch", NAME, load_policy("injury"), overlap=3, callback_url="https://g.example/cb/s3c")


class Crash(BaseException):
    """The process dies. No AdapterError, no Exception: nothing may catch it."""


def having(trait: Callable[[type[Harness]], object]) -> list[str]:
    return sorted(name for name, kind in HARNESSES.items() if trait(kind))


EVERY = having(lambda kind: True)
SENDING = having(lambda kind: kind.sends)
OVER_HTTP = having(lambda kind: kind.http)


class Bench:
    """A vendor, an adapter for it, and a batch."""

    def __init__(self, name: str, vendor: Harness) -> None:
        self.name, self.vendor, self.waits = name, vendor, list[float]()
        self.batch = BATCH

    def adapter(self, **config: Any) -> LabelingAdapter:
        """A new one, as after a restart."""
        simulation = Simulation(judge="lexicon", lexicon=(WordRule(any_of=("wounded",)),))
        policy = self.batch.policy.model_copy(update={"simulation": simulation})
        return adapter_named(self.name, policy, seed=7, config={**self.vendor.config, **config})

    def open(self) -> OutgoingBatch:
        self.batch = replace(BATCH, remote_id=self.adapter().open(BATCH))
        return self.batch

    def send(self, tasks: list[OutgoingTask]) -> list[Pushed]:
        return sorted(send(self.adapter(), self.batch, tasks, sleep=self.waits.append))

    def labels(self, tasks: list[OutgoingTask] = TASKS) -> list[IncomingLabel]:
        found = self.vendor.labels(self.adapter(), self.batch, tasks)
        return sorted(found, key=lambda label: (label.task_id, label.annotator))


def bench_of(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    for variable, value in HARNESSES[name].environment.items():
        monkeypatch.setenv(variable, value)
    with HARNESSES[name](folder) as vendor:
        yield Bench(name, vendor)


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    yield from bench_of(request.param, tmp_path, monkeypatch)


def over(names: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("bench", names, indirect=True)


def test_every_adapter_is_under_the_contract() -> None:
    assert HARNESSES.keys() == ADAPTERS.keys()


def test_an_unknown_adapter_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"unknown labeling adapter 'nobody'; known: .*pull, recorded, simulated"):
        adapter_named("nobody", BATCH.policy)


@over(EVERY)
def test_it_goes_by_its_registered_name(bench: Bench) -> None:
    adapter = bench.adapter()
    assert (adapter.name, adapter.simulated) == (bench.name, bench.name == "simulated")
    assert adapter.poll_seconds is None or adapter.poll_seconds > 0


@over(EVERY)
def test_only_those_in_the_house_take_comparisons(bench: Bench) -> None:
    assert bench.adapter().compares == compares(bench.name) == (bench.name in {"pull", "simulated"})


@over(["simulated"])
def test_a_comparison_is_answered_by_its_sides_and_the_same_from_either(bench: Bench) -> None:
    bench.open()
    texts = [task.snippet for task in TASKS]
    given = {"left": set[str](), "right": set[str]()}
    for one, other in ((texts[0], texts[3]), (texts[3], texts[0])):
        labels = bench.labels([replace(TASKS[0], snippet=one, rival=other, wanted=25)])
        assert len({label.annotator for label in labels}) == 25
        assert {label.choice for label in labels} <= {"left", "right", "equally_good", "equally_bad"}
        liked = "left" if one == texts[0] else "right"
        for label in labels:
            if label.choice == liked:
                given[liked].add(label.annotator)
    assert given["left"] == given["right"] != set()
    (alone,) = bench.labels([replace(TASKS[0], rival=texts[3], wanted=1)])
    (another,) = bench.labels([replace(TASKS[0], rival=texts[3], wanted=1, answered_by=frozenset({alone.annotator}))])
    assert alone.annotator != another.annotator


@over(EVERY)
def test_a_wrong_setting_is_named(bench: Bench) -> None:
    with pytest.raises(BadInput, match=f"^adapter {bench.name}: colour: "):
        bench.adapter(colour="blue")


@over(EVERY)
def test_opening_and_sending_twice_changes_nothing(bench: Bench) -> None:
    opened = [bench.open().remote_id, bench.open().remote_id, bench.adapter().open(bench.batch)]
    assert len({*opened, ""}) == 2
    sent = [bench.send(TASKS[:2]), bench.send(TASKS), bench.send(TASKS)]
    assert [[one.task_id for one in each] for each in sent] == [IDS[:2], IDS, IDS]
    assert not any(one.error for each in sent for one in each)
    assert sent[1] == sent[2]
    assert len({one.remote_id for one in sent[2]} - {""}) == len(TASKS)
    if bench.vendor.sends:
        assert (sorted(bench.vendor.holds()), bench.vendor.batches(), bench.waits) == (IDS, 1, [])
        assert sorted(one.task_id for one in bench.adapter().held(bench.batch)) == IDS


@over(EVERY)
def test_answers_are_of_the_policy_once_a_person(bench: Bench) -> None:
    bench.open()
    bench.send(TASKS)
    if bench.vendor.sends:
        bench.vendor.answer("task-0", "ann", "Yes")
    labels = bench.labels()
    assert bench.labels() == labels
    assert {label.choice for label in labels} <= set(BATCH.policy.choices)
    assert len({(label.task_id, label.annotator) for label in labels}) == len(labels)
    if bench.name == "simulated":
        assert Counter(label.task_id for label in labels) == dict.fromkeys(IDS, 3)
        assert all(label.annotator.startswith("simulated-") for label in labels)


@over(SENDING)
def test_each_answer_comes_with_who_gave_it_and_an_id(bench: Bench) -> None:
    bench.open()
    bench.send(TASKS)
    given = [("task-0", "ann", "Yes"), ("task-0", "bob", "No"), ("task-1", "ann", "Unsure"), ("task-2", "cleo", "No")]
    for answer in given[:2]:
        bench.vendor.answer(*answer)
    first = bench.labels()
    by_id = [(task_id, bench.vendor.id_of(annotator), choice) for task_id, annotator, choice in given]
    assert [(label.task_id, label.annotator, label.choice) for label in first] == by_id[:2]
    for answer in given[2:]:
        bench.vendor.answer(*answer)
    labels = bench.labels()
    assert [(label.task_id, label.annotator, label.choice) for label in labels] == by_id
    assert labels[:2] == first
    assert len({label.external_id for label in labels} - {""}) == 4


@over(EVERY)
def test_whoever_answered_is_not_counted_again(bench: Bench) -> None:
    bench.open()
    bench.send(TASKS)
    if bench.vendor.sends:
        bench.vendor.answer("task-0", "ann", "Yes")
        bench.vendor.answer("task-0", "bob", "No")
    before = [label.annotator for label in bench.labels(TASKS[:1])][:1]
    again = bench.labels([replace(TASKS[0], answered_by=frozenset(before))])
    assert not set(before) & {label.annotator for label in again}
    if bench.vendor.sends:
        assert [label.annotator for label in again] == [bench.vendor.id_of("bob")]


@over(having(lambda kind: kind.changes))
def test_a_changed_answer_comes_again_under_its_id(bench: Bench) -> None:
    bench.open()
    bench.send(TASKS)
    for annotator in ("ann", "bob"):
        bench.vendor.answer("task-0", annotator, "Yes")
    first = bench.labels()
    known = frozenset(Said(label.external_id, label.choice, label.note) for label in first)
    answered = replace(TASKS[0], answered_by=frozenset(label.annotator for label in first), said=known)
    assert bench.labels([answered]) == []
    bench.vendor.change("task-0", "ann", "Unsure")
    changed = [replace(label, choice="Unsure") for label in first if label.annotator == bench.vendor.id_of("ann")]
    assert bench.labels([answered]) == changed
    announced = bench.vendor.announcement("task-0")
    assert announced is not None
    assert changed[0] in bench.adapter().receive(bench.batch, announced)
    elsewhere = replace(answered, said=frozenset())  # they judged the text in another batch
    assert bench.labels([elsewhere]) == []


def deeper(sent: list[Pushed], annotators: list[str], total: int = 4) -> list[OutgoingTask]:
    """The first task, answered by these, which is to come to so many answers in all."""
    by = frozenset(annotators)
    return [replace(TASKS[0], remote_id=sent[0].remote_id, wanted=1, answered_by=by, total=total, more=1)]


@over(SENDING)
def test_one_more_answer_is_asked_for_once_and_of_somebody_else(bench: Bench) -> None:
    bench.open()
    sent = bench.send(TASKS)
    assert bench.adapter().deepens
    for annotator in ("ann", "bob", "cleo"):
        bench.vendor.answer("task-0", annotator, "Unsure")
    first = [bench.vendor.id_of(annotator) for annotator in ("ann", "bob", "cleo")]
    for _ in range(2):
        asked = bench.adapter().deepen(bench.batch, deeper(sent, first))
        assert asked == [Pushed("task-0", sent[0].remote_id)]
        assert [bench.vendor.wants(task_id) for task_id in IDS] == [4, 3, 3, 3]
    assert bench.vendor.keeps_out("task-0") == set(first)
    assert (sorted(bench.vendor.holds()), bench.vendor.batches()) == (IDS, 1)
    bench.vendor.answer("task-0", "dora", "No")
    dora = bench.vendor.id_of("dora")
    (label,) = bench.labels(deeper(sent, first))
    assert (label.task_id, label.annotator, label.choice) == ("task-0", dora, "No")
    assert label in bench.labels([replace(task, total=4) for task in TASKS])
    announced = bench.vendor.announcement("task-0")
    assert announced is None or label.annotator in {
        one.annotator for one in bench.adapter().receive(bench.batch, announced) if isinstance(one, IncomingLabel)
    }
    assert bench.adapter().deepen(bench.batch, deeper(sent, [*first, dora], 5))[0].error is None
    assert (bench.vendor.wants("task-0"), bench.vendor.keeps_out("task-0")) == (5, {*first, dora})


@over(having(lambda kind: not kind.sends))
def test_whoever_is_in_the_house_need_not_be_told_of_more(bench: Bench) -> None:
    bench.open()
    sent = bench.send(TASKS)
    assert not bench.adapter().deepens
    assert bench.adapter().deepen(bench.batch, deeper(sent, ["ann"])) == [Pushed("task-0", sent[0].remote_id)]


@pytest.mark.parametrize("name", having(lambda kind: kind.steps))
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_while_more_is_asked_for_asks_for_nothing_twice(
    name: str, when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nth, died = 0, True
    while died:
        nth += 1
        (folder := tmp_path / str(nth)).mkdir()
        for bench in bench_of(name, folder, monkeypatch):
            bench.open()
            sent = bench.send(TASKS)
            tasks = deeper(sent, [bench.vendor.id_of("ann")])
            with monkeypatch.context() as patch:
                crash_at(nth, when, bench.vendor, patch)
                try:
                    bench.adapter().deepen(bench.batch, tasks)
                    died = False
                except Crash:
                    died = True
            assert [one.error for one in bench.adapter().deepen(bench.batch, tasks)] == [None]
            assert [bench.vendor.wants(task_id) for task_id in IDS] == [4, 3, 3, 3]
            assert (sorted(bench.vendor.holds()), bench.vendor.batches()) == (IDS, 1)
    assert nth > 1


@over(OVER_HTTP)
@pytest.mark.parametrize("fault", PASSING)
def test_a_failure_while_more_is_asked_for_passes(bench: Bench, fault: str) -> None:
    bench.open()
    tasks = deeper(bench.send(TASKS), [bench.vendor.id_of("ann")])
    for verb in ("GET", "POST", "PATCH"):
        bench.vendor.server.faults.append(Fault(FAULTS[fault], stored=True, verb=verb))
    asked = list(deepen(bench.adapter(), bench.batch, tasks, sleep=bench.waits.append))
    assert [one.error for one in asked] == [None]
    assert [bench.vendor.wants(task_id) for task_id in IDS] == [4, 3, 3, 3]
    assert 1 <= len(bench.waits) <= 2


@over(SENDING)
def test_only_the_tasks_asked_for_are_answered(bench: Bench) -> None:
    bench.open()
    sent = bench.send(TASKS)
    for task_id in IDS[:3]:
        bench.vendor.answer(task_id, "ann", "No")
    known = [replace(task, remote_id=one.remote_id) for task, one in zip(TASKS, sent, strict=True)]
    assert [label.task_id for label in bench.labels(known[1:2])] == ["task-1"]
    assert bench.labels([]) == []


@over(SENDING)
def test_the_vendor_learns_nothing_it_must_not(bench: Bench) -> None:
    bench.open()
    bench.send([replace(task, score=0.98765) for task in TASKS])
    received = bench.vendor.received()
    assert b"wounded" in received
    assert NAME.encode() not in received
    assert b"98765" not in received


@over(EVERY)
def test_a_forged_callback_is_refused_for_good(bench: Bench) -> None:
    bench.open()
    bench.send(TASKS)
    if bench.vendor.sends:
        bench.vendor.answer("task-0", "ann", "Yes")
    forged = [Delivery(b"<html>"), Delivery(b"{}"), Delivery(b"[" * 99_999), *bench.vendor.forgeries("task-0")]
    for delivery in forged:
        with pytest.raises(AdapterError) as refused:
            bench.adapter().receive(bench.batch, delivery)
        assert refused.value.permanent


@over(SENDING)
def test_a_callback_brings_what_polling_brings(bench: Bench) -> None:
    bench.open()
    bench.send(TASKS)
    bench.vendor.answer("task-0", "ann", "Yes")
    bench.vendor.answer("task-1", "bob", "No")
    announced = bench.vendor.announcement("task-0")
    if announced:
        labels = [bench.adapter().receive(bench.batch, announced) for _ in range(2)]
        assert labels[0] == labels[1] == [label for label in bench.labels() if label.task_id == "task-0"]


@over(having(lambda kind: kind.gold))
def test_gold_is_the_vendors_to_check(bench: Bench) -> None:
    bench.open()
    for _ in range(2):
        assert [one.error for one in bench.send(GOLD)] == [None] * 4
    assert bench.vendor.golds() == {"task-0": "Yes", "task-2": "No"}
    assert sorted(bench.vendor.holds()) == IDS
    bench.vendor.answer("task-0", "ann", "No")
    assert [(label.task_id, label.choice) for label in bench.labels(GOLD)] == [("task-0", "No")]


@over(having(lambda kind: kind.sends and not kind.gold))
def test_gold_is_never_shown_where_the_vendor_cannot_keep_it(bench: Bench) -> None:
    bench.open()
    plain, gold = TASKS[:1], [replace(TASKS[0], gold="Unsure")]
    bench.send(plain)
    before = bench.vendor.received()
    bench.send(gold)
    assert bench.vendor.received() == before


@over(having(lambda kind: kind.moves))
def test_a_batch_is_launched_when_asked_and_moves_may_be_repeated(bench: Bench) -> None:
    bench.open()
    bench.send(TASKS)
    assert bench.vendor.state() == "unlaunched"
    for move, state in [
        ("launch", "in_progress"),
        ("pause", "paused"),
        ("launch", "paused"),
        ("resume", "in_progress"),
    ]:
        for _ in range(2):
            bench.adapter().move(bench.batch, move)  # type: ignore[arg-type]
            assert bench.vendor.state() == state
    for _ in range(2):
        bench.adapter().move(bench.batch, "cancel")
        assert bench.vendor.state() == "canceled"


@over(having(lambda kind: kind.refuses))
def test_one_bad_task_of_many_is_refused_alone(bench: Bench) -> None:
    bench.open()
    bad = OutgoingTask("task-1b", Snippet(PROMPT, f"It was {bench.vendor.refuses} all day."), wanted=1)
    sent = {one.task_id: one for one in bench.send([*TASKS[:2], bad, *TASKS[2:]])}
    assert sent.keys() == {*IDS, "task-1b"}
    assert [task_id for task_id, one in sent.items() if one.error] == ["task-1b"]
    error = sent["task-1b"].error
    assert error is not None
    assert error.permanent
    assert sorted(bench.vendor.holds()) == IDS
    assert bench.waits == []


@over(OVER_HTTP)
@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("fault", PASSING)
def test_sending_survives_what_passes_and_sends_nothing_twice(bench: Bench, fault: str, stored: bool) -> None:
    bench.open()
    bench.vendor.server.faults += [Fault(FAULTS[fault], stored, verb="POST"), Fault(FAULTS["rate limit"])]
    assert [(one.task_id, one.error) for one in bench.send(GOLD)] == [(task_id, None) for task_id in IDS]
    assert sorted(bench.vendor.holds()) == IDS
    assert len(bench.waits) == 2
    assert all(wait == 7.0 or 0.5 <= wait <= 2.0 for wait in bench.waits)
    assert bench.waits.count(7.0) == (2 if fault == "rate limit" else 1)


@over(OVER_HTTP)
@pytest.mark.parametrize("fault", sorted(set(FAULTS) - set(PASSING)))
def test_sending_gives_up_at_once_on_what_does_not_pass(bench: Bench, fault: str) -> None:
    bench.open()
    bench.vendor.server.faults.append(Fault(FAULTS[fault]))
    with pytest.raises(AdapterError) as refused:
        bench.send(TASKS)
    assert (refused.value.permanent, bench.waits, bench.vendor.holds()) == (True, [], [])
    assert [one.error for one in bench.send(TASKS)] == [None] * 4
    assert sorted(bench.vendor.holds()) == IDS


@over(OVER_HTTP)
def test_sending_gives_up_in_the_end_and_goes_on_later(bench: Bench) -> None:
    bench.open()
    bench.vendor.server.faults += [Fault(FAULTS["server error"])] * ATTEMPTS
    with pytest.raises(AdapterError) as refused:
        bench.send(TASKS)
    assert (refused.value.permanent, len(bench.waits)) == (False, ATTEMPTS - 1)
    assert [one.error for one in bench.send(TASKS)] == [None] * 4
    assert sorted(bench.vendor.holds()) == IDS


@over(OVER_HTTP)
@pytest.mark.parametrize("fault", FAULTS)
def test_polling_through_a_fault_is_right_or_says_so(bench: Bench, fault: str) -> None:
    bench.open()
    bench.send(TASKS)
    bench.vendor.answer("task-0", "ann", "Yes")
    whole = bench.labels()
    bench.vendor.server.faults.append(Fault(FAULTS[fault]))
    try:
        answer: object = bench.labels()
    except AdapterError as error:
        answer = error.permanent
    assert answer in (whole, fault not in PASSING)
    bench.vendor.server.faults.clear()
    assert bench.labels() == whole


@over(OVER_HTTP)
def test_the_key_stands_in_no_error_and_is_missed_by_name(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = bench.vendor.key_variable
    key = bench.vendor.environment[variable]
    bench.open()
    for fault in [Fault(FAULTS["refused key"]), Fault(replace(FAULTS["refused key"], body={"error": f"not {key}!"}))]:
        bench.vendor.server.faults.append(fault)
        with pytest.raises(AdapterError) as refused:
            bench.send(TASKS)
        assert key not in str(refused.value)
    monkeypatch.delenv(variable)
    with pytest.raises(BadInput, match=f"^adapter {bench.name}: .* {variable} is not set"):
        bench.adapter()


@pytest.mark.parametrize("name", having(lambda kind: kind.steps))
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_at_any_step_loses_nothing_and_repeats_nothing(
    name: str, when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dies before or after each step in turn; what ran until then is forgotten here, but not at the vendor."""
    crashes, nth = 0, 0
    while True:
        nth += 1
        (folder := tmp_path / str(nth)).mkdir()
        for bench in bench_of(name, folder, monkeypatch):
            with monkeypatch.context() as patch:
                crash_at(nth, when, bench.vendor, patch)
                try:
                    bench.open()
                    bench.send(GOLD)
                    died = False
                except Crash:
                    died = True
            bench.open()
            assert [(one.task_id, one.error) for one in bench.send(GOLD)] == [(task_id, None) for task_id in IDS]
            assert sorted(bench.vendor.holds()) == IDS
            assert bench.vendor.batches() == 1
            if bench.vendor.gold:
                assert bench.vendor.golds() == {"task-0": "Yes", "task-2": "No"}
            crashes += died
        if not died:
            break
    assert crashes == nth - 1
    assert crashes > 0


def crash_at(nth: int, when: str, vendor: Harness, patch: pytest.MonkeyPatch) -> None:
    calls = 0

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == nth and when == "before":
                raise Crash
            result = real(*args, **kwargs)
            if calls == nth:
                raise Crash
            return result

        return step

    for owner, function in vendor.steps:
        patch.setattr(owner, function, dying(getattr(owner, function)))
