"""How many threads the models of this process use; the one place that decides it."""

from __future__ import annotations

import os

from engine.errors import BadInput


def threads() -> int:
    """`OMP_NUM_THREADS` if set, otherwise the processors this process may run on.

    Several worker processes on one machine want 1 each: two processes of two threads on two cores are ten times
    slower than one.
    """
    value = os.environ.get("OMP_NUM_THREADS", "").strip()
    if not value:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not value.isdecimal() or int(value) < 1:
        raise BadInput(f"{value!r} is not a number of threads", where="OMP_NUM_THREADS")
    return int(value)
