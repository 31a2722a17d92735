"""Recorded answers: given back in their order, each person's once, and no more than there are."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from engine.errors import BadInput
from engine.policies import load_policy
from engine.snippets import Snippet
from labeling_adapters import adapter_named
from labeling_adapters.base import AdapterError, IncomingLabel, Limited, OutgoingBatch, OutgoingTask
from tests.labeling_adapters.recorded_folder import write_answers

POLICY = load_policy("toxic")
BATCH = OutgoingBatch("b", "n", POLICY)


def adapter_on(folder: Path):
    return adapter_named("recorded", POLICY, config={"folder": str(folder)})


def test_answers_come_in_their_order_and_no_more_than_wanted(tmp_path: Path):
    adapter = adapter_on(write_answers(tmp_path, {"You fool.": "yun", "Good day.": "n"}))
    fool, day = Snippet("", "You fool."), Snippet("", "Good day.")
    assert isinstance(adapter, Limited)
    assert (adapter.most(fool), adapter.most(day), adapter.most(Snippet("", "else"))) == (3, 1, 0)
    first = list(adapter.collect(BATCH, [OutgoingTask("1", fool, 1), OutgoingTask("2", day, 4)]))
    assert first == [
        IncomingLabel("1", "w0", "Yes", external_id="0"),
        IncomingLabel("2", "w0", "No", external_id="3"),
    ]
    more = list(adapter.collect(BATCH, [OutgoingTask("3", fool, 5, answered_by=frozenset({"w0"}))]))
    assert [(one.annotator, one.choice) for one in more] == [("w1", "Unsure"), ("w2", "No")]


def test_who_judged_a_text_twice_is_taken_once(tmp_path: Path):
    write_answers(tmp_path, {"You fool.": "y"})
    with (tmp_path / "annotations.csv").open("a", newline="") as file:
        csv.writer(file).writerow([9, 0, "w0", "X", "False", "True"])
    adapter = adapter_on(tmp_path)
    assert [one.choice for one in adapter.collect(BATCH, [OutgoingTask("1", Snippet("", "You fool."), 3)])] == ["Yes"]


def test_a_text_that_nobody_judged_and_wrong_folders(tmp_path: Path):
    adapter = adapter_on(write_answers(tmp_path, {"You fool.": "y"}))
    with pytest.raises(AdapterError, match="nobody judged") as raised:
        list(adapter.collect(BATCH, [OutgoingTask("1", Snippet("", "Unheard of."), 1)]))
    assert raised.value.permanent
    with pytest.raises(BadInput, match="folder"):
        adapter_named("recorded", POLICY, config={})
    with pytest.raises(BadInput, match="No such file"):
        adapter_on(tmp_path / "nowhere")
    (tmp_path / "comments.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadInput, match="lacks the columns comment_id"):
        adapter_on(tmp_path)
    spec = POLICY.model_copy(update={"choices": ("Bad", "Fine")})
    folder = write_answers(tmp_path / "b", {"You fool.": "y"})
    with pytest.raises(BadInput, match="no choice of the policy"):
        adapter_named("recorded", spec, config={"folder": str(folder)})
