"""Attacks outside rounds: known failures are chosen to start from, then attacked in shards, each a job."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Self

from django.db import transaction
from django.utils import timezone
from pydantic import Field, model_validator

from engine.errors import BadInput
from webapi.models import Attack, Job, JobState, Snippet, Source, SplitName
from webapi.models.attacks import ATTACK_SHARD
from webapi.models.base import locked
from workers.attack import nearest_first, shards, totals_of
from workers.jobs import JobRun, enqueue
from workers.round_settings import AttackSettings, Part
from workers.scoring import load_classifier, score_snippets


class SeedsWanted(Part):
    """Which known failures to start from: named ones, or those the classifier rejects, nearest to its threshold."""

    snippets: tuple[uuid.UUID, ...] = Field((), max_length=10_000)
    """Named ones, in this order, whatever was said of them; none: failures by consensus, chosen as the rest says."""
    split: SplitName | None = SplitName.TRAIN
    """Null: of every split. What is found stays in its seed's."""
    source: Source | None = None
    round: uuid.UUID | None = None
    """Of this round's snippets only."""
    limit: int = Field(50, ge=1, le=100_000)
    among: int = Field(2000, ge=1, le=1_000_000)
    """How many failures, drawn at random, are scored to choose from."""


class LoneAttack(AttackSettings):
    """An attack outside rounds."""

    seeds: SeedsWanted = SeedsWanted()
    seed: int = Field(0, ge=0, le=2**31 - 1)
    """Decides what is drawn at random."""

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if len(set(self.seeds.snippets)) < len(self.seeds.snippets):
            raise ValueError("seeds: a snippet is named twice")
        return self


def choose_seeds(run: JobRun) -> dict[str, Any]:
    """Job: scores known failures, chooses the seeds and queues the shards, once however often it runs."""
    row, wanted = run.attack, SeedsWanted(**run.attack.wanted)
    named = list(wanted.snippets)
    ids = named or _failures(row, wanted)
    score_snippets(row.classifier, load_classifier(row.classifier), ids, run.progress)
    seeds = named or nearest_first(row.classifier, ids, row.threshold, rejected_only=True)[: wanted.limit]
    if not seeds:
        raise BadInput(f"no known failure among {len(ids)} is rejected by the classifier", where="seeds")
    with transaction.atomic():
        if row.start(len(seeds)):
            for shard, args in shards(row, seeds).items():
                enqueue(ATTACK_SHARD, args, attack=row.pk, shard=shard, queue="generation", created_by=row.created_by)
    return {"scored": len(ids), "seeds": len(seeds)}


def job_ended(job: Job) -> None:
    """What follows the end of an attack's job, in its transaction: the last shard ends the attack, one that failed
    ends it at once.
    """
    if job.stage_id is not None or job.attack_id is None:
        return
    row = locked(Attack.objects.filter(pk=job.attack_id)).get()  # of two that end at once, one sees the other
    if job.state == JobState.FAILED and row.fail(job.error):
        cancel_jobs(row)
    elif job.kind == ATTACK_SHARD and not row.jobs.filter(kind=ATTACK_SHARD).exclude(state=JobState.SUCCEEDED).exists():
        row.succeed(totals_of(row))


def cancel_jobs(row: Attack) -> None:
    """Takes back those that nobody has begun; one under way notices at its next heartbeat."""
    row.jobs.filter(state=JobState.QUEUED).update(state=JobState.CANCELLED, finished_at=timezone.now())


def _failures(row: Attack, wanted: SeedsWanted) -> Sequence[uuid.UUID]:
    """Ids of failures by consensus that fit, at random: in the order of their hashes."""
    rows = Snippet.objects.filter(policy=row.policy_id, consensus__choice=row.policy.rules.failure)
    if wanted.split is not None:
        rows = rows.filter(split=wanted.split)
    if wanted.source is not None:
        rows = rows.filter(source=wanted.source)
    if wanted.round is not None:
        rows = rows.filter(memberships__round=wanted.round)
    return list(rows.order_by("content_hash").values_list("pk", flat=True)[: wanted.among])
