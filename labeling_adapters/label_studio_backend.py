"""Label Studio's ML-backend contract as pure translations: what it asks a classifier, and what it wants to hear.

`GET /health` and `/versions`, `POST /setup`, `/predict` and `/webhook`, as Label Studio 1.23 sends them. Endpoints and
the classifier are elsewhere; here are only the shapes. A prediction shows annotators the classifier's opinion, so a
policy whose labels are blind must not be asked for one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

from pydantic import Field, ValidationError

from engine.errors import BadInput
from engine.policies import Policy
from engine.snippets import Snippet
from labeling_adapters.label_studio_shapes import COMPLETION, PROMPT, prediction
from labeling_adapters.shapes import Answer, problems

MAX_TASKS = 1000
MAX_CONFIG_CHARS = 100_000


class Tags(NamedTuple):
    """The tags of a label config that a prediction speaks of."""

    from_name: str
    to_name: str


class Asked(NamedTuple):
    """What `/predict` asks: a snippet for each task, in order, and the tags of the answer."""

    snippets: list[Snippet]
    tags: Tags


class _Task(Answer):
    data: dict[str, Any]


class _Predict(Answer):
    tasks: list[_Task] = Field(min_length=1, max_length=MAX_TASKS)
    label_config: str = Field(max_length=MAX_CONFIG_CHARS)


class _Setup(Answer):
    project: str = ""
    schema_: str = Field(alias="schema", max_length=MAX_CONFIG_CHARS)


def health(version: str) -> dict[str, str]:
    """The answer to `/health`: Label Studio only looks whether there is one."""
    return {"status": "UP", "model_class": version}


def setup(policy: Policy, request: object, version: str) -> dict[str, str]:
    """The answer to `/setup`, which Label Studio asks when it connects and before it predicts.

    Predictions of another version are asked for again. Raises BadInput where the project's labels are not the policy's.
    """
    asked = _checked(_Setup, request)
    tags_of(policy, asked.schema_)
    return {"model_version": version}


def asked(policy: Policy, request: object) -> Asked:
    """What `/predict` asks. O(characters). Raises BadInput naming the task whose data lack a text."""
    body = _checked(_Predict, request)
    tags = tags_of(policy, body.label_config)
    return Asked([_snippet(task.data, position) for position, task in enumerate(body.tasks)], tags)


def predictions(
    policy: Policy, tags: Tags, logits: Sequence[float], *, threshold: float, version: str
) -> dict[str, list[dict[str, Any]]]:
    """The answer to `/predict`: for each logit, in order, its probability in [0, 1] and the choice that it means.

    `threshold`: the probability at or above which the failing choice is given.
    """
    scores = [_probability(float(logit)) for logit in logits]
    return {"results": [prediction(policy, score, threshold, version, *tags) for score in scores]}


def versions(*known: str) -> dict[str, list[str]]:
    """The answer to `/versions`, which Label Studio lists for the predictions that a project shows."""
    return {"versions": list(known)}


def webhook() -> dict[str, str]:
    """The answer to `/webhook`, which tells of annotations and asks for training: rounds do that here."""
    return {"result": "ignored"}


def tags_of(policy: Policy, label_config: str) -> Tags:
    """The first Choices of a label config that offer the policy's failing and harmless choices.

    Raises BadInput for what is no XML, declares entities, or has no such Choices.
    """
    if "<!" in label_config.replace("<!--", ""):
        raise BadInput("declares a document type or entities", where="label_config")
    try:
        view = ElementTree.fromstring(label_config)  # noqa: S314 - declarations are refused above
    except ElementTree.ParseError as error:
        raise BadInput(f"no XML: {error}", where="label_config") from None
    for tag in view.iter("Choices"):
        offered = {choice.get("value") for choice in tag.iter("Choice")}
        names = Tags(tag.get("name", ""), tag.get("toName", ""))
        if {policy.failure, policy.harmless} <= offered and all(names):
            return names
    raise BadInput(f"no Choices with {policy.failure!r} and {policy.harmless!r}", where="label_config")


def _snippet(data: dict[str, Any], position: int) -> Snippet:
    """Projects that the adapter made have both texts; one with a `text` alone is judged as a completion."""
    prompt, completion = data.get(PROMPT, ""), data.get(COMPLETION, data.get("text"))
    if not isinstance(prompt, str) or not isinstance(completion, str) or not completion.strip():
        raise BadInput(f"wants a text as {COMPLETION!r}, and one as {PROMPT!r} or none", where=f"tasks.{position}.data")
    if not (_is_text(prompt) and _is_text(completion)):
        raise BadInput("holds half a surrogate pair", where=f"tasks.{position}.data")
    return Snippet(prompt, completion)


def _is_text(text: str) -> bool:
    """JSON can hold what no tokenizer takes."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _probability(logit: float) -> float:
    """The logistic function, without overflow at either end."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    return math.exp(logit) / (1 + math.exp(logit))


def _checked(model: type[Any], request: object) -> Any:
    try:
        return model.model_validate(request)
    except ValidationError as error:
        raise BadInput(problems(error)) from None
