"""The votes that labels are: the latest answer of each annotator, where it counts."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection
from typing import NamedTuple

from engine.aggregation import Vote
from webapi.models import Label


class Voted(NamedTuple):
    """A vote, and the label that it is."""

    label: uuid.UUID
    vote: Vote


def votes_of(snippet_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, list[Voted]]:
    """The votes on each of these snippets that has any. One query."""
    labels = Label.objects.filter(snippet__in=snippet_ids, counted=True).order_by("revision", "pk")
    latest: dict[tuple[uuid.UUID, uuid.UUID], Voted] = {}
    for snippet, annotator, label, choice, staff in labels.values_list(
        "snippet_id", "annotator_id", "pk", "choice", "annotator__staff"
    ):
        latest[snippet, annotator] = Voted(label, Vote(str(annotator), choice, staff))
    votes: dict[uuid.UUID, list[Voted]] = defaultdict(list)
    for (snippet, _), voted in latest.items():
        votes[snippet].append(voted)
    return votes
