"""Loads a crowd's judgements (`comments.csv` and `annotations.csv` of a folder) as snippets, annotators and labels.

Run again it adds what is missing and nothing twice. Agreement among the annotators is on the agreement page afterwards.
"""

from __future__ import annotations

import threading
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.urls import reverse

from engine.errors import EngineError
from engine.policies import load_policy
from webapi.management.progress import watch_job
from webapi.management.readiness import ready_database
from webapi.models import Job, JobState
from webapi.services.policies import policy_create
from workers.execute import execute
from workers.jobs import enqueue
from workers.sweep import stop_now


class Command(BaseCommand):
    """`manage.py import_judgements`."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options."""
        parser.add_argument("path", type=Path, metavar="DIR", help="folder with comments.csv and annotations.csv")
        parser.add_argument(
            "--policy", default="toxic", metavar="FILE", help="policy name or TOML file (default: toxic)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Queues the job, waits for it and prints what it counted."""
        if not options["path"].is_dir():
            raise CommandError(f"{options['path']}: no such folder")
        ready_database()
        try:
            policy = policy_create(spec=load_policy(options["policy"]))
        except EngineError as error:
            raise CommandError(str(error)) from error
        job = enqueue("import_judgements", {"path": str(options["path"].resolve()), "policy": str(policy.pk)})
        if settings.EMBEDDED:
            threading.Thread(target=_run, args=(job,), daemon=True).start()
        try:
            job = watch_job(job, "Importing judgements")
        except KeyboardInterrupt:
            stop_now()
            raise CommandError("stopped; the same command goes on where it was", returncode=130) from None
        if job.state != JobState.SUCCEEDED:
            raise CommandError(job.error or f"the job was {job.state}")
        counts = job.result
        self.stdout.write(
            f"Policy {policy}: {counts['snippets']:,} snippets, {counts['annotators']:,} annotators, "
            f"{counts['labels']:,} labels."
        )
        self.stdout.write(f"Agreement: `make serve`, then http://127.0.0.1:8000{reverse('agreement')}")


def _run(job: Job) -> None:
    """This job and no other: a round that waits for a worker is not this command's business."""
    try:
        while Job.objects.filter(pk=job.pk, state__in=[JobState.QUEUED, JobState.RUNNING]).exists():
            if not execute(job.pk):
                time.sleep(1)  # another process has it, or it rests before another try
    finally:
        connection.close()
