"""Real text with labels for benchmarks of training and choosing: toxic_spans by its crowd, hatemoji_build by round.

toxic_spans is CC0 (ipavlopoulos/toxic_spans), hatemoji_build CC-BY-4.0 (HannahKirk/Hatemoji). The text is offensive:
benchmarks count it and never print it.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.aggregation import RULES, Vote, vote_table
from engine.policies import load_policy
from engine.snippets import Snippet, Split, split_of

ROUNDS = (5, 6, 7)
"""Of hatemoji_build; each was written by people to fool the model of the round before."""
CHOICE = {("False", "False"): "Yes", ("True", "False"): "Yes", ("False", "True"): "No", ("True", "True"): "Unsure"}
"""By the boxes `all toxic` and `not toxic`, as the job `import_judgements` reads them."""


class Text(NamedTuple):
    """A labelled text; whatever descends from one root is in one split."""

    text: str
    positive: bool
    split: Split
    round: int | None = None


def toxic_spans(data: Path) -> list[Text]:
    """Comments by the consensus of their annotators, after the rule of the policy `toxic`, in the file's order.

    Positive is who has the consensus `Yes`. Training takes `Unsure` as positive too; but this crowd was given comments
    flagged before, and of 16,100 it says `Yes` to 11,629, `Unsure` to 4,445 and `No` to 26: so much for a second class.
    Of an annotator who judged a comment several times the last answer counts.
    """
    folder = data / "judgements" / "toxic_spans"
    votes: dict[str, dict[str, str]] = {}
    for row in _rows(folder / "annotations.csv"):
        choice = CHOICE[row["all toxic"], row["not toxic"]]
        votes.setdefault(row["comment_id"], {})[row["worker"]] = choice
    policy = load_policy("toxic")
    by_comment = {key: [Vote(worker, choice) for worker, choice in mine.items()] for key, mine in votes.items()}
    codes = RULES[policy.aggregation].many(vote_table(by_comment, policy.choices)).codes
    positive = {key: policy.choices[code] == "Yes" for key, code in zip(by_comment, codes, strict=True)}
    comments = [(row["comment_text"], row["comment_id"]) for row in _rows(folder / "comments.csv")]
    return unrepeated(
        Text(text, positive[key], split_of(Snippet("", text).content_hash))
        for text, key in comments
        if key in positive and text.strip()
    )


def hatemoji(data: Path) -> list[Text]:
    """Rounds 5 to 7, oldest first. The file's own splits part a third of the originals from their perturbations, which
    differ in a word or an emoji; here both are in the split of the original's text."""
    folder = data / "rounds" / "hatemoji_build"
    rows = [row for name in ("train", "validation", "test") for row in _rows(folder / f"{name}.csv")]
    rows.sort(key=lambda row: (int(row["round.base"]), int(row["entry_id"])))
    roots = root_texts(rows)
    return unrepeated(
        Text(
            row["text"],
            row["label_gold"] == "1",
            split_of(Snippet("", roots[row["entry_id"]]).content_hash),
            int(row["round.base"]),
        )
        for row in rows
    )


def root_texts(rows: Sequence[dict[str, str]]) -> dict[str, str]:
    """By entry: the text of its pair's original; of two originals or two perturbations, the lower number's."""
    by_id = {row["entry_id"]: row for row in rows}
    roots = {}
    for row in rows:
        pair = [row, by_id[row["matched_id"]]] if row["matched_id"] in by_id else [row]
        first = min(pair, key=lambda one: (one["set"] != "original", int(one["entry_id"])))
        roots[row["entry_id"]] = first["text"]
    return roots


def unrepeated(texts: Iterable[Text]) -> list[Text]:
    """Each text once, the first of those alike but for case and blanks."""
    seen: dict[str, Text] = {}
    for one in texts:
        seen.setdefault(" ".join(one.text.lower().split()), one)
    return list(seen.values())


def embedded(texts: Sequence[str], folder: Path) -> NDArray[np.float32]:
    """(n, 384) MiniLM's unit vectors, computed once and then read from the folder."""
    digest = hashlib.sha256("\0".join(("minilm", *texts)).encode()).hexdigest()[:16]
    path = folder / f"embeddings-{digest}.npy"
    if not path.exists():
        import torch

        from engine.embeddings import SentenceEncoder

        torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
        folder.mkdir(parents=True, exist_ok=True)
        vectors = SentenceEncoder().encode(texts)
        with (half := path.with_suffix(".half")).open("wb") as stream:
            np.save(stream, vectors)
        half.replace(path)
    vectors = np.load(path)
    return np.asarray(vectors, dtype=np.float32)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        yield from csv.DictReader(stream)
