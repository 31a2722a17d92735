"""How long work tells its caller where it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called as `progress(done, total)`, from the thread that does the work; may raise to stop the work."""


def silent(done: int, total: int) -> None:
    """A progress callback that says nothing."""
