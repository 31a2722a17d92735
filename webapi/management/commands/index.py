"""Embeds a policy's snippets, or says how far that is.

`manage.py index POLICY` embeds what is in no shard of the policy's index and, from then on, what arrives (a worker
looks each minute). Stopped at any moment it goes on where it was. `--rebuild` makes the index anew, by another
`--encoder` if one is named, while the current one serves.
"""

from __future__ import annotations

import threading
import time
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.models import QuerySet

from engine.errors import EngineError
from webapi.management.progress import watch_job
from webapi.management.readiness import ready_database
from webapi.models import EmbeddingIndex, IndexState, Job, JobState, Policy
from webapi.selectors.indexes import IndexStatus, index_status, indexes_listed
from workers.execute import execute
from workers.index_refresh import EMBED, REFRESH, UNFINISHED, index_rebuild, index_refresh, index_verify
from workers.sweep import abandoned_jobs, due_jobs, stop_now

ABOUT = __doc__ or ""  # inside the class that name is the class' own


class Command(BaseCommand):
    """`manage.py index`."""

    help = ABOUT

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options."""
        parser.add_argument("policy", nargs="?", help="name of a policy (default: all, with --status)")
        parser.add_argument("--status", action="store_true", help="say how far it is and do nothing")
        parser.add_argument("--verify", action="store_true", help="read every file first; make anew what is damaged")
        parser.add_argument("--rebuild", action="store_true", help="make the index anew and then put it in its place")
        parser.add_argument("--encoder", help="with --rebuild: a sentence encoder's name or folder")

    def handle(self, *args: Any, **options: Any) -> None:
        """Queues the job, waits for it, and says where the index stands."""
        ready_database()
        if options["encoder"] and not options["rebuild"]:
            raise CommandError("an index keeps to its encoder; another needs --rebuild")
        policies = _policies(options["policy"])
        if not options["status"]:
            if len(policies) != 1:
                raise CommandError("name one policy")
            self._refresh(policies[0], options)
        rows = list(indexes_listed().filter(policy__in=policies).order_by("policy__name", "state"))
        for row in rows:
            self.stdout.write(_line(index_status(row)))
        if not rows:
            self.stdout.write("No index yet: `manage.py index POLICY` makes one.")

    def _refresh(self, policy: Policy, options: dict[str, Any]) -> None:
        for index in EmbeddingIndex.objects.filter(policy=policy) if options["verify"] else ():
            for broken in index_verify(index):
                self.stdout.write(f"Damaged, and made again: {broken}.")
        try:
            job = index_rebuild(policy, options["encoder"]) if options["rebuild"] else index_refresh(policy)
        except EngineError as error:
            raise CommandError(str(error)) from error
        if settings.EMBEDDED:
            threading.Thread(target=_run, args=(job,), daemon=True).start()
        try:
            job = watch_job(job, f"Embedding {policy}")
        except KeyboardInterrupt:
            stop_now()
            raise CommandError("stopped; the same command goes on where it was", returncode=130) from None
        if job.state != JobState.SUCCEEDED:
            raise CommandError(f"{job.error or f'the job was {job.state}'}{_way_out(policy)}")


def _way_out(policy: Policy) -> str:
    """What to do about an index that could not be built, if it is one that was to take another's place."""
    building = EmbeddingIndex.objects.filter(policy=policy, state=IndexState.BUILDING).first()
    if building is None:
        return ""
    return (
        f"\nThe index before stays in use. This command goes on building by {building.encoder}; to build by another "
        f'encoder: manage.py index "{policy}" --rebuild --encoder NAME'
    )


def _policies(name: str | None) -> list[Policy]:
    """The newest version of the policy, or all. Raises CommandError."""
    if name is None:
        return list(Policy.objects.all())
    named, _, version = name.partition(" v")
    found = Policy.objects.filter(name=named).order_by("-version")
    row = (found.filter(version=version) if version.isdigit() else found).first()
    if row is None:
        known = ", ".join(sorted(set(Policy.objects.values_list("name", flat=True)))) or "none"
        raise CommandError(f"no policy {name!r}; there are: {known}")
    return [row]


def _line(status: IndexStatus) -> str:
    index = status.row
    version = f"{index.version[:8]} {index.precision}" if index.version else "not loaded yet"
    return (
        f"{index.policy} ({index.state}): {status.rows:,} snippets in {status.shards:,} shards, "
        f"{status.size / 1e6:,.1f} MB, by {index.encoder} ({version}); {status.planned:,} planned, "
        f"{status.pending:,} in no shard."
    )


def _first(jobs: QuerySet[Job]) -> UUID | None:
    return jobs.filter(kind__in=[REFRESH, EMBED]).values_list("pk", flat=True).first()


def _run(job: Job) -> None:
    """This job and those it plans, and no other: a round that waits for a worker is not this command's business."""
    try:
        while Job.objects.filter(pk=job.pk, state__in=UNFINISHED).exists():
            due = _first(due_jobs()) or _first(abandoned_jobs())
            if due is None or not execute(due):
                time.sleep(0.2)
    finally:
        connection.close()
