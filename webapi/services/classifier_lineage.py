"""From a classifier back to the people who labelled what it was trained on."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import pyarrow.parquet as pq

from webapi.models import Classifier, Label
from workers.artifacts import verified
from workers.jobs import chunked


class Behind(NamedTuple):
    """What stands behind a classifier's snapshot."""

    snippets: int
    choices: dict[str, int]
    """Consensus labels, by choice."""
    labels: int
    """Answers that count today, of however many annotators."""
    annotators: int
    simulated: int
    """Of the annotators."""


def labels_behind(row: Classifier) -> Behind | None:
    """Labels and annotators of the snippets it was trained on; None without a snapshot. Raises NotStored or Damaged for
    the snapshot's file. A query for every 1,000 snippets.
    """
    if row.snapshot is None:
        return None
    table = pq.read_table(verified(row.snapshot.artifact), columns=["snippet_id", "choice"])
    labels, who = 0, dict[str, bool]()
    for chunk in chunked(table["snippet_id"].to_pylist(), 1000):
        given = Label.objects.filter(snippet__in=chunk, counted=True).order_by()
        for annotator, simulated in given.values_list("annotator", "annotator__simulated"):
            labels += 1
            who[str(annotator)] = simulated
    choices = Counter(table["choice"].to_pylist())
    return Behind(table.num_rows, dict(choices.most_common()), labels, len(who), sum(who.values()))
