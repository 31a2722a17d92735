"""The ML-backend contract: Label Studio's own requests in, answers that it stores out."""

from __future__ import annotations

from typing import Any

import pytest
from scipy.special import expit

from engine.errors import BadInput
from engine.policies import load_policy
from engine.snippets import Snippet
from labeling_adapters.label_studio_backend import Asked, Tags, asked, health, predictions, setup, versions, webhook
from labeling_adapters.label_studio_shapes import label_config

POLICY = load_policy("injury")
CONFIG = label_config(POLICY)
TAGS = Tags("answer", "completion")


def predict(*data: Any, config: str = CONFIG) -> dict[str, Any]:
    """As Label Studio 1.23 asks."""
    tasks = [{"id": i, "data": one, "meta": {}, "annotations": [], "predictions": []} for i, one in enumerate(data)]
    params = {"login": None, "password": None, "context": None}
    return {"tasks": tasks, "project": "1.1795568362", "label_config": config, "params": params}


def test_it_asks_for_the_texts_in_order() -> None:
    request = predict(
        {"prompt": "One. Two.", "completion": "She bled.", "task": "t1"},
        {"prompt": "", "completion": "雪"},
        {"text": "All."},
    )
    snippets = [Snippet("One. Two.", "She bled."), Snippet("", "雪"), Snippet("", "All.")]
    assert asked(POLICY, request) == Asked(snippets, TAGS)


def test_logits_become_scores_and_choices_in_order() -> None:
    logits = [-800.0, -1.5, 0.0, 1.0986122886681098, 800.0]
    answer = predictions(POLICY, TAGS, logits, threshold=0.5, version="classifier-7")["results"]
    assert [one["score"] for one in answer] == pytest.approx(expit(logits), abs=1e-15)
    assert answer[3] == {
        "model_version": "classifier-7",
        "score": pytest.approx(0.75),
        "result": [{"from_name": "answer", "to_name": "completion", "type": "choices", "value": {"choices": ["Yes"]}}],
    }
    chosen = [one["result"][0]["value"]["choices"][0] for one in answer]
    assert chosen == ["No", "No", "Yes", "Yes", "Yes"]
    strict = predictions(POLICY, TAGS, logits, threshold=0.0001, version="v")["results"]
    assert [one["result"][0]["value"]["choices"][0] for one in strict] == ["No", "Yes", "Yes", "Yes", "Yes"]
    assert predictions(POLICY, TAGS, [], threshold=0.5, version="v") == {"results": []}


def test_setup_names_the_version_and_health_answers() -> None:
    request = {
        "project": "1.1795568362",
        "schema": CONFIG,
        "hostname": "http://localhost:8080",
        "access_token": "t",
        "extra_params": None,
    }
    assert setup(POLICY, request, "classifier-7") == {"model_version": "classifier-7"}
    assert health("classifier-7") == {"status": "UP", "model_class": "classifier-7"}
    assert versions("classifier-7") == {"versions": ["classifier-7"]}
    assert webhook() == {"result": "ignored"}


def test_another_projects_tags_are_found_by_their_choices() -> None:
    config = """<View><Text name="story" value="$text"/>
      <Choices name="mood" toName="story"><Choice value="Yes"/><Choice value="Happy"/></Choices>
      <!-- ours --><Choices name="hurt" toName="story"><Choice value="No"/><Choice value="Yes"/></Choices></View>"""
    assert asked(POLICY, predict({"text": "She bled."}, config=config)).tags == Tags("hurt", "story")


@pytest.mark.parametrize(
    ("request_", "wrong"),
    [
        ({}, "tasks: Field required; label_config: Field required"),
        ([], "all: "),
        (predict(), "tasks: List should have at least 1 item"),
        (predict(*[{"text": "x"}] * 1001), "tasks: List should have at most 1000 items"),
        (predict({"text": "x"}, {"prompt": "One."}), r"tasks.1.data: wants a text as 'completion'"),
        (predict({"completion": "  "}), r"tasks.0.data: wants a text"),
        (predict({"completion": ["x"]}), r"tasks.0.data: wants a text"),
        (predict({"completion": "x", "prompt": None}), r"tasks.0.data: wants a text"),
        (predict({"completion": "x\ud800"}), r"tasks.0.data: holds half a surrogate pair"),
        (predict({"completion": "x", "prompt": "\udfff"}), r"tasks.0.data: holds half a surrogate pair"),
        (predict({"text": "x"}, config="<View>\ud800</View>"), "label_config: "),
        (predict({"text": "x"}, config="<View>"), "label_config: no XML"),
        (predict({"text": "x"}, config="<View/>"), "label_config: no Choices with 'Yes' and 'No'"),
        (predict({"text": "x"}, config=CONFIG.replace('name="answer"', "")), "label_config: no Choices"),
        (
            predict({"text": "x"}, config='<!DOCTYPE v [<!ENTITY a "aa">]><View>&a;</View>'),
            "label_config: declares a document type or entities",
        ),
        (predict({"text": "x"}, config="x" * 100_001), "label_config: String should have at most 100000"),
    ],
)
def test_what_it_should_not_ask_is_named(request_: object, wrong: str) -> None:
    with pytest.raises(BadInput, match=f"^{wrong}"):
        asked(POLICY, request_)


@pytest.mark.parametrize(("schema", "wrong"), [("<View/>", "label_config: no Choices"), (None, "schema: ")])
def test_a_project_with_other_labels_is_not_set_up(schema: object, wrong: str) -> None:
    with pytest.raises(BadInput, match=f"^{wrong}"):
        setup(POLICY, {"project": "1.1", "schema": schema}, "v")
