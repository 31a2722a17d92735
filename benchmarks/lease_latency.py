"""Does taking a task cost more when more are waiting?

`tasks_lease` in this process on PostgreSQL with 10,000, 100,000 and 1,000,000 open tasks in one batch. On each size a
few labelers take one task after another and answer most of them, as people do; the 95th percentile of a lease is what
counts. There is no peer: each size is compared with the smallest.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from _common import finish  # noqa: E402
from _queue_server import fill, gauntlet_on, own_database, silent_server  # noqa: E402

SIZES = (10_000, 100_000, 1_000_000)
TARGET = 1.5
LEASES = 300
REPEATS = 3
"""The best of so many rounds counts, so that a busy machine does not decide."""
LABELERS = 3
OVERLAP = 2
"""Wanted labels of each task: what one has answered still waits for another, and must not be walked over."""


class Latency(NamedTuple):
    """Milliseconds of a lease."""

    median: float
    p95: float


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="10,000 and 100,000 tasks only")
    chosen = options.parse_args()
    sizes = SIZES[:2] if chosen.quick else SIZES
    if lacking := silent_server():
        print(f"{lacking}: nothing to measure.")
        finish("lease_latency", ours=None, peer=None, ratio=None, target=TARGET, skipped=lacking)
        return
    with own_database() as url, gauntlet_on(url):
        fill(0, people=LABELERS, wanted=OVERLAP)
        found = {}
        for size in sizes:
            grow(url, size)
            found[size] = min((measure() for _ in range(REPEATS)), key=lambda latency: latency.p95)
            print(f"{size:>9,} waiting: median {found[size].median:6.2f} ms, p95 {found[size].p95:6.2f} ms")
    growth = found[sizes[-1]].p95 / found[sizes[0]].p95
    print(f"p95 with {sizes[-1]:,} is {growth:.2f} times that with {sizes[0]:,}; target at most {TARGET}")
    finish(
        "lease_latency",
        ours={str(size): round(latency.p95, 2) for size, latency in found.items()},
        peer=None,
        ratio=round(1 / growth, 2),
        target=f"growth at most {TARGET}",
        unit="ms, p95 of a lease",
        growth=round(growth, 2),
        median={str(size): round(latency.median, 2) for size, latency in found.items()},
        met=growth <= TARGET,
        quick=chosen.quick,
    )


def grow(url: str, size: int) -> None:
    """Waiting tasks up to that many, written by the database itself; then its statistics, as autovacuum keeps them."""
    with psycopg.connect(url, autocommit=True) as database:
        have = _one(database, "SELECT count(*) FROM webapi_snippet")
        policy, batch = (_one(database, f"SELECT id FROM webapi_{table}") for table in ("policy", "batch"))
        database.execute(
            """INSERT INTO webapi_snippet (id, created_at, policy_id, prompt, completion, content_hash, root_hash,
                split, source, external_id, details)
            SELECT gen_random_uuid(), now(), %s, 'Story ' || n || ' began.', 'It went on at gate ' || n || '.',
                lpad(n::text, 64, '0'), lpad(n::text, 64, '0'), 'train', 'corpus', '', '{}'
            FROM generate_series(%s::bigint, %s) n""",
            [policy, have, size - 1],
        )
        database.execute(
            """INSERT INTO webapi_task (id, created_at, batch_id, snippet_id, place, remote_id, state, wanted, taken,
                labelled)
            SELECT gen_random_uuid(), now(), %s, s.id, (random() * 4294967295)::bigint, '', 'open', %s, 0, 0
            FROM webapi_snippet s WHERE NOT EXISTS (SELECT 1 FROM webapi_task t WHERE t.snippet_id = s.id)""",
            [batch, OVERLAP],
        )
        database.execute("VACUUM ANALYZE")


def _one(database: psycopg.Connection[Any], query: str) -> Any:
    row = database.execute(query).fetchone()
    assert row is not None
    return row[0]


def measure() -> Latency:
    """Of leases by some labelers in turn, each of whom answers what they took; the first few are outside the clock."""
    from webapi.models import Annotator, Role, User
    from webapi.permissions import Actor
    from webapi.services.labels import LabelInput, labels_record
    from webapi.services.leases import annotator_for, tasks_lease

    people: list[tuple[User, Annotator]] = [
        (user, annotator_for(actor=Actor(user, Role.CONTRACTOR))) for user in User.objects.all()
    ]
    milliseconds = []
    for number in range(LEASES + 30):
        user, annotator = people[number % len(people)]
        started = time.perf_counter()
        (lease,) = tasks_lease(annotator=annotator)
        milliseconds.append((time.perf_counter() - started) * 1000)
        labels_record(user=user, answers=[LabelInput(lease.task_id, lease.token, "No")])
    ordered = sorted(milliseconds[30:])
    return Latency(ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.95)])


if __name__ == "__main__":
    main()
