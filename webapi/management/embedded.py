"""A command that has the embedded worker at hand while it waits, and how it is interrupted."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.core.management.base import CommandError

from workers.execute import jobs_at_hand
from workers.sweep import start_embedded_worker, stop_now, stop_sweeper

INTERRUPTED = 130
"""What a shell expects of a command that was stopped by Ctrl-C."""


class _Terminated(KeyboardInterrupt):
    """SIGTERM: whoever sends it will not wait for long."""


@contextmanager
def worker_at_hand(*, go_on: str) -> Iterator[None]:
    """Runs the embedded worker, where there is one, beside what is done inside.

    Ctrl-C lets the job at hand end and says so; a second one, or SIGTERM, hands it back and ends the process at once.
    `go_on` is the command that goes on afterwards. With workers of their own an interruption stops nothing but this.
    """
    if not settings.EMBEDDED:
        try:
            yield
        except KeyboardInterrupt:
            raise CommandError(
                f"stopped watching; the workers go on. To watch again: {go_on}", returncode=INTERRUPTED
            ) from None
        return
    before = signal.signal(signal.SIGTERM, _terminated)
    start_embedded_worker()
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if not isinstance(interrupt, _Terminated):
            _await_job(go_on)
            raise CommandError(f"stopped; go on with: {go_on}", returncode=INTERRUPTED) from None
        _leave(go_on)
    finally:
        stop_sweeper()
        signal.signal(signal.SIGTERM, before)


def _terminated(*_: object) -> None:
    raise _Terminated


def _await_job(go_on: str) -> None:
    names = [str(job.stage or job.kind) for job in jobs_at_hand()]
    try:
        if names:
            _say(f"Stopping as soon as the job at hand ({', '.join(names)}) has ended. Ctrl-C again leaves at once.")
        stop_sweeper()
    except KeyboardInterrupt:
        _leave(go_on)


def _leave(go_on: str) -> None:
    """The worker's thread is in the middle of a job, and torch does not like to be taken down tidily."""
    stop_now()
    _say(f"stopped; the job at hand begins again with: {go_on}")
    sys.stdout.flush()
    os._exit(INTERRUPTED)


def _say(message: str) -> None:
    print(f"\n{message}", file=sys.stderr, flush=True)
