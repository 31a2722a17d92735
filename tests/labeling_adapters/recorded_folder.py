"""A crowd's answers on disk, to the texts of the contract suite."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.labeling_adapters.harness import InHouseHarness


def write_answers(folder: Path, answers: dict[str, str]) -> Path:
    """By comment, one letter an answer: y, n, u; the first worker's first."""
    boxes = {"y": ("False", "False"), "n": ("False", "True"), "u": ("True", "True")}
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "comments.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["comment_id", "comment_text"])
        writer.writerows([str(number), text] for number, text in enumerate(answers))
    with (folder / "annotations.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["annotation", "comment_id", "worker", "country", "all toxic", "not toxic"])
        number = 0
        for comment, given in enumerate(answers.values()):
            for worker, letter in enumerate(given):
                writer.writerow([number, comment, f"w{worker}", "X", *boxes[letter]])
                number += 1
    return folder


class RecordedHarness(InHouseHarness):
    """A crowd that judged the suite's texts."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from tests.labeling_adapters.test_contract import COMPLETIONS, PROMPT  # which imports this

        answers = {f"{PROMPT} {text}": "yynu" for text in COMPLETIONS}
        self.config = {"folder": str(write_answers(folder / "crowd", answers))}
