"""What vendors answer becomes labels: whatever they send is data, and the good is taken whatever the rest is."""

from __future__ import annotations

import logging
import math
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from django.db import transaction
from django.db.models import F

from labeling_adapters.base import IncomingLabel, LabelingAdapter, RefusedLabel
from webapi.models import Annotator, Batch, Label, Task, TaskState
from workers.record import Answer, Recorded, record_labels

logger = logging.getLogger(__name__)
SHOWN = 3
"""Refusals that a log line repeats."""
NAME_CHARS = 200
"""Longest name of an annotator, and of an answer, that is kept."""


class Taken(NamedTuple):
    """What became of a vendor's answers: how many by outcome, and those that were not taken, by their place."""

    counts: dict[str, int]
    refused: dict[int, RefusedLabel]


def take(batch: Batch, labels: Iterable[IncomingLabel | RefusedLabel], adapter: LabelingAdapter) -> Taken:
    """Records a vendor's answers to this batch's tasks. What a vendor sends is data: what is none of this batch's, or
    cannot be kept, is left out and logged, and so is what is no choice of the policy."""
    given = list(labels)
    known = batch.tasks.filter(pk__in=_keys(given)).values_list("pk", flat=True)
    mine = {str(pk) for pk in known}
    looked_at = [_fit(one, mine) for one in given]
    good = [one for one in looked_at if isinstance(one, IncomingLabel)]
    refused = {place: one for place, one in enumerate(looked_at) if isinstance(one, RefusedLabel)}
    counts: Counter[str] = Counter(one.outcome for one in _recorded(answers_from(good, adapter)))
    if refused:
        counts["refused"] = len(refused)
    if refused or counts["unknown_choice"]:
        reasons = "; ".join(sorted({one.reason for one in refused.values()})[:SHOWN])
        logger.warning("%s, batch %s: not all answers could be taken: %s %s", adapter.name, batch.pk, +counts, reasons)
    return Taken(dict(+counts), refused)


def _recorded(answers: Sequence[Answer]) -> list[Recorded]:
    """Records answers. For one that does not count (its annotator is paused) the vendor is to be asked once more."""
    with transaction.atomic():
        recorded = record_labels(answers)
        surplus = Label.objects.filter(
            pk__in=[one.label_id for one in recorded if one.outcome == "surplus"], revision=0
        )
        lost = Counter(surplus.values_list("task_id", flat=True))
        for task_id, answers_lost in lost.items():
            short = Task.objects.filter(pk=task_id, state=TaskState.OPEN, asked_for__gte=answers_lost)
            short.update(asked_for=F("asked_for") - answers_lost)
    return recorded


def answers_from(incoming: Sequence[IncomingLabel], adapter: LabelingAdapter) -> list[Answer]:
    """A vendor's answers as ours; annotators whom we did not know are added under the vendor's own ids."""
    names = {label.annotator for label in incoming}
    known = Annotator.objects.filter(vendor=adapter.name, external_id__in=names)
    missing = names - set(known.values_list("external_id", flat=True))
    Annotator.objects.bulk_create(
        [Annotator(vendor=adapter.name, external_id=n, name=n, simulated=adapter.simulated) for n in sorted(missing)],
        ignore_conflicts=True,
    )
    ids = dict(known.all().values_list("external_id", "pk"))
    return [
        Answer(
            uuid.UUID(label.task_id),
            ids[label.annotator],
            label.choice,
            label.seconds,
            label.note,
            label.external_id,
        )
        for label in incoming
    ]


def _fit(label: IncomingLabel | RefusedLabel, tasks: set[str]) -> IncomingLabel | RefusedLabel:
    """The label, or why it cannot be kept: one that the database refuses would take those beside it along."""
    if isinstance(label, RefusedLabel):
        return label
    named = {"annotator": label.annotator, "id": label.external_id}
    texts = {**named, "note": label.note}
    if label.task_id not in tasks:
        reason = "task: none of this batch"
    elif not label.annotator:
        reason = "annotator: nobody is named"
    elif long := next((name for name, text in named.items() if len(text) > NAME_CHARS), ""):
        reason = f"{long}: longer than {NAME_CHARS} characters"
    elif broken := next((name for name, text in texts.items() if not _is_text(text)), ""):
        reason = f"{broken}: holds a null character or half a surrogate pair"
    elif label.seconds is not None and not math.isfinite(label.seconds):
        reason = "seconds: not a number of seconds"
    else:
        return label
    return RefusedLabel(label.task_id, reason)


def _is_text(text: str) -> bool:
    """Whether a database can keep it."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _keys(labels: Iterable[IncomingLabel | RefusedLabel]) -> set[uuid.UUID]:
    """The task keys that are keys at all."""
    keys = set()
    for label in labels:
        try:
            keys.add(uuid.UUID(label.task_id))
        except ValueError:
            continue
    return keys
