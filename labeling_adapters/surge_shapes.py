"""Surge's JSON: what is sent for a project and a task, and what comes back, in the shapes of 2021 and of today."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine.policies import Policy
from labeling_adapters.base import AdapterError, IncomingLabel, OutgoingBatch, OutgoingTask
from labeling_adapters.choices import as_choice

FIELD = "gauntlet_task"
"""Our key in a task's fields. No worker sees it: the template does not show it."""
NUMBER, BATCH = "gauntlet_answer", "gauntlet_batch"
"""Of a copy: which answer to the task it asks for, and whose copy it is."""
UNNAMED = "unnamed-"
TEMPLATE = "<h4>Prompt</h4><p>{{prompt}}</p><h4>Completion</h4><p>{{completion}}</p>"
LABEL = "Judgement"

Json = Mapping[str, Any]


def question(policy: Policy) -> dict[str, Any]:
    """The policy's question with all the keys that the official client sends."""
    return {
        "id": None,
        "text": policy.question,
        "label": LABEL,
        "type": "multiple_choice",
        "required": True,
        "column_header": None,
        "question_category": None,
        "carousel_round": None,
        "options": list(policy.choices),
        "options_info": None,
        "descriptions": [],
        "preexisting_annotations": None,
        "require_tiebreaker": False,  # who breaks a tie is the policy's to say
        "hidden_by_option_id": None,
        "shown_by_option_id": None,
        "holistic": False,
    }


def fields(task: OutgoingTask) -> dict[str, str]:
    """What the vendor gets of a task: text as data, never its gold answer, score or source."""
    return {FIELD: task.task_id, "prompt": task.snippet.prompt, "completion": task.snippet.completion}


def copied(task: OutgoingTask, batch: OutgoingBatch, number: int) -> dict[str, str]:
    """The fields of a copy that asks for one more answer to a task."""
    return fields(task) | {NUMBER: str(number), BATCH: batch.batch_id}


def copy_of(task: Json) -> tuple[str, str]:
    """Our id of the task that this is a copy of, and the number of the answer that it asks for."""
    return our_id(task), _field(task, NUMBER)


def batch_of(task: Json) -> str:
    """Our id of a copy's batch; empty for what is no copy."""
    return _field(task, BATCH)


def workers(project: Json) -> int:
    """How many answer each task of the project."""
    return int(project.get("num_workers_per_task") or 1)


def rows(answer: object, what: str) -> list[Json]:
    """A list of objects that have ids. Raises AdapterError, permanent, for anything else."""
    if not isinstance(answer, list) or not all(isinstance(row, dict) and row.get("id") for row in answer):
        raise AdapterError(f"surge: answered no list of {what}; is the base URL right?", permanent=True)
    return answer


def row(answer: object, what: str) -> Json:
    """An object that has an id. Raises as `rows` does."""
    return rows([answer], what)[0]


def our_id(task: Json) -> str:
    """Our id of a task, empty for one that is not of our making."""
    return _field(task, FIELD)


def _field(task: Json, name: str) -> str:
    held = task.get("fields")
    return str(held.get(name) or "") if isinstance(held, dict) else ""


def labels(task: Json, policy: Policy, answered_by: frozenset[str] = frozenset()) -> Iterator[IncomingLabel]:
    """The task's responses but for those of `answered_by`; one without an answer to our question is passed over.

    The shape of 2021 has no worker: such an answer counts as that of somebody else each time.
    """
    for response in task.get("responses") or ():
        choice = _answer(response.get("data") or response.get("response_data"), policy)
        annotator = str(response.get("worker_id") or f"{UNNAMED}{response['id']}")
        if choice and annotator not in answered_by:
            yield IncomingLabel(our_id(task), annotator, choice, external_id=str(response["id"]))


def tasks_of_report(report: object) -> list[Json]:
    """The tasks of a JSON export, whose rows are tasks with their responses, or responses that name their task.

    No schema of it is published, so both are read.
    """
    if not isinstance(report, list) or not all(isinstance(each, dict) for each in report):
        raise AdapterError("surge: the report is no list of results", permanent=True)
    return [each if "responses" in each else _task_of_response(each) for each in report]


def _task_of_response(given: Json) -> Json:
    response = {
        "id": given.get("response_id") or given.get("id"),
        "worker_id": given.get("worker_id"),
        "data": given.get("data") or given.get("response_data") or given,
    }
    return {"fields": given.get("fields") or given, "responses": [response] if response["id"] else []}


def _answer(data: object, policy: Policy) -> str:
    """The choice, keyed by the question's text or label, or the only answer there is; empty where there is none."""
    if not isinstance(data, dict):
        return ""
    found = next((data[key] for key in (policy.question, LABEL) if data.get(key)), None)
    if found is None and len(data) == 1:
        (found,) = data.values()
    if isinstance(found, list) and len(found) == 1:
        (found,) = found
    return as_choice(found, policy.choices) if isinstance(found, str) else ""
