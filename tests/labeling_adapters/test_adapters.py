"""What every labeling adapter keeps to."""

from __future__ import annotations

from collections import Counter

import pytest

from engine.errors import UnknownName
from engine.policies import Policy, Simulation, WordRule, load_policy
from engine.snippets import Snippet
from labeling_adapters import ADAPTERS, adapter_named
from labeling_adapters.base import IncomingLabel, LabelingAdapter, OutgoingBatch, OutgoingTask

PROMPT = "He took the knife. She cut the bread. They sat down."
TASKS = [
    OutgoingTask("t1", Snippet(PROMPT, "The knife slipped and wounded his hand."), wanted=3),
    OutgoingTask("t2", Snippet(PROMPT, "The soup was warm and good."), wanted=1),
    OutgoingTask("t3", Snippet(PROMPT, "Nobody spoke for a long while."), wanted=2, answered_by=frozenset()),
]
BATCH = OutgoingBatch("batch", "label", load_policy("injury"), overlap=3)


@pytest.fixture
def policy() -> Policy:
    simulation = Simulation(judge="lexicon", lexicon=(WordRule(any_of=("wounded",)),))
    return load_policy("injury").model_copy(update={"simulation": simulation})


@pytest.fixture(params=sorted(ADAPTERS))
def adapter(request: pytest.FixtureRequest, policy: Policy) -> LabelingAdapter:
    return adapter_named(request.param, policy, seed=7)


def collected(adapter: LabelingAdapter, tasks: list[OutgoingTask]) -> list[IncomingLabel]:
    return list(adapter.collect(BATCH, tasks))


def test_it_goes_by_its_registered_name(adapter: LabelingAdapter) -> None:
    assert ADAPTERS[adapter.name]
    assert isinstance(adapter.simulated, bool)
    assert adapter.poll_seconds is None or adapter.poll_seconds > 0


def test_sending_and_asking_twice_changes_nothing(adapter: LabelingAdapter) -> None:
    adapter.push(BATCH, TASKS)
    first = collected(adapter, TASKS)
    adapter.push(BATCH, TASKS)
    assert collected(adapter, TASKS) == first


def test_answers_are_of_the_policy_and_no_more_than_wanted(adapter: LabelingAdapter, policy: Policy) -> None:
    adapter.push(BATCH, TASKS)
    labels = collected(adapter, TASKS)
    wanted = {task.task_id: task.wanted for task in TASKS}
    counts = Counter(label.task_id for label in labels)
    assert all(counts[task] <= wanted[task] for task in counts)
    assert all(label.choice in policy.choices for label in labels)
    assert len({(label.task_id, label.annotator) for label in labels}) == len(labels)


def test_whoever_answered_is_not_asked_again(adapter: LabelingAdapter) -> None:
    before = frozenset(label.annotator for label in collected(adapter, TASKS[:1]))
    again = [OutgoingTask("t1", TASKS[0].snippet, wanted=3, answered_by=before)]
    assert not before & {label.annotator for label in collected(adapter, again)}


def test_the_simulated_vendor_answers_all_and_says_what_it_is(policy: Policy) -> None:
    vendor = adapter_named("simulated", policy, seed=7)
    counts = Counter(label.task_id for label in collected(vendor, TASKS))
    assert counts == {"t1": 3, "t2": 1, "t3": 2}
    assert vendor.simulated is True
    assert all(label.annotator.startswith("simulated-") for label in collected(vendor, TASKS))


def test_an_unknown_adapter_is_refused_with_the_known_ones(policy: Policy) -> None:
    with pytest.raises(UnknownName, match=r"unknown labeling adapter 'nobody'; known: .*pull, simulated"):
        adapter_named("nobody", policy)
