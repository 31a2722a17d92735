"""Vendors who work by e-mail: tasks go out as files in one folder, and labels come back as files in another.

`FOLDER/out` gets `BATCH.txt` (what to do), a `BATCH-….csv` for each push and a `BATCH-more-….csv` where tasks come to
want more answers, with a row for each of them: all to be copied and sent, not moved. Whatever is put into `FOLDER/in`
with the columns `task`, `annotator` and `choice` is read, of whichever batch it is. Rows that cannot be read are listed
by file and line in `FOLDER/out/BATCH.problems.txt` (and logged once); all others count.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, field_validator

from engine.config import checked
from engine.policies import Policy
from labeling_adapters.base import (
    AdapterError,
    IncomingLabel,
    InHouse,
    OutgoingBatch,
    OutgoingTask,
    Pushed,
    Settings,
)
from labeling_adapters.choices import as_choice
from labeling_adapters.csv_tables import TableRow, UnreadableTable, read_table, write_whole, written_table

LONGEST_NAME = 100
DIGEST = "[0-9a-f]" * 12
NUMBER, NOT_BY = "answer_number", "not_by"
"""Columns of files that ask for more."""
_logger = logging.getLogger(__name__)


class Columns(BaseModel):
    """What the columns of returned files are called, in any case. The last three need not be there."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_to_lower=True, str_strip_whitespace=True)

    task: str = Field("task", min_length=1)
    annotator: str = Field("annotator", min_length=1)
    choice: str = Field("choice", min_length=1)
    seconds: str = "seconds"
    note: str = "note"
    id: str = "id"
    """The vendor's own id of an answer. Without one it is the task and the annotator: rows move, files are renamed."""


class DropboxSettings(BaseModel):
    """Where the folder is, and what returned files look like."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    """An absolute path that all workers see."""
    columns: Columns = Columns()
    poll_seconds: float = Field(60, gt=0)
    settle_seconds: float = Field(2, ge=0)
    """A file that changed so recently may still be on its way in, and waits for the next look."""

    @field_validator("folder")
    @classmethod
    def _is_absolute(cls, folder: Path) -> Path:
        if not folder.is_absolute():
            raise ValueError("must be an absolute path")
        return folder


class _Answer(NamedTuple):
    place: str
    label: IncomingLabel


class CsvDropbox(InHouse):
    """Files out, files in. What is in `out` is what the vendor holds."""

    name = "csv_dropbox"
    simulated = False
    deepens = True
    compares = False

    def __init__(self, settings: Settings) -> None:
        self._settings = checked(DropboxSettings, settings.config, where=f"adapter {self.name}")
        self.poll_seconds: float | None = self._settings.poll_seconds
        self._out, self._in = self._settings.folder / "out", self._settings.folder / "in"

    def open(self, batch: OutgoingBatch) -> str:
        """Makes the folders and says in a text file what is to be done."""
        with _folder_errors():
            for folder in (self._out, self._in):
                folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._out / f"{_file_name(batch)}.txt", _instructions(batch, self._settings.columns).encode())
        return batch.batch_id

    def held(self, batch: OutgoingBatch) -> Iterator[Pushed]:
        """The tasks in the batch's files. O(tasks)."""
        for task_id in sorted(self._sent(f"{_file_name(batch)}-{DIGEST}.csv")):
            yield Pushed(task_id, task_id)

    def push(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> list[Pushed]:
        """One file, named by what is in it: the same push writes the same file again. Gold is not shown."""
        columns = self._settings.columns
        header = (columns.task, "prompt", "completion", columns.choice, columns.annotator, columns.note)
        rows = [(task.task_id, *_text(task), "", "", "") for task in tasks]
        self._write(_file_name(batch), written_table(header, rows))
        return [Pushed(task.task_id, task.task_id) for task in tasks]

    def deepen(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> list[Pushed]:
        """One file with a row for each answer that no such file asks for yet; none where all are asked for.

        A row says which answer to its text it is, and who must not give it.
        """
        columns = self._settings.columns
        asked = {
            (row.cells[columns.task], row.cells[NUMBER])
            for row in self._rows(f"{_file_name(batch)}-more-{DIGEST}.csv", [columns.task, NUMBER])
        }
        header = (columns.task, NUMBER, NOT_BY, "prompt", "completion", columns.choice, columns.annotator, columns.note)
        rows = [
            (task.task_id, str(number), "; ".join(sorted(task.answered_by)), *_text(task), "", "", "")
            for task in tasks
            for number in range(task.total - task.more + 1, task.total + 1)
            if (task.task_id, str(number)) not in asked
        ]
        if rows:
            self._write(f"{_file_name(batch)}-more", written_table(header, rows))
        return [Pushed(task.task_id, task.task_id) for task in tasks]

    def collect(self, batch: OutgoingBatch, tasks: Sequence[OutgoingTask]) -> Iterator[IncomingLabel]:
        """The answers in all returned files; of somebody who answers a task twice, the first in order of file names.

        O(size of all files). Rewrites the batch's list of problems where it changed.
        """
        wanted = {task.task_id: task for task in tasks}
        with _folder_errors():
            answers, problems = self._returned(batch)
            self._report(batch, problems)
        for answer in answers:
            task = wanted.get(answer.label.task_id)
            if task and answer.label.annotator not in task.answered_by:
                yield answer.label

    def _write(self, name: str, data: bytes) -> None:
        with _folder_errors():
            write_whole(self._out / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}.csv", data)

    def _sent(self, pattern: str) -> set[str]:
        column = self._settings.columns.task
        return {row.cells[column] for row in self._rows(pattern, [column])}

    def _rows(self, pattern: str, needed: list[str]) -> list[TableRow]:
        """Of our own files."""
        with _folder_errors():
            try:
                return [row for path in sorted(self._out.glob(pattern)) for row in read_table(path, needed)]
            except UnreadableTable as error:
                raise AdapterError(f"csv_dropbox: a file in {self._out}: {error}", permanent=True) from None

    def _returned(self, batch: OutgoingBatch) -> tuple[list[_Answer], list[str]]:
        """All answers of the batch, and what is wrong, as lines that begin with file and line."""
        known = {one.task_id for one in self.held(batch)}
        others = self._sent("*.csv") - known
        answers: dict[tuple[str, str], _Answer] = {}
        problems = []
        for path in self._files():
            try:
                for row in read_table(path, self._needed()):
                    place = f"{path.name}:{row.line}"
                    if row.cells[self._settings.columns.task] in others:
                        continue
                    label = self._label(row, known, batch.policy)
                    if isinstance(label, str):
                        problems.append(f"{place}: {label}")
                    elif label:
                        first = answers.setdefault((label.task_id, label.annotator), _Answer(place, label))
                        if first.label.choice != label.choice:
                            problems.append(f"{place}: answered otherwise in {first.place}, which counts")
            except UnreadableTable as error:
                problems.append(f"{path.name}: {error}")
        return list(answers.values()), problems

    def _label(self, row: TableRow, known: set[str], policy: Policy) -> IncomingLabel | str | None:
        """The row's answer, None where nobody answered yet, or what is wrong with it."""
        columns = self._settings.columns
        cells = {name: row.cells.get(getattr(columns, name), "") for name in Columns.model_fields}
        choice, annotator = as_choice(cells["choice"], policy.choices), cells["annotator"]
        if not choice:
            return None
        if cells["task"] not in known:
            return f"no task {cells['task'][:LONGEST_NAME]!r} was sent out"
        if choice not in policy.choices:
            return f"{choice[:LONGEST_NAME]!r} is none of {', '.join(policy.choices)}"
        if not annotator or max(len(annotator), len(cells["id"])) > LONGEST_NAME:
            return f"annotator and id: 1 to {LONGEST_NAME} characters, the id may be empty"
        external_id = cells["id"] or f"{cells['task']}:{annotator}"
        return IncomingLabel(cells["task"], annotator, choice, _seconds(cells["seconds"]), external_id, cells["note"])

    def _needed(self) -> list[str]:
        columns = self._settings.columns
        return [columns.task, columns.annotator, columns.choice]

    def _files(self) -> list[Path]:
        """Returned files that are whole, by name; what programs leave beside open files is passed over."""
        latest = time.time() - self._settings.settle_seconds
        found = [path for path in self._in.iterdir() if path.suffix.lower() == ".csv" and path.name[0] not in ".~"]
        return sorted(p for p in found if p.is_file() and not p.is_symlink() and p.stat().st_mtime <= latest)

    def _report(self, batch: OutgoingBatch, problems: list[str]) -> None:
        path = self._out / f"{_file_name(batch)}.problems.txt"
        text = "".join(f"{problem}\n" for problem in problems)
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        if text == before:
            return
        for problem in sorted(set(problems) - set(before.splitlines())):
            _logger.warning("csv_dropbox: %s", problem)
        write_whole(path, text.encode(errors="replace"))


def _file_name(batch: OutgoingBatch) -> str:
    return quote(batch.batch_id, safe="")


def _instructions(batch: OutgoingBatch, columns: Columns) -> str:
    people = f"{batch.overlap} different people answer" if batch.overlap > 1 else "One person answers"
    return (
        f"{batch.policy.question}\n\n"
        f"Write one of these into the column `{columns.choice}`: {', '.join(batch.policy.choices)}\n"
        f"Write who answered into the column `{columns.annotator}`: always the same name for the same person.\n"
        f"{people} each row. Leave the column `{columns.task}` as it is.\n"
        f"Where a file has `more` in its name, one person answers each row: nobody named in its column `{NOT_BY}`.\n\n"
        f"{batch.policy.guidelines.strip()}\n"
    )


def _text(task: OutgoingTask) -> tuple[str, str]:
    return task.snippet.prompt, task.snippet.completion


def _seconds(cell: str) -> float | None:
    try:
        seconds = float(cell.replace(",", "."))
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


@contextmanager
def _folder_errors() -> Iterator[None]:
    """A folder that is missing or closed stays so; a full disk or a share that is away may pass."""
    try:
        yield
    except OSError as error:
        permanent = isinstance(error, PermissionError | FileNotFoundError | NotADirectoryError)
        raise AdapterError(f"csv_dropbox: {error.strerror}: {error.filename}", permanent=permanent) from None
