"""How fast does the agreement dashboard answer at a million labels on PostgreSQL, and how much faster than a recount?

Ours: `GET /api/v1/metrics/agreement` and `/metrics/disagreements` through Django's test client in this process, from
the request to the last byte of JSON: the first request, which reads the labels; later ones over several filters, each
asked for the first time; one after a new label was committed. Peer: the labels read with one query into pandas, then
alpha (`krippendorff`) and percent agreement, each with 2,000 bootstrap resamples of the snippets in numpy, and Cohen's
kappa (`scikit-learn`) of the same pairs, which is less than ours gives (by day, AC1, AC2, Fleiss, agreement per choice,
intervals of kappas, snippets in dispute) and what a notebook does at each look. Both must find the same to 1e-9.

The labels are made up: 1,000 annotators of five vendors over 120 days, a third of the snippets judged by five, in
batches of 50,000 tasks, written with COPY into a database of its own, which is dropped afterwards. `--database` is on a
server where one may make databases; its default is that of the tests.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import statistics
import sys
import time
import uuid
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import psycopg  # noqa: E402
from _common import finish  # noqa: E402

TARGET = 1.0
CHOICES = ("Yes", "Unsure", "No")
VENDORS = ("", "surge", "acme", "globex", "initech")
DAYS = 120
TASKS_A_BATCH = 50_000
RESAMPLES = 2000
COLUMNS = {
    "snippet": "id created_at policy_id prompt completion content_hash source split root_hash external_id details",
    "task": "id created_at batch_id snippet_id place remote_id state wanted taken labelled",
    "label": "id created_at task_id snippet_id annotator_id choice revision note flagged external_id counted",
}
SERVER = os.environ.get("TEST_DATABASE_URL") or "postgres://postgres@127.0.0.1:5432/test"
Result = TypeVar("Result")


class Answer(NamedTuple):
    """What a request took, and what it said."""

    seconds: float
    body: dict[str, Any]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="50,000 labels")
    options.add_argument("--database", default=SERVER, metavar="URL")
    chosen = options.parse_args()
    warnings.simplefilter("ignore")  # Whitenoise's, about static files that nobody collected
    labels = 50_000 if chosen.quick else 1_000_000
    database = f"gauntlet_bench_{os.getpid()}"
    with psycopg.connect(chosen.database, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {database}")
        try:
            os.environ["DATABASE_URL"] = f"{chosen.database.rpartition('/')[0]}/{database}"
            measure(labels, quick=chosen.quick)
        finally:
            server.execute(f"DROP DATABASE {database} WITH (FORCE)")


def measure(labels: int, *, quick: bool) -> None:
    """Fills the database, asks, and prints."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "webapi.settings"
    os.environ["ALLOWED_HOSTS"] = "testserver"
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    filled, policy = timed(lambda: fill(labels))
    from webapi.models import ApiToken, Batch, User

    token = ApiToken.issue(user=User.objects.create_user("rita", role="researcher"), name="bench").secret
    batch = str(Batch.objects.order_by("pk").values_list("pk", flat=True)[0])
    print(f"{labels:,} labels in PostgreSQL (written in {filled:.0f} s)")
    first = ask(token, "agreement")
    print(f"{'':<44}{'seconds':>9}{'labels':>12}{'alpha':>8}")
    show("first request, which reads all labels", first)
    later = {}
    for query in (
        "by=day",
        "by=vendor&source=generated",
        f"batch={batch}",
        "split=test&by=source",
        "vendor=surge",
        "since=2026-02-01T00:00:00Z&until=2026-03-01T00:00:00Z",
        f"annotator={first.body['matrix'][0]['id']}",
    ):
        later[query] = ask(token, f"agreement?{query}")
        show(query[:42], later[query])
    rows = [ask(token, "disagreements?page_size=50")]
    rows.append(ask(token, "disagreements?" + rows[0].body["next"].partition("?")[2]))
    show("disagreements, two pages, the slower", max(rows), figures=False)
    after_new = after_a_new_label(token)
    show("after a new label", after_new)
    peer, recomputed = timed(lambda: straight(policy, first.body["pairs"]))
    worst = max(answer.seconds for answer in (*later.values(), *rows, after_new))
    whole = statistics.median(ask(token, "agreement").seconds for _ in range(5))
    print(f"{'straight: query, pandas, libraries':<44}{peer:>9.2f}{labels:>12,}{recomputed['alpha']:>8.3f}")
    difference = largest_difference(first.body, recomputed)
    print(f"all labels again, median of five: {whole:.2f} s, ratio {peer / whole:.1f}; slowest later request: ", end="")
    print(f"{worst:.2f} s (target under {TARGET:.0f} s); largest difference of figures {difference:.1e}")
    finish(
        "agreement_dashboard",
        ours=round(whole, 3),
        peer=round(peer, 3),
        ratio=round(peer / whole, 1),
        target=f"later requests under {TARGET:.0f} s",
        unit="seconds",
        met=worst < TARGET and difference < 1e-9,
        quick=quick,
        labels=labels,
        first_seconds=round(first.seconds, 3),
        slowest_later_seconds=round(worst, 3),
        later_seconds={query: round(answer.seconds, 3) for query, answer in later.items()},
        disagreements_seconds=[round(answer.seconds, 3) for answer in rows],
        after_new_label_seconds=round(after_new.seconds, 3),
        columns_megabytes=round(held_megabytes(), 1),
        largest_difference=difference,
    )


def timed(job: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds on the clock, and what it returned."""
    started = time.perf_counter()
    result = job()
    return time.perf_counter() - started, result


def ask(token: str, path: str) -> Answer:
    """One request of the API. Raises RuntimeError for a refusal."""
    from django.test import Client

    headers = {"authorization": f"Bearer {token}"}
    seconds, response = timed(lambda: Client().get(f"/api/v1/metrics/{path}", headers=headers))
    if response.status_code != 200:
        raise RuntimeError(f"{path}: {response.status_code} {response.content[:500]!r}")
    return Answer(seconds, response.json())


def show(what: str, answer: Answer, *, figures: bool = True) -> None:
    """A line of the table."""
    end = ""
    if figures:
        overall = answer.body["overall"]
        end = f"{overall['votes']:>12,}{overall['alpha']['estimate']:>8.3f}"
    print(f"{what:<44}{answer.seconds:>9.2f}{end}")


def after_a_new_label(token: str) -> Answer:
    """What the next request takes once somebody has answered."""
    from webapi.models import Annotator, Label, Snippet

    snippet = Snippet.objects.filter(gold=None).order_by("pk").first()
    assert snippet is not None
    Label.objects.create(snippet=snippet, annotator=Annotator.objects.create(name="new"), choice="Yes")
    answer = ask(token, "agreement")
    Label.objects.filter(annotator__name="new").delete()  # the peer reads what the first request read
    return answer


def held_megabytes() -> float:
    """Bytes of the arrays that the process holds."""
    import numpy as np

    from webapi.selectors.label_columns import COLUMNS

    return sum(column.nbytes for column in COLUMNS.current() if isinstance(column, np.ndarray)) / 1e6


def key_at(when: datetime, chance: random.Random) -> uuid.UUID:
    """A UUIDv7 of that time."""
    bits = (
        int(when.timestamp() * 1000) << 80 | 7 << 76 | chance.getrandbits(12) << 64 | 2 << 62 | chance.getrandbits(62)
    )
    return uuid.UUID(int=bits)


def fill(labels: int) -> uuid.UUID:
    """Writes policy, annotators, snippets, batches, tasks and labels; the policy's key. Truth: 5 % Yes, 15 % Unsure."""
    import numpy as np
    from django.db import connection

    from engine.policies import load_policy
    from webapi.models import Annotator, Batch, Snippet, Source, SplitName
    from webapi.services.policies import policy_create

    chance, rng = random.Random(labels), np.random.default_rng(labels)
    policy = policy_create(spec=load_policy("injury"))
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    people = [Annotator(name=f"annotator {n}", vendor=VENDORS[n % len(VENDORS)]) for n in range(1000)]
    Annotator.objects.bulk_create(people)
    depth = rng.choice([1, 2, 3, 5], size=labels, p=[0.2, 0.3, 0.17, 0.33])
    depth = depth[: int(np.searchsorted(depth.cumsum(), labels, side="right"))]
    depth = np.append(depth, labels - depth.sum()) if depth.sum() < labels else depth
    count = depth.size
    skills = rng.uniform(0.6, 0.97, len(people))
    truth = rng.choice(3, count, p=[0.05, 0.15, 0.8])
    names = [f"batch {n}" for n in range(-(-count // TASKS_A_BATCH))]
    batches = Batch.objects.bulk_create(Batch(policy=policy, name=name, adapter="pull") for name in names)
    snippets, tasks, rows = io.StringIO(), io.StringIO(), io.StringIO()
    sources, splits = Source.values[:4], SplitName.values
    for n in range(count):
        at = begin + timedelta(days=DAYS * n / count)
        key, task = key_at(at, chance), uuid.UUID(int=chance.getrandbits(128), version=4)
        digest, stamp = f"{n:064x}", at.isoformat()
        source, split = sources[chance.randrange(4)], splits[0 if chance.random() < 0.8 else 1 + chance.randrange(2)]
        text = f"It went on as story {n} does."
        snippets.write(f"{key}\t{stamp}\t{policy.pk}\t\t{text}\t{digest}\t{source}\t{split}\t{digest}\t\t{{}}\n")
        taken = int(depth[n])
        tasks.write(
            f"{task}\t{stamp}\t{batches[n // TASKS_A_BATCH].pk}\t{key}\t{n}\t\tdone\t{taken}\t{taken}\t{taken}\n"
        )
        crew = n % 50 * 20
        for who in chance.sample(range(crew, crew + 20), taken):
            said = truth[n] if chance.random() < skills[who] else chance.randrange(3)
            given = at + timedelta(minutes=chance.randrange(600))
            fields = (
                key_at(given, chance),
                given.isoformat(),
                task,
                key,
                people[who].pk,
                CHOICES[said],
                0,
                "",
                "f",
                "",
                "t",
            )
            rows.write("\t".join(map(str, fields)) + "\n")
    with connection.cursor() as cursor:
        for table, data in (("snippet", snippets), ("task", tasks), ("label", rows)):
            columns = ", ".join(COLUMNS[table].split())
            with cursor.copy(f"COPY webapi_{table} ({columns}) FROM STDIN") as copy:
                copy.write(data.getvalue())
        cursor.execute("ANALYZE")
    assert Snippet.objects.filter(gold=None).count() == count  # the policy brings gold of its own
    return policy.pk


def straight(policy: uuid.UUID, pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """Alpha and percent with intervals, and kappas of these pairs, from one query."""
    import krippendorff
    import numpy as np
    import pandas as pd
    from django.db import connection
    from sklearn.metrics import cohen_kappa_score

    query = (
        "SELECT l.snippet_id::text AS snippet, l.annotator_id::text AS annotator, l.choice FROM webapi_label l "
        "JOIN webapi_snippet s ON s.id = l.snippet_id LEFT JOIN webapi_task t ON t.id = l.task_id "
        "WHERE s.policy_id = %s AND l.counted AND t.gold_id IS NULL"
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [policy])
        frame = pd.DataFrame(cursor.fetchall(), columns=["snippet", "annotator", "choice"])
    table = frame.groupby(["snippet", "choice"]).size().unstack(fill_value=0).reindex(columns=CHOICES, fill_value=0)
    counts = table.to_numpy()
    paired = counts[counts.sum(axis=1) > 1]
    rng = np.random.default_rng(0)
    votes = paired.sum(axis=1)
    matching = (paired * (paired - 1)).sum(axis=1) / (votes - 1)
    each = np.column_stack((matching, paired))
    alphas, percents = np.empty(RESAMPLES), np.empty(RESAMPLES)
    for n in range(RESAMPLES):
        sums = each[rng.integers(0, len(each), len(each))].sum(axis=0)
        total = sums[1:].sum()
        percents[n] = sums[0] / total
        alphas[n] = 1 - (total - sums[0]) * (total - 1) / (total**2 - (sums[1:] ** 2).sum())
    said = {name: rows.set_index("snippet")["choice"] for name, rows in frame.groupby("annotator")}
    kappas = {}
    for pair in pairs:
        both = pd.concat((said[pair["a_id"]], said[pair["b_id"]]), axis=1, join="inner")
        kappas[pair["a_id"], pair["b_id"]] = float(cohen_kappa_score(both.iloc[:, 0], both.iloc[:, 1]))
    return {
        "alpha": float(krippendorff.alpha(value_counts=paired, level_of_measurement="nominal")),
        "alpha_limits": np.quantile(alphas, [0.025, 0.975]).tolist(),
        "percent": float(matching.sum() / votes.sum()),
        "percent_limits": np.quantile(percents, [0.025, 0.975]).tolist(),
        "kappas": kappas,
    }


def largest_difference(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """Between the point estimates that both computed."""
    overall = ours["overall"]
    found = [abs(overall[name]["estimate"] - theirs[name]) for name in ("alpha", "percent")]
    found += [abs(pair["kappa"] - theirs["kappas"][pair["a_id"], pair["b_id"]]) for pair in ours["pairs"]]
    return max(found)


if __name__ == "__main__":
    main()
