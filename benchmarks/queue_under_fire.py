"""Does the queue lose, double or leak anything while 32 clients work at once and die at random?

Our server on gunicorn (two processes of four threads) on PostgreSQL; contractors, some of them with two clients open,
and a vendor that names its workers, for two minutes. Leases last two seconds. Clients cut connections in the middle of
a request, send half of one, go away with tasks in hand, and repeat requests under the same idempotency key, while the
first may still be at work. What must hold is counted in SQL, each second while they work and at the end. There is no
peer: the ones we know hand out a task to as many as ask.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import sys
import threading
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from _common import finish  # noqa: E402
from _queue_server import Client, fill, gauntlet_on, our_server, own_database, silent_server  # noqa: E402

CLIENTS = 32
USERS = 16
"""Contractors; half of them have two clients at work."""
VENDOR_CLIENTS = 8
WORKERS = 6
"""Whom the vendor names."""
WANTED = 2
LEASE_SECONDS = 2
CHOICES = ("Yes", "Unsure", "No", "No", "No")

BALANCE = """SELECT count(*) FROM webapi_task t WHERE taken > wanted OR taken <> labelled
    + (SELECT count(*) FROM webapi_lease l WHERE l.task_id = t.id AND l.state = 'live')"""
CHECKS = {
    "tasks over their overlap, or whose count is wrong": BALANCE,
    "tasks with more or fewer votes than counted": """SELECT count(*) FROM webapi_task t WHERE labelled <>
        (SELECT count(*) FROM webapi_label l WHERE l.task_id = t.id AND l.counted AND l.revision = 0)""",
    "annotators twice on a snippet": """SELECT count(*) FROM (SELECT 1 FROM webapi_label WHERE revision = 0
        GROUP BY snippet_id, annotator_id HAVING count(*) > 1) twice""",
    "annotators with a snippet in two tasks at once": """SELECT count(*) FROM (SELECT 1 FROM webapi_lease l
        JOIN webapi_task t ON t.id = l.task_id WHERE l.state IN ('live', 'answered')
        GROUP BY t.snippet_id, l.annotator_id HAVING count(*) > 1) twice""",
    "labels by the text's own writer": """SELECT count(*) FROM webapi_label l JOIN webapi_snippet s
        ON s.id = l.snippet_id WHERE s.author_id = l.annotator_id""",
    "done tasks that want more": "SELECT count(*) FROM webapi_task WHERE state = 'done' AND labelled < wanted",
    "open tasks that have what they want": """SELECT count(*) FROM webapi_task
        WHERE state = 'open' AND labelled >= wanted""",
    "deadlocks": "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
}


class Log:
    """What all clients saw. Its parts are only added to, one by one."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.told: set[str] = set()
        """Labels that the server said it had."""
        self.in_doubt: set[str] = set()
        """Tasks answered by a client that went away before it was told."""
        self.faults: list[str] = []
        self._lock = threading.Lock()

    def note(self, what: str, times: int = 1) -> None:
        with self._lock:
            self.counts[what] += times

    def fault(self, what: str) -> None:
        with self._lock:
            self.faults.append(what)


class Labeler(threading.Thread):
    """One client: takes tasks, answers some, and dies now and then."""

    def __init__(self, url: str, token: str, *, vendor: bool, seed: int, until: float, log: Log) -> None:
        super().__init__()
        self._url, self._headers = url, {"Authorization": f"Bearer {token}"}
        self._vendor, self._until, self._log = vendor, until, log
        self._random = random.Random(seed)
        self._held: list[dict[str, Any]] = []
        self._client = Client(url, self._headers, timeout=30)

    def run(self) -> None:
        """Until the time is over."""
        while time.monotonic() < self._until:
            try:
                self._step()
            except Exception as error:
                self._log.fault(f"{type(error).__name__}: {error}"[:300])

    def _step(self) -> None:
        chance = self._random.random()
        if chance < 0.05:
            self._log.note("clients that died")
            self._held.clear()
            self._client = Client(self._url, self._headers, timeout=30)
        elif not self._held or chance < 0.15:
            worker = {"annotator": f"worker {self._random.randrange(WORKERS)}"} if self._vendor else {}
            got = self._send("/api/v1/tasks/lease", {"count": self._random.randint(1, 8), **worker})
            self._held += got["tasks"] if got and "tasks" in got else []
            if not self._held:
                time.sleep(0.05)
        elif chance < 0.25:
            path = self._random.choice(["/api/v1/tasks/release", "/api/v1/tasks/renew"])
            some = self._some()
            self._send(path, {"leases": [task["lease"]["token"] for task in some]})
            if path.endswith("renew"):
                self._held += some
        elif chance < 0.3:
            time.sleep(LEASE_SECONDS * 1.2)  # answers late
        else:
            self._answer(self._some())

    def _some(self) -> list[dict[str, Any]]:
        self._random.shuffle(self._held)
        number = self._random.randint(1, len(self._held))
        some, self._held = self._held[:number], self._held[number:]
        return some

    def _answer(self, tasks: list[dict[str, Any]]) -> None:
        labels = [
            {"task": task["id"], "lease": task["lease"]["token"], "choice": self._random.choice(CHOICES)}
            for task in tasks
        ]
        wish = {"next": self._random.randint(1, 4)} if self._random.random() < 0.5 else {}
        if len(labels) == 1:
            done = self._send("/api/v1/labels", {**labels[0], **wish})
            results = [done] if done else None
        else:
            done = self._send("/api/v1/labels", {"labels": labels, **wish})
            results = done and done.get("results")
        self._held += done.get("tasks", []) if done else []
        if results is None:
            self._log.in_doubt.update(task["id"] for task in tasks)
            return
        for result in results:
            self._log.note(f"answers {result.get('outcome', result.get('code'))}")
            if result.get("label"):
                self._log.told.add(result["label"])

    def _send(self, path: str, body: dict[str, Any]) -> Any:
        """The answer, after as many deaths on the way as chance has it; None where the client gave up."""
        key = {"Idempotency-Key": uuid.uuid4().hex}
        for _ in range(3):
            chance = self._random.random()
            if chance < 0.08:
                self._log.note("requests cut before the answer")
                self._client.cut("POST", path, body, **key)
            elif chance < 0.11:
                self._log.note("requests cut in the middle")
                self._half(path, body)
            else:
                break
            if self._random.random() < 0.3:
                return None
        status, answer = self._ask(path, body, key)
        if status >= 500 or status in (400, 401, 403, 404):
            self._log.fault(f"{path}: {status} {answer}"[:300])
        if self._random.random() < 0.2 and status < 300:
            again = self._ask(path, body, key)
            self._log.note("requests repeated")
            if again != (status, answer):
                self._log.fault(f"{path}: repeated, and answered otherwise: {status} {answer} {again}"[:300])
        return answer if status < 300 else {"code": answer.get("code")} if isinstance(answer, dict) else None

    def _ask(self, path: str, body: dict[str, Any], key: dict[str, str]) -> tuple[int, Any]:
        self._log.note("requests")
        try:
            return self._client.ask("POST", path, body, **key)
        except ConnectionError:  # the server closed the connection that was kept open
            return self._client.ask("POST", path, body, **key)

    def _half(self, path: str, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        place = urlsplit(self._url)
        head = f"POST {path} HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: {self._headers['Authorization']}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        with socket.create_connection((place.hostname or "", place.port or 80), timeout=10) as connection:
            connection.sendall(head.encode() + data[: len(data) // 2])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="15 seconds")
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    seconds = 15 if chosen.quick else 120
    if lacking := silent_server():
        print(f"{lacking}: nothing to measure.")
        finish("queue_under_fire", ours=None, peer=None, ratio=None, target="nothing lost", skipped=lacking)
        return
    with own_database() as url, gauntlet_on(url, TASK_LEASE_SECONDS=str(LEASE_SECONDS)) as env:
        tokens, vendor = prepare(60 * seconds)
        log, off_balance = Log(), 0
        with our_server(env) as server, psycopg.connect(url, autocommit=True) as database:
            sweeping = Sweepers()
            until = time.monotonic() + seconds
            clients = labelers(server, tokens, vendor, seed=chosen.seed, until=until, log=log)
            for client in clients:
                client.start()
            while time.monotonic() < until:
                time.sleep(1)
                off_balance += count(database, BALANCE)
            for client in clients:
                client.join()
            sweeping.stop()
            time.sleep(1)  # what the server still does for clients that went away
            found = {"tasks off balance while clients worked": off_balance}
            found |= {name: count(database, query) for name, query in CHECKS.items()}
            found |= against_the_log(database, log)
            found["answers with an error, or other than before"] = len(log.faults)
    report(found, log, seconds=seconds, quick=chosen.quick)


def prepare(tasks: int) -> tuple[list[str], str]:
    """Contractors' tokens and the vendor's; two batches with the same snippets, some of them written by labelers."""
    from webapi.models import Annotator, ApiToken, Batch, Gold, Role, Snippet, Task, User
    from webapi.models.queue import new_place

    tokens = fill(tasks, people=USERS, wanted=WANTED, gold_rate=0.1, bar=0.0)
    ours = Batch.objects.select_related("policy").get()
    vendor = User.objects.create(username="acme", role=Role.VENDOR)
    theirs = Batch.objects.create(policy=ours.policy, name="vendor", vendor_user=vendor)
    snippets = list(Snippet.objects.order_by("pk"))
    people = [
        Annotator.objects.create(name=user.username, user=user) for user in User.objects.filter(role="contractor")
    ]
    for number, person in enumerate(people):
        Snippet.objects.filter(pk__in=[row.pk for row in snippets[number::50]]).update(author=person)
    again = Batch.objects.create(policy=ours.policy, name="again", priority=1)
    for batch, rows in ((theirs, snippets), (again, snippets[:200])):
        made = [Task(batch=batch, snippet=row, wanted=WANTED, place=new_place(batch.priority)) for row in rows]
        Task.objects.bulk_create(made, batch_size=2000)
    texts = Snippet.objects.bulk_create(
        [
            Snippet(policy=ours.policy, completion=f"Gold {n}.", content_hash=f"gold {n}", root_hash=f"gold {n}")
            for n in range(40)
        ]
    )
    Gold.objects.bulk_create([Gold(policy=ours.policy, snippet=text, choice="No") for text in texts])
    return tokens, ApiToken.issue(user=vendor, name="bench").secret


def labelers(server: str, tokens: list[str], vendor: str, *, seed: int, until: float, log: Log) -> list[Labeler]:
    """All clients."""
    who = [(tokens[n % USERS], False) for n in range(CLIENTS - VENDOR_CLIENTS)] + [(vendor, True)] * VENDOR_CLIENTS
    return [
        Labeler(server, token, vendor=is_vendor, seed=seed * CLIENTS + number, until=until, log=log)
        for number, (token, is_vendor) in enumerate(who)
    ]


class Sweepers:
    """Two workers' sweepers, racing each other."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._sweep) for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def _sweep(self) -> None:
        from django.db import connection
        from django.utils import timezone

        from webapi.models import Batch, BatchState
        from workers.leases import leases_expire

        while not self._over.wait(0.2):
            leases_expire(timezone.now())
            for batch in Batch.objects.filter(state=BatchState.OPEN):
                batch.finish_if_complete()
        connection.close()

    def stop(self) -> None:
        """Ends them."""
        self._over.set()
        for thread in self._threads:
            thread.join()


def count(database: psycopg.Connection[Any], query: str) -> int:
    """The one number that the query answers with."""
    row = database.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def against_the_log(database: psycopg.Connection[Any], log: Log) -> dict[str, int]:
    """Labels accepted against labels stored."""
    stored = {str(pk): str(task) for pk, task in database.execute("SELECT id, task_id FROM webapi_label")}
    return {
        "labels accepted and not stored": len(log.told - stored.keys()),
        "labels stored and neither accepted nor in doubt": sum(
            pk not in log.told and task not in log.in_doubt for pk, task in stored.items()
        ),
    }


def report(found: dict[str, int], log: Log, *, seconds: int, quick: bool) -> None:
    """The tables, and the last line."""
    print(f"{CLIENTS} clients, {seconds} s, leases of {LEASE_SECONDS} s")
    for name, number in sorted(log.counts.items()):
        print(f"  {name:<50}{number:>8,}")
    print("what must be nought:")
    for name, number in found.items():
        print(f"  {name:<50}{number:>8,}{'' if not number else '  <-- wrong'}")
    for fault in log.faults[:10]:
        print(f"  fault: {fault}")
    finish(
        "queue_under_fire",
        ours=sum(found.values()),
        peer=None,
        ratio=None,
        target="0 faults",
        unit="faults",
        met=not any(found.values()),
        quick=quick,
        seconds=seconds,
        clients=CLIENTS,
        requests_a_second=round(log.counts["requests"] / seconds, 1),
        labels=len(log.told),
        counts=dict(log.counts),
        faults=found,
    )


if __name__ == "__main__":
    main()
