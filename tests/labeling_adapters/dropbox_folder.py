"""The folder of a vendor who works by e-mail, and the people there, who send one file back for each answer."""

from __future__ import annotations

import csv
import itertools
import os
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
        rows = [row for path in sorted((self.folder / "out").glob("*.csv")) for row in read(path)]
        return [row["task"] for row in rows]

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
