"""A worker of a distributed set-up: takes jobs from the broker, one at a time. Start as many as there is room for."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from webapi.management.readiness import ready_broker, ready_database
from workers.app import PREFIX, QUEUES

ABOUT = __doc__ or ""  # inside the class that name is the class' own


class Command(BaseCommand):
    """`manage.py worker`."""

    help = ABOUT

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options."""
        parser.add_argument(
            "--queues", default=",".join(QUEUES), help=f"comma-separated, of {', '.join(QUEUES)} (default: all)"
        )
        parser.add_argument(
            "--concurrency", type=int, default=1, help="processes; torch has threads of its own (default: 1)"
        )
        parser.add_argument("--loglevel", default="INFO", help="DEBUG, INFO, WARNING or ERROR (default: INFO)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Becomes the Celery worker: signals go straight to it."""
        queues = [queue.strip() for queue in options["queues"].split(",")]
        if unknown := sorted(set(queues) - set(QUEUES)):
            raise CommandError(f"unknown queue {', '.join(unknown)}; known: {', '.join(QUEUES)}")
        ready_broker()
        ready_database()
        command = [sys.executable, "-m", "celery", "--app", "workers.app", "worker"]
        command += ["--queues", ",".join(f"{PREFIX}.{queue}" for queue in queues)]
        command += ["--concurrency", str(options["concurrency"]), "--loglevel", options["loglevel"]]
        # Two nodes of one name on a machine would be refused by the broker.
        command += ["--hostname", f"{PREFIX}-{os.getpid()}@%h"]
        path = [str(settings.BASE_DIR), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, path))  # wherever the command was called from
        os.execv(sys.executable, [*command, "--without-gossip", "--without-mingle"])  # noqa: S606
