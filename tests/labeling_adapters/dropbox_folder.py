"""The folder of a vendor who works by e-mail, and the people there, who send one file back for each answer."""

from __future__ import annotations

import csv
import itertools
import os
import re
from pathlib import Path

from tests.labeling_adapters.harness import Harness


class DropboxHarness(Harness):
    """People see what is in `out`, and nothing else."""

    sends = True
    steps = ((os, "replace"),)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.config = {"folder": str(folder), "settle_seconds": 0}
        self.numbers = itertools.count(1)

    def holds(self) -> list[str]:
        return [row["task"] for row in self.rows() if "answer_number" not in row]

    def rows(self) -> list[dict[str, str]]:
        return [row for path in sorted((self.folder / "out").glob("*.csv")) for row in read(path)]

    def further(self, task_id: str) -> list[dict[str, str]]:
        """Rows that ask for more, in the order of their answers' numbers."""
        rows = [row for row in self.rows() if row["task"] == task_id and "answer_number" in row]
        return sorted(rows, key=lambda row: int(row["answer_number"]))

    def wants(self, task_id: str) -> int:
        (text,) = (path.read_text() for path in (self.folder / "out").glob("*.txt") if "problems" not in path.name)
        found = re.search(r"(\d+) different people answer each row", text)
        assert found
        return int(found[1]) + len(self.further(task_id))

    def keeps_out(self, task_id: str) -> set[str]:
        return set(self.further(task_id)[-1]["not_by"].split("; "))

    def batches(self) -> int:
        return len([path for path in (self.folder / "out").glob("*.txt") if "problems" not in path.name])

    def received(self) -> bytes:
        files = sorted(path for path in (self.folder / "out").iterdir() if path.is_file())
        return b"\n".join(path.name.encode() + b"\n" + path.read_bytes() for path in files)

    def answer(self, task_id: str, annotator: str, choice: str) -> None:
        assert task_id in self.holds()
        text = f"task,annotator,choice\r\n{task_id},{annotator},{choice}\r\n"
        (self.folder / "in" / f"answer-{next(self.numbers):02d}.csv").write_text(text, encoding="utf-8", newline="")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))
