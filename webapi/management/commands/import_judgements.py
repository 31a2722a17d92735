"""Loads a crowd's judgements (`comments.csv` and `annotations.csv` of a folder) as snippets, annotators and labels.

Run again it adds what is missing and nothing twice. Agreement among the annotators is on the agreement page afterwards.
"""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.urls import reverse

from engine.errors import EngineError
from engine.policies import load_policy
from webapi.management.one_job import run_jobs
from webapi.management.readiness import ready_database
from webapi.services.policies import policy_create
from workers.jobs import enqueue

ABOUT = __doc__ or ""  # inside the class that name is the class' own


class Command(BaseCommand):
    """`manage.py import_judgements`."""

    help = ABOUT

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
        (job,) = run_jobs([job], "Importing judgements", go_on="the same command")
        counts = job.result
        self.stdout.write(
            f"Policy {policy}: {counts['snippets']:,} snippets, {counts['annotators']:,} annotators, "
            f"{counts['labels']:,} labels."
        )
        self.stdout.write(f"Agreement: `make serve`, then http://127.0.0.1:8000{reverse('agreement')}")
