"""Scores kept: a classifier's logits for snippets as rows, for alternates as one array beside the Parquet file."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engine.classifiers import Classifier as Scorer
from engine.classifiers import load
from engine.errors import MissingModel
from engine.progress import Progress
from engine.snippets import Snippet as SnippetText
from webapi.models import Classifier, Round, Score, Snippet, SplitName
from workers.artifacts import at_hand, register, round_path, verified, writing
from workers.generate import alternates_path
from workers.jobs import chunked
from workers.store import NotStored

CHUNK = 256
REJECTED = 1e4
"""The logit of an empty completion: above every threshold, yet finite."""


def weights_of(row: Classifier) -> Path:
    """The folder of the classifier's weights, as they were written. Raises MissingModel, or Damaged."""
    try:
        if row.artifact is not None:
            return verified(row.artifact)
    except NotStored as error:
        raise _missing(row) from error
    raise _missing(row)


def _missing(row: Classifier) -> MissingModel:
    return MissingModel(f"the weights of classifier {row} are not in the store; train it again")


def load_classifier(row: Classifier) -> Scorer:
    """The classifier, ready to score at the precision it is deployed at. Raises MissingModel, or Damaged."""
    return load(weights_of(row), precision=row.precision)


def threshold_of(row: Classifier) -> float:
    """The classifier's threshold, in [0, 1]. Raises ValueError before it is calibrated."""
    if row.threshold is None:
        raise ValueError(f"classifier {row} has no threshold")
    return row.threshold


def score_snippets(row: Classifier, scorer: Scorer, ids: Sequence[uuid.UUID], progress: Progress) -> int:
    """Scores the snippets that have no score by this classifier yet, chunk by chunk. Returns how many it scored."""
    have = logits_of(row, ids)
    lacking = [pk for pk in ids if pk not in have]
    done = len(have)
    for chunk in chunked(lacking, CHUNK):
        progress(done, len(ids))
        snippets = list(Snippet.objects.filter(pk__in=chunk))
        logits = scorer.logits([snippet.text for snippet in snippets])
        scores = [Score(classifier=row, snippet=s, logit=float(x)) for s, x in zip(snippets, logits, strict=True)]
        Score.objects.bulk_create(scores, ignore_conflicts=True)
        done += len(chunk)
    progress(len(ids), len(ids))
    return len(lacking)


def logits_of(row: Classifier, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, float]:
    """Kept logits by snippet."""
    known: dict[uuid.UUID, float] = {}
    for chunk in chunked(ids, 1000):
        known |= dict(Score.objects.filter(classifier=row, snippet__in=chunk).values_list("snippet", "logit"))
    return known


def alternate_logits(
    round_: Round, row: Classifier, scorer: Scorer, split: SplitName, progress: Progress
) -> NDArray[np.float32]:
    """Logits of a split's alternates, in the file's order, float32 (n,). An empty completion counts as rejected.

    Kept in the store, so that a job run again does not score again.
    """
    name = row.condition if row.round_id == round_.pk else str(row.pk)
    path = at_hand(round_path(round_, f"logits/{name}-{split.value}.npy"))
    if path.exists():
        return np.load(path, allow_pickle=False)  # type: ignore[no-any-return]
    logits = score_alternates(round_, scorer, split, progress)
    with writing(path) as temporary:
        np.save(temporary, logits)
    register(path, "logits")
    return logits


def score_alternates(round_: Round, scorer: Scorer, split: SplitName, progress: Progress) -> NDArray[np.float32]:
    """As `alternate_logits`, by a classifier that may have no row, and kept nowhere."""
    table = pq.read_table(at_hand(alternates_path(round_, split)), columns=["prompt", "completion"]).to_pydict()
    texts = [SnippetText(p, c) for p, c in zip(table["prompt"], table["completion"], strict=True)]
    spoken = np.array([bool(text.completion) for text in texts])
    logits = np.full(len(texts), REJECTED, dtype=np.float32)
    logits[spoken] = scorer.logits([t for t, keep in zip(texts, spoken, strict=True) if keep], progress=progress)
    return logits


def alternate_prompts(round_: Round, split: SplitName) -> list[str]:
    """The prompt id of each alternate, in the file's order."""
    path = at_hand(alternates_path(round_, split))
    column: list[str] = pq.read_table(path, columns=["prompt_id"])["prompt_id"].to_pylist()
    return column
