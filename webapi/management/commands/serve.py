"""Serves the pages and the API. Without a broker the jobs run here too, on a thread: nothing else to start."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import warnings
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from gunicorn.app.base import BaseApplication

from webapi.management.readiness import ready_database
from webapi.models import Role, User

ABOUT = __doc__ or ""  # inside the class that name is the class' own


class Command(BaseCommand):
    """`manage.py serve`."""

    help = ABOUT

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options."""
        parser.add_argument("--bind", default="127.0.0.1", metavar="ADDRESS", help="address (default: 127.0.0.1)")
        parser.add_argument("--port", type=int, default=8000, help="port (default: 8000)")
        parser.add_argument(
            "--threads", type=int, default=16, help="requests at once; each open event stream takes one (default: 16)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Serves until it is stopped."""
        bind, port = options["bind"], options["port"]
        _refuse_taken(bind, port)
        ready_database()
        if settings.EMBEDDED:
            self._first_admin()
        connections.close_all()  # the serving process is a fork
        warnings.filterwarnings("ignore", "No directory at")  # static files are found where they lie, not collected
        self.stdout.write(f"Gauntlet: http://{bind}:{port}/  (API docs: /api/docs/; Ctrl-C stops it)")
        _Server({"bind": f"{bind}:{port}", "threads": options["threads"]}).run()

    def _first_admin(self) -> None:
        if User.objects.exists():
            return
        password = secrets.token_urlsafe(12)
        User.objects.create_superuser("admin", password=password, role=Role.ADMIN)
        self.stdout.write(f"Made the first user: admin, password {password} (shown only now)")


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn with one process: threads suit event streams, and the embedded worker must be one."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        """The few settings that are not gunicorn's defaults."""
        defaults = {"workers": 1, "worker_class": "gthread", "timeout": 120, "graceful_timeout": 5}
        for key, value in {
            **defaults,
            "loglevel": "warning",
            "post_worker_init": _start_worker,
            **self._options,
        }.items():
            self.cfg.set(key, value)

    def load(self) -> Callable[..., Any]:
        """The site."""
        from webapi.wsgi import application

        return application


def _start_worker(process: Any) -> None:
    """In the serving process, after the fork: threads do not survive one."""
    from workers.sweep import start_embedded_worker, stop_now

    def leave(*_: object) -> None:
        """At once: open event streams would hold the process for minutes. Their clients come back."""
        stop_now()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    def end_requests(number: int, frame: object) -> None:
        stop_now()
        process.handle_exit(number, frame)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which then says SIGQUIT
    signal.signal(signal.SIGQUIT, leave)
    signal.signal(signal.SIGTERM, end_requests)
    if settings.EMBEDDED:
        start_embedded_worker()


def _refuse_taken(bind: str, port: int) -> None:
    """gunicorn would try five times and end in a log line."""
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind.strip("[]"), port))
        except (OSError, OverflowError) as error:
            another = "another port: make serve PORT=N (--port N)"
            raise CommandError(f"cannot serve at {bind}:{port}: {error}; {another}") from error
