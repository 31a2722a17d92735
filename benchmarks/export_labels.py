"""Does an export of a million labels stay in bounded memory, and how fast is it beside pandas?

Ours: the job `export_rows`, as a worker runs it, of all labels as JSONL, CSV and Parquet. Peer: `pandas.read_sql_query`
of the same columns in the same order, then `to_json`, `to_csv` and `to_parquet`. Each runs in a process of its own, on
the same PostgreSQL; memory is the most that the process ever held above what it held with everything imported. Both
Parquet files must hold the same rows. The labels are those of `agreement_dashboard.py`, in a database of its own, which
is dropped afterwards. `--database` is on a server where one may make databases; its default is that of the tests.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import psycopg  # noqa: E402
from _common import finish  # noqa: E402
from agreement_dashboard import SERVER, fill, timed  # noqa: E402

FORMATS = ("jsonl", "csv", "parquet")
MOST_MEGABYTES = 128.0
QUERY = """
SELECT l.id::text AS id, l.snippet_id::text AS snippet, s.prompt, s.completion, s.content_hash,
    l.annotator_id::text AS annotator, a.name AS annotator_name, a.staff, a.simulated, l.choice, l.revision, l.seconds,
    l.note, l.counted, l.flagged, l.withdrawn_at, t.batch_id::text AS batch, l.external_id, l.created_at
FROM webapi_label l JOIN webapi_snippet s ON s.id = l.snippet_id JOIN webapi_annotator a ON a.id = l.annotator_id
    LEFT JOIN webapi_task t ON t.id = l.task_id
WHERE t.gold_id IS NULL ORDER BY l.id
"""


class Run(NamedTuple):
    """One export: its file, the seconds it took and the memory it needed at most."""

    path: str
    rows: int
    seconds: float
    megabytes: float


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="50,000 labels")
    options.add_argument("--database", default=SERVER, metavar="URL")
    options.add_argument("--child", nargs=2, metavar=("WHO", "FORMAT"), help=argparse.SUPPRESS)
    chosen = options.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "webapi.settings"
    if chosen.child:
        who, file_format = chosen.child
        print(json.dumps(RUNS[who](file_format)))
        return
    database = f"gauntlet_bench_{os.getpid()}"
    with psycopg.connect(chosen.database, autocommit=True) as server, tempfile.TemporaryDirectory() as home:
        server.execute(f"CREATE DATABASE {database}")
        try:
            os.environ["DATABASE_URL"] = f"{chosen.database.rpartition('/')[0]}/{database}"
            os.environ["GAUNTLET_HOME"] = home
            measure(50_000 if chosen.quick else 1_000_000, quick=chosen.quick)
        finally:
            server.execute(f"DROP DATABASE {database} WITH (FORCE)")


def measure(labels: int, *, quick: bool) -> None:
    """Fills the database, exports, compares, and prints."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    filled, _ = timed(lambda: fill(labels))
    connection.close()
    print(f"{labels:,} labels in PostgreSQL (written in {filled:.0f} s)")
    print(f"{'':<10}{'':<8}{'seconds':>9}{'rows/s':>10}{'peak MB':>9}{'file MB':>9}")
    found: dict[str, dict[str, Run]] = {who: {} for who in RUNS}
    for file_format in FORMATS:  # in turn, so that what else the machine does meets both
        for who, runs in found.items():
            runs[file_format] = child(who, file_format)
    same = alike(found["ours"]["parquet"].path, found["pandas"]["parquet"].path)
    whole = {who: sum(run.seconds for run in runs.values()) for who, runs in found.items()}
    most = {who: max(run.megabytes for run in runs.values()) for who, runs in found.items()}
    ratio = whole["pandas"] / whole["ours"]
    print(
        f"all three: {whole['ours']:.1f} s, pandas {whole['pandas']:.1f} s, ratio {ratio:.2f}; "
        f"peak memory above the start {most['ours']:.0f} MB (target under {MOST_MEGABYTES:.0f}), pandas "
        f"{most['pandas']:.0f} MB; same rows: {same}"
    )
    finish(
        "export_labels",
        ours=round(3 * labels / whole["ours"]),
        peer=round(3 * labels / whole["pandas"]),
        ratio=round(ratio, 2),
        target=f"peak memory under {MOST_MEGABYTES:.0f} MB",
        unit="rows a second, the three formats together",
        met=same and most["ours"] < MOST_MEGABYTES,
        quick=quick,
        labels=labels,
        peak_megabytes={
            who: {name: round(run.megabytes, 1) for name, run in runs.items()} for who, runs in found.items()
        },
        seconds={who: {name: round(run.seconds, 2) for name, run in runs.items()} for who, runs in found.items()},
        memory_ratio=round(most["pandas"] / most["ours"], 1),
        same_rows=same,
    )


def child(who: str, file_format: str) -> Run:
    """One export in a process of its own, with its line of the table."""
    command = [sys.executable, __file__, "--child", who, file_format]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    run = Run(*json.loads(done.stdout.splitlines()[-1]))
    size = Path(run.path).stat().st_size / 1e6
    rate = run.rows / run.seconds
    print(f"{who:<10}{file_format:<8}{run.seconds:>9.1f}{rate:>10,.0f}{run.megabytes:>9.0f}{size:>9.0f}", flush=True)
    return run


def ours(file_format: str) -> Run:
    """The job, claimed and run."""
    import django
    from django.conf import settings

    django.setup()
    import pyarrow as pa

    from webapi.models import Job
    from workers.execute import execute

    pa.array([""])  # its first array imports pandas
    job = Job.objects.create(kind="export_rows", args={"what": "labels", "format": file_format})
    before = memory("VmRSS")
    seconds, _ = timed(lambda: execute(job.pk))
    held = memory("VmHWM") - before
    job.refresh_from_db()
    if job.state != "succeeded":
        raise RuntimeError(job.error)
    return Run(f"{settings.GAUNTLET_HOME}/{job.result['path']}", job.result["rows"], seconds, held)


def pandas(file_format: str) -> Run:
    """The same in four lines."""
    import warnings

    import pandas as pd
    import pyarrow.parquet  # noqa: F401

    warnings.simplefilter("ignore")  # pandas would rather have SQLAlchemy
    path = f"{os.environ['GAUNTLET_HOME']}/pandas.{file_format}"
    before, started = memory("VmRSS"), time.perf_counter()
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        frame = pd.read_sql_query(QUERY, connection)
    if file_format == "jsonl":
        frame.to_json(path, orient="records", lines=True, date_format="iso", date_unit="us")
    elif file_format == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, compression="zstd", index=False)
    return Run(path, len(frame), time.perf_counter() - started, memory("VmHWM") - before)


RUNS: dict[str, Callable[[str], Run]] = {"ours": ours, "pandas": pandas}


def memory(name: str) -> float:
    """Megabytes of this process: `VmRSS` that it holds, `VmHWM` that it ever held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
    return kilobytes * 1024 / 1e6


def alike(one: str, other: str) -> bool:
    """Whether two Parquet files hold the same rows in the same order; numbers and times may be of other widths."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    first, second = (pq.ParquetFile(path) for path in (one, other))
    if first.metadata.num_rows != second.metadata.num_rows:
        return False

    def rows(batch: Any) -> Any:
        return pa.Table.from_batches([batch]).cast(first.schema_arrow).combine_chunks()

    pairs = zip(first.iter_batches(10_000), second.iter_batches(10_000), strict=True)
    return all(rows(mine).equals(rows(theirs)) for mine, theirs in pairs)


if __name__ == "__main__":
    main()
