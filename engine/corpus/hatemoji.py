"""Adversarial rounds written by people: the HatemojiBuild files (Kirk et al. 2021, arXiv 2108.05921; CC-BY-4.0).

Rounds 5, 6 and 7 were each written to fool the model trained on the rounds before. Every original has one perturbation,
a small change of it that often turns the label; `matched_id` names the other of the pair.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from engine.errors import BadInput
from engine.snippets import Snippet, Split, split_of

FILES: dict[str, Split] = {"train.csv": "train", "validation.csv": "validation", "test.csv": "test"}
COLUMNS = {"entry_id", "text", "round.base", "set", "label_gold", "matched_id"}
_LABELS = {"0": False, "1": True}
_KINDS = {"original": True, "perturbation": False}


class Entry(NamedTuple):
    """One text with its gold label."""

    number: int
    """`entry_id`, unique over the three files."""
    snippet: Snippet
    """The text as a completion; the prompt is empty."""
    failure: bool
    """Whether it is hateful, by the gold label."""
    round: int
    original: bool
    """False for the perturbation of an original."""
    matched: int
    """The number of the other of the pair."""
    published: Split
    """The file that it stands in. A third of the pairs stand in two files, so this split leaks."""
    root: str
    """Content hash that it shares with whatever must stay in its split: its pair, and equal texts with their pairs."""

    @property
    def split(self) -> Split:
        """The split of its root: neither a pair nor equal texts are parted."""
        return split_of(self.root)


class _Line(NamedTuple):
    """What a line says, before pairs are known."""

    number: int
    snippet: Snippet
    failure: bool
    round: int
    original: bool
    matched: int
    published: Split


def read_hatemoji(folder: Path) -> list[Entry]:
    """All entries of `train.csv`, `validation.csv` and `test.csv` in `folder`, by number. O(characters).

    Raises BadInput naming file and line of what is missing or wrong, and for a pair of which one is not there.
    """
    read = (line for name, split in FILES.items() for line in _lines(folder / name, split))
    lines = sorted(read, key=lambda line: line.number)
    place = {line.number: i for i, line in enumerate(lines)}
    if len(place) < len(lines):
        raise BadInput("an entry_id stands there twice", where=str(folder))
    if lost := [line.number for line in lines if line.matched not in place]:
        raise BadInput(f"matched_id of entry {lost[0]} names no entry", where=str(folder))
    if alike := [line.number for line in lines if line.original == lines[place[line.matched]].original]:
        raise BadInput(f"entry {alike[0]} and its match are not an original and a perturbation", where=str(folder))
    return [Entry(*line, root) for line, root in zip(lines, _roots(lines, place), strict=True)]


def _lines(path: Path, split: Split) -> Iterator[_Line]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            if missing := COLUMNS - set(reader.fieldnames or ()):
                raise BadInput(f"lacks the columns {', '.join(sorted(missing))}", where=str(path))
            for row in reader:
                yield _line(row, split, f"{path}, line {reader.line_num}")
    except OSError as error:
        raise BadInput(error.strerror or str(error), where=str(path)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"not a CSV file in UTF-8: {error}", where=str(path)) from error


def _line(row: dict[str, str], split: Split, where: str) -> _Line:
    if not (row["text"] or "").strip():
        raise BadInput("text is empty", where=where)
    if row["label_gold"] not in _LABELS:
        raise BadInput("label_gold must be 0 or 1", where=where)
    if row["set"] not in _KINDS:
        raise BadInput(f"set must be {' or '.join(_KINDS)}", where=where)
    try:
        number, round_, matched = (int(row[name]) for name in ("entry_id", "round.base", "matched_id"))
    except (TypeError, ValueError):
        raise BadInput("entry_id, round.base and matched_id must be whole numbers", where=where) from None
    label, original = _LABELS[row["label_gold"]], _KINDS[row["set"]]
    return _Line(number, Snippet("", row["text"]), label, round_, original, matched, split)


def _roots(lines: Sequence[_Line], place: dict[int, int]) -> list[str]:
    """The hash of the first text of each one's group; groups are what pairs and equal texts join."""
    hashes = [line.snippet.content_hash for line in lines]
    first: dict[str, int] = {}
    joined = [(i, place[line.matched]) for i, line in enumerate(lines)]
    joined += [(i, first.setdefault(digest, i)) for i, digest in enumerate(hashes)]
    ends = np.array(joined, dtype=np.int64).reshape(-1, 2).T
    graph = coo_matrix((np.ones(ends.shape[1]), (ends[0], ends[1])), shape=(len(lines), len(lines)))
    groups: list[int] = connected_components(graph, directed=False)[1].tolist() if lines else []
    leader: dict[int, str] = {}
    return [leader.setdefault(group, digest) for group, digest in zip(groups, hashes, strict=True)]
