"""Reads of sweeps: how far they are, and their runs, those that miss least first."""

from __future__ import annotations

from typing import NamedTuple

from django.db.models import Count, F, Q, QuerySet

from webapi.models import RunState, Sweep, TrainingRun


class SweepProgress(NamedTuple):
    """Runs that have ended, of all; how many failed; and how far the running ones are, in runs."""

    done: int
    total: int
    failed: int
    under_way: float


def sweeps_listed() -> QuerySet[Sweep]:
    """Sweeps with what a list shows of them."""
    return Sweep.objects.select_related("policy", "round", "snapshot", "swept_from", "picked__classifier")


def sweep_progress(sweep: Sweep) -> SweepProgress:
    """Two queries."""
    ended = Q(state__in=[RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED])
    failed = Q(state=RunState.FAILED)
    found = sweep.runs.aggregate(done=Count("pk", ended), total=Count("pk"), failed=Count("pk", failed))
    running = sweep.jobs.filter(kind="training_run", state="running", total__gt=0).values_list("done", "total")
    return SweepProgress(under_way=sum(min(done / total, 1.0) for done, total in running), **found)


def runs_ranked(sweep: Sweep) -> QuerySet[TrainingRun]:
    """As they are picked: by FNR, then by log loss; those that have neither last, in their order."""
    rows = sweep.runs.select_related("artifact", "classifier")
    return rows.order_by(F("fnr").asc(nulls_last=True), F("log_loss").asc(nulls_last=True), "position")
