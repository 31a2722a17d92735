"""Label Studio's shapes: its project, its tasks, predictions and annotations, as pure translations."""

from __future__ import annotations

from datetime import datetime
from html import escape
from typing import Any
from xml.etree import ElementTree

from pydantic import BaseModel, Field, field_validator

from engine.policies import Policy
from labeling_adapters.base import IncomingLabel, OutgoingBatch, OutgoingTask
from labeling_adapters.shapes import Answer

ANSWER, PROMPT, COMPLETION = "answer", "prompt", "completion"
"""The tags of the label config; the last two are also the keys of a task's data."""
TASK = "task"
"""The key of a task's data that holds our id of it."""
TITLE_CHARS, ID_CHARS = 50, 36
"""What Label Studio takes as a title, and what a UUID in it needs."""
MODEL_VERSION = "gauntlet"


def label_config(policy: Policy) -> str:
    """The XML of the labeling page: prompt, completion, the policy's question and choices, one of them, by digits."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Text", name=PROMPT, value=f"${PROMPT}")
    ElementTree.SubElement(view, "Header", value="Completion", size="5")
    ElementTree.SubElement(view, "Text", name=COMPLETION, value=f"${COMPLETION}")
    ElementTree.SubElement(view, "Header", value=policy.question)
    choices = ElementTree.SubElement(
        view, "Choices", name=ANSWER, toName=COMPLETION, choice="single", required="true", showInline="true"
    )
    for number, choice in enumerate(policy.choices, 1):
        keyed = {"value": choice, "hotkey": str(number)} if number <= 9 else {"value": choice}
        ElementTree.SubElement(choices, "Choice", keyed)
    return ElementTree.tostring(view, encoding="unicode")


def marker(batch: OutgoingBatch) -> str:
    """The description by which a batch's project is found again."""
    return f"gauntlet batch {batch.batch_id}"


def project(batch: OutgoingBatch, *, prefix: str, show_predictions: bool) -> dict[str, Any]:
    """What makes the batch's project. The batch's name stays here: it can tell where the texts come from."""
    policy = batch.policy
    return {
        "title": title(batch, prefix),
        "description": marker(batch),
        "label_config": label_config(policy),
        "expert_instruction": f'<div style="white-space: pre-wrap">{escape(policy.guidelines.strip())}</div>',
        "show_instruction": bool(policy.guidelines.strip()),
        "maximum_annotations": batch.overlap,
        "enable_empty_annotation": False,
        "show_annotation_history": False,
        "show_collab_predictions": show_predictions,
        "is_published": False,
    }


def title(batch: OutgoingBatch, prefix: str) -> str:
    """Ends with the batch's id, so that it can be searched for."""
    return f"{prefix} {batch.batch_id[:ID_CHARS]}"


def imported(task: OutgoingTask, policy: Policy, *, with_score: bool) -> dict[str, Any]:
    """A task as it is imported. Gold is a task like others: Label Studio's own ground truth shows in its pages."""
    data = {PROMPT: task.snippet.prompt, COMPLETION: task.snippet.completion, TASK: task.task_id}
    if not with_score or task.score is None:
        return {"data": data}
    return {"data": data, "predictions": [prediction(policy, task.score, 0.5, MODEL_VERSION, ANSWER, COMPLETION)]}


def prediction(
    policy: Policy, score: float, threshold: float, version: str, from_name: str, to_name: str
) -> dict[str, Any]:
    """The classifier's opinion: the failing choice at or above the threshold, else the harmless one."""
    choice = policy.failure if score >= threshold else policy.harmless
    result = {"from_name": from_name, "to_name": to_name, "type": "choices", "value": {"choices": [choice]}}
    return {"model_version": version, "score": score, "result": [result]}


class Annotation(Answer):
    """One user's annotation of a task."""

    id: int
    completed_by: int | None = None
    result: list[dict[str, Any]] = []
    was_cancelled: bool = False
    ground_truth: bool = False
    lead_time: float | None = Field(None, ge=0)
    updated_at: datetime

    @field_validator("completed_by", mode="before")
    @classmethod
    def _id_of(cls, value: object) -> object:
        """A list of tasks has the user's id here, a single task the user."""
        return value.get("id") if isinstance(value, dict) else value

    @property
    def choice(self) -> str | None:
        """What was chosen; None where the annotation holds no such answer."""
        for part in self.result:
            value = part.get("value")
            chosen = value.get("choices") if isinstance(value, dict) else None
            if part.get("from_name") == ANSWER and isinstance(chosen, list) and chosen:
                return str(chosen[0])
        return None


class Task(Answer):
    """A task as Label Studio has it."""

    id: int
    data: dict[str, Any]
    project: int | None = None
    annotations: list[Annotation] = []
    overlap: int = 1
    is_labeled: bool = False
    total_annotations: int = 0

    @property
    def task_id(self) -> str:
        """Our id of it; empty where it is not ours."""
        return str(self.data.get(TASK) or "")


class Tasks(Answer):
    """A page of tasks."""

    total: int
    tasks: list[Task]


class Imported(Answer):
    """What became of an import. Enterprise imports later and names no ids."""

    task_ids: list[int] = []


class Project(Answer):
    """A project, as far as it is asked for."""

    id: int
    description: str | None = ""
    maximum_annotations: int = 1


class Projects(Answer):
    """A page of projects."""

    next: str | None = None
    results: list[Project]


class Hook(Answer):
    """A webhook of a project."""

    url: str


class Announcement(Answer):
    """A webhook's body: only the task's id is read, the rest is asked for again."""

    class _Task(BaseModel):
        id: int

    action: str
    task: _Task | None = None


def labels_of(task: Task) -> list[IncomingLabel]:
    """The latest answer of each user, in order of their making. Skips, drafts and ground truth are no answers."""
    latest: dict[int, Annotation] = {}
    for one in sorted(task.annotations, key=lambda one: (one.updated_at, one.id)):
        if one.completed_by is not None and one.choice and not one.was_cancelled and not one.ground_truth:
            latest[one.completed_by] = one
    return [
        IncomingLabel(task.task_id, str(user), one.choice or "", one.lead_time, str(one.id))
        for user, one in sorted(latest.items(), key=lambda item: item[1].id)
    ]
