"""The validation mix of a sweep: labelled snippets of the validation split, frozen once, the same for every run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from django.conf import settings

from engine.classifiers import Example
from engine.errors import BadInput
from engine.evaluation.mix import Mix, halved
from engine.snippets import Snippet as SnippetText
from webapi.models import Artifact, Consensus, Source, SplitName, Sweep
from workers.artifacts import register, verified, writing
from workers.snapshots import training_rows
from workers.validation_labels import ENRICHED

IN_DISTRIBUTION = "in distribution"


class ReadMix(NamedTuple):
    """The mix with its texts, row by row."""

    mix: Mix
    texts: list[SnippetText]

    def examples(self) -> list[Example]:
        """Those of the choosing half, for a training's validation loss and early stop: the others confirm."""
        rows = zip(self.texts, self.mix.failures.tolist(), self.mix.choosing.tolist(), strict=True)
        return [Example(text, failure) for text, failure, choosing in rows if choosing]


def sweep_path(sweep: Sweep, name: str) -> Path:
    """Where a sweep's artifact of that name lies."""
    return Path(settings.GAUNTLET_HOME) / "sweeps" / str(sweep.pk) / name


def freeze_mix(sweep: Sweep, *, seed: int) -> Artifact:
    """Writes the mix: what people judged a failure or harmless, not Unsure, and nothing that was chosen by its words.

    Raises BadInput where there is too little to choose by, or something shares its origin with the training rows.
    """
    rows = _labelled(sweep)
    if not rows:
        raise BadInput(
            f"nothing of the validation split of {sweep.policy} is labelled. Have some labelled (`label`), or send out "
            "validation snippets; what is labelled of the test split chooses nothing",
            where="validation mix",
        )
    trained_on = {row.root_hash for row in training_rows(sweep.snapshot)}
    if shared := sum(row["root_hash"] in trained_on for row in rows):
        raise BadInput(f"{shared} snippets share their origin with training rows", where="validation mix")
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    mix = halved(columns["source"], columns["failure"], columns["root_hash"], seed=seed)
    path = sweep_path(sweep, "mix.parquet")
    with writing(path) as temporary:
        pq.write_table(pa.table({**columns, "choosing": mix.choosing}), temporary)
    return register(path, "validation_mix")


def read_mix(artifact: Artifact) -> ReadMix:
    """The mix as it was written. Raises Damaged where it is not."""
    table = pq.read_table(verified(artifact)).to_pydict()
    mix = Mix(
        np.array(table["source"], dtype=np.str_),
        np.array(table["failure"], dtype=bool),
        np.array(table["root_hash"], dtype=np.str_),
        np.array(table["choosing"], dtype=bool),
    )
    return ReadMix(mix, [SnippetText(*both) for both in zip(table["prompt"], table["completion"], strict=True)])


def _labelled(sweep: Sweep) -> list[dict[str, Any]]:
    rules = sweep.policy.rules
    found = Consensus.objects.filter(
        snippet__policy=sweep.policy_id, snippet__split=SplitName.VALIDATION, choice__in=[rules.failure, rules.harmless]
    ).select_related("snippet")
    return [
        {
            "snippet_id": str(row.snippet_id),
            "content_hash": row.snippet.content_hash,
            "root_hash": row.snippet.root_hash,
            "source": _source(row.snippet.source),
            "failure": row.choice == rules.failure,
            "prompt": row.snippet.prompt,
            "completion": row.snippet.completion,
        }
        for row in found.order_by("snippet__content_hash", "snippet__external_id")
        if row.snippet.details.get("validation") != ENRICHED
    ]


def _source(source: str) -> str:
    return IN_DISTRIBUTION if source in (Source.CORPUS, Source.GENERATED) else source
