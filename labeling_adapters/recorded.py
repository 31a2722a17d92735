"""Recorded answers of a crowd, given back one by one: labels are bought as from people, and nobody judges anew.

What it answers is always called recorded: its annotators are people of then, not of today.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from engine.config import checked
from engine.errors import BadInput
from engine.snippets import Snippet
from labeling_adapters.base import AdapterError, IncomingLabel, InHouse, OutgoingBatch, OutgoingTask, Settings

COMMENTS, ANNOTATIONS = "comments.csv", "annotations.csv"
CHOICE = {("False", "False"): "Yes", ("True", "False"): "Yes", ("False", "True"): "No", ("True", "True"): "Unsure"}
"""By the boxes `all toxic` and `not toxic`. Who ticked neither marked toxic words. The form let nobody leave without
marking words unless both boxes were ticked, so that both together mean one of two opposite things: Unsure."""


class RecordedSettings(BaseModel):
    """Its settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str = Field(min_length=1)
    """Of `comments.csv` and `annotations.csv`, as `manage.py import_judgements` reads them."""


class Said(NamedTuple):
    """An answer that was recorded."""

    annotator: str
    choice: str
    external_id: str


class RecordedAnswers(InHouse):
    """A crowd that has answered already. Stateless: asking twice answers the same."""

    name = "recorded"
    simulated = False
    compares = False
    poll_seconds: float | None = 0.5

    def __init__(self, settings: Settings) -> None:
        folder = checked(RecordedSettings, settings.config, where=f"adapter {self.name}").folder
        self._answers = answers_in(folder)
        unknown = {said.choice for given in self._answers.values() for said in given} - set(settings.policy.choices)
        if unknown:
            raise BadInput(
                f"{', '.join(sorted(unknown))}: no choice of the policy {settings.policy.name}", where="recorded"
            )

    def most(self, snippet: Snippet) -> int:
        """How many people judged this text."""
        return len(self._answers.get(_key(snippet), ()))

    def collect(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> Iterator[IncomingLabel]:
        """As many answers as each task still wants, in the order recorded, each person's first.

        Raises AdapterError for a text that nobody judged.
        """
        for task in tasks:
            given = self._answers.get(_key(task.snippet))
            if given is None:
                raise AdapterError(f"recorded: nobody judged the text of task {task.task_id}", permanent=True)
            free = [said for said in given if said.annotator not in task.answered_by]
            for said in free[: task.wanted]:
                yield IncomingLabel(task.task_id, said.annotator, said.choice, external_id=said.external_id)


def _key(snippet: Snippet) -> str:
    """Comments have no prompt: a snippet is the text that one reads."""
    return Snippet("", snippet.text).content_hash


def answers_in(folder: str) -> Mapping[str, tuple[Said, ...]]:
    """By content hash, what people said of each text in the order recorded, one answer a person. Raises BadInput."""
    times = tuple(_stamp(Path(folder) / name) for name in (COMMENTS, ANNOTATIONS))
    return _read(folder, times)


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise BadInput(error.strerror or str(error), where=str(path)) from error


@lru_cache(maxsize=4)
def _read(folder: str, times: tuple[int, ...]) -> Mapping[str, tuple[Said, ...]]:
    """Read once for each state of the files: every look for labels asks for it."""
    del times
    root = Path(folder)
    rows = _rows(root / COMMENTS, ("comment_id", "comment_text"))
    hashes = {comment: Snippet("", text).content_hash for comment, text in rows}
    given: dict[str, dict[str, Said]] = {digest: {} for digest in hashes.values()}
    twice = {digest for digest, n in Counter(hashes.values()).items() if n > 1}
    for number, comment, worker, toxic, sound in _rows(
        root / ANNOTATIONS, ("annotation", "comment_id", "worker", "all toxic", "not toxic")
    ):
        if comment not in hashes or (toxic, sound) not in CHOICE:
            raise BadInput(f"annotation {number}: an unknown comment, or boxes that are no boxes", where=folder)
        digest = hashes[comment]
        # Comments of one text are one snippet here: whoever judged both has said so once.
        given[digest].setdefault(worker, Said(worker, CHOICE[toxic, sound], "" if digest in twice else number))
    return {digest: tuple(said.values()) for digest, said in given.items()}


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            if missing := set(columns) - set(reader.fieldnames or ()):
                raise BadInput(f"lacks the columns {', '.join(sorted(missing))}", where=str(path))
            for row in reader:
                yield tuple(row[column] or "" for column in columns)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(str(error), where=str(path)) from error
