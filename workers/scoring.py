"""Scores kept: a classifier's logits for snippets as rows, or in bulk as Parquet; for alternates as one array."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from django.conf import settings
from numpy.typing import NDArray

from engine.classifiers import Classifier as Scorer
from engine.classifiers import load
from engine.errors import Damaged, MissingModel
from engine.progress import Progress
from engine.snippets import Snippet as SnippetText
from webapi.models import Classifier, Round, Score, ScoreShard, Snippet, SplitName
from workers import score_reading
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
        rows = [Score(classifier=row, snippet=s, logit=float(x)) for s, x in zip(snippets, logits, strict=True)]
        Score.objects.bulk_create(rows, ignore_conflicts=True)
        done += len(chunk)
    progress(len(ids), len(ids))
    return len(lacking)


def logits_of(row: Classifier, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, float]:
    """Kept logits by snippet, from rows and from shards."""
    return score_reading.logits_of(row.pk, ids)


def score_in_bulk(round_: Round, row: Classifier, shard: str, ids: Sequence[uuid.UUID], progress: Progress) -> int:
    """As `score_snippets`, but keeps all the scores in one Parquet file, which is there whole or not at all.

    What was scored before is not scored again. Returns how many it scored.
    """
    path = round_path(round_, f"scores/{row.pk}/{shard}.parquet")
    relative = path.relative_to(settings.GAUNTLET_HOME).as_posix()
    if not ids or _is_kept(ScoreShard.objects.filter(artifact__path=relative).select_related("artifact").first()):
        progress(len(ids), len(ids))
        return 0
    known = logits_of(row, ids)
    lacking = [pk for pk in ids if pk not in known]
    if lacking:
        scorer, done = load_classifier(row), len(known)
        for chunk in chunked(lacking, CHUNK):
            progress(done, len(ids))
            snippets = list(Snippet.objects.filter(pk__in=chunk))
            logits = scorer.logits([snippet.text for snippet in snippets])
            known |= {snippet.pk: float(logit) for snippet, logit in zip(snippets, logits, strict=True)}
            done += len(chunk)
    _keep(path, row, sorted(ids), known)
    progress(len(ids), len(ids))
    return len(lacking)


def _is_kept(shard: ScoreShard | None) -> bool:
    """Whether the shard's file is as it was written; where it is not, it is forgotten."""
    if shard is None:
        return False
    try:
        verified(shard.artifact)
    except (Damaged, NotStored):
        shard.delete()
        return False
    return True


def _keep(path: Path, row: Classifier, ids: Sequence[uuid.UUID], logits: dict[uuid.UUID, float]) -> None:
    columns = {"key": [pk.bytes for pk in ids], "logit": [logits[pk] for pk in ids]}
    with writing(path) as temporary:
        pq.write_table(pa.table(columns, schema=score_reading.SCHEMA), temporary)
    about = {"classifier": row, "count": len(ids), "first": ids[0], "last": ids[-1]}
    ScoreShard.objects.update_or_create(artifact=register(path, "scores"), defaults=about)


def keep_rows(row: Classifier, ids: Sequence[uuid.UUID]) -> None:
    """Gives the snippets rows of the scores they have: people will look at them one by one."""
    for chunk in chunked(ids, CHUNK):
        rows = [Score(classifier=row, snippet_id=pk, logit=logit) for pk, logit in logits_of(row, chunk).items()]
        Score.objects.bulk_create(rows, ignore_conflicts=True)


def alternate_logits(
    round_: Round, row: Classifier, scorer: Scorer, split: SplitName, progress: Progress
) -> NDArray[np.float32]:
    """Logits of a split's alternates, in the file's order, float32 (n,). An empty completion counts as rejected.

    Kept in the store, so that a job run again does not score again.
    """
    path = _alternate_logits_path(round_, row, split)
    if path.exists():
        return np.load(path, allow_pickle=False)  # type: ignore[no-any-return]
    logits = score_alternates(round_, scorer, split, progress)
    with writing(path) as temporary:
        np.save(temporary, logits)
    register(path, "logits")
    return logits


def kept_alternate_logits(round_: Round, row: Classifier, split: SplitName, progress: Progress) -> NDArray[np.float32]:
    """As `alternate_logits`; the classifier is loaded only where its logits are not kept."""
    path = _alternate_logits_path(round_, row, split)
    if path.exists():
        return np.load(path, allow_pickle=False)  # type: ignore[no-any-return]
    return alternate_logits(round_, row, load_classifier(row), split, progress)


def _alternate_logits_path(round_: Round, row: Classifier, split: SplitName) -> Path:
    name = row.condition if row.round_id == round_.pk else str(row.pk)
    return at_hand(round_path(round_, f"logits/{name}-{split.value}.npy"))


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
