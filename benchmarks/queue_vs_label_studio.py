"""How many tasks a second can labelers take and answer over HTTP, one at a time and fifty at a time?

Peer: Label Studio on the same PostgreSQL server, both behind gunicorn with two processes of four threads, with the same
number of tasks and the same clients, by turns. A cycle takes one task and answers it. Ours is `POST /tasks/lease` and
`POST /labels`, or one request where the answer also asks for the next task (`next`); Label Studio's is `GET
/api/projects/N/next` and `POST /api/tasks/N/annotations/`. It hands out no more than one task at a time, so that fifty
of its cycles stand against our batch of fifty. `make bench-peers` installs it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import psycopg  # noqa: E402
from _common import finish  # noqa: E402
from _queue_server import (  # noqa: E402
    SERVER,
    Client,
    fill,
    gauntlet_on,
    gunicorn,
    our_server,
    own_database,
    silent_server,
)

PROGRAM = Path(os.environ.get("LABEL_STUDIO") or ROOT / ".venv-label-studio" / "bin" / "label-studio")
TARGETS = {"single": 25, "batch": 200}
BATCH = 50
CLIENTS = (1, 8)
TOKENS = [f"{n:040d}" for n in range(1, max(CLIENTS) + 1)]
QUESTION = """<View><Text name="text" value="$text"/><Choices name="answer" toName="text">
<Choice value="Yes"/><Choice value="Unsure"/><Choice value="No"/></Choices></View>"""
PEOPLE = """
import os, sys, django
django.setup()
from organizations.models import Organization
from rest_framework.authtoken.models import Token
from users.models import User
organization = Organization.objects.get()
for number, token in enumerate(sys.argv[1:], 2):
    user = User.objects.create_user(email=f"labeler{number}@example.org", password="not-secret")
    organization.add_user(user)
    user.active_organization = organization
    user.save()
    Token.objects.filter(user=user).delete()
    Token.objects.create(user=user, key=token)
"""
Cycle = Callable[[], int]
"""Answers some tasks; returns how many."""


class Speed(NamedTuple):
    """What one way of working came to."""

    tasks: int
    seconds: float

    @property
    def rate(self) -> float:
        """Tasks a second."""
        return self.tasks / self.seconds


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="500 tasks, 5 s each way")
    chosen = options.parse_args()
    tasks, seconds = (500, 5.0) if chosen.quick else (2_000, 20.0)
    lacking = silent_server()
    if not lacking and not shutil.which(PROGRAM):
        lacking = f"no Label Studio at {PROGRAM}: `make bench-peers` installs it"
    if lacking:
        print(f"{lacking}: nothing to measure.")
        finish("queue_vs_label_studio", ours=None, peer=None, ratio=None, target=TARGETS, skipped=lacking)
        return
    with ExitStack() as stack:
        theirs = stack.enter_context(label_studio(tasks))
        ours = stack.enter_context(gauntlet(60_000 if chosen.quick else 240_000))
        found: dict[str, Speed] = {}
        for clients in CLIENTS:
            found[f"label studio, {clients}"] = measure(theirs[:clients], seconds)
            for way, cycles in ours.items():
                found[f"{way}, {clients}"] = measure(cycles[:clients], seconds)
    report(found, quick=chosen.quick, tasks=tasks)


@contextmanager
def gauntlet(tasks: int) -> Iterator[dict[str, list[Cycle]]]:
    """Our cycles by name, for each client; more tasks than Label Studio's, or they would run out."""
    with own_database() as url, gauntlet_on(url) as env:
        tokens = fill(tasks, people=len(TOKENS))
        with our_server(env) as server:
            clients = [Client(server, {"Authorization": f"Bearer {token}"}) for token in tokens]
            yield {
                "single": [single(client) for client in clients],
                "next": [chained(client) for client in clients],
                "batch": [batches(client) for client in clients],
            }


def single(client: Client) -> Cycle:
    """Leases one task and answers it: two requests."""

    def cycle() -> int:
        (task,) = client.must("POST", "/api/v1/tasks/lease", {"count": 1})["tasks"]
        client.must("POST", "/api/v1/labels", _answer(task))
        return 1

    return cycle


def chained(client: Client) -> Cycle:
    """Answers the task at hand and is given the next with the same request."""
    held: list[dict[str, object]] = []

    def cycle() -> int:
        if not held:
            held.extend(client.must("POST", "/api/v1/tasks/lease", {"count": 1})["tasks"])
        answered = client.must("POST", "/api/v1/labels", {**_answer(held.pop()), "next": 1})
        held.extend(answered["tasks"])
        return 1

    return cycle


def batches(client: Client) -> Cycle:
    """Leases fifty tasks and answers them together: two requests."""

    def cycle() -> int:
        tasks = client.must("POST", "/api/v1/tasks/lease", {"count": BATCH})["tasks"]
        done = client.must("POST", "/api/v1/labels", {"labels": [_answer(task) for task in tasks]})
        return int(done["counts"]["recorded"])

    return cycle


def _answer(task: dict[str, object]) -> dict[str, object]:
    lease = task["lease"]
    assert isinstance(lease, dict)
    return {"task": task["id"], "lease": lease["token"], "choice": "No", "seconds": 1.5}


@contextmanager
def label_studio(tasks: int) -> Iterator[list[Cycle]]:
    """Label Studio's cycles, for each client."""
    python = [str(PROGRAM.with_name("python"))]
    with own_database() as url, tempfile.TemporaryDirectory() as folder:
        env = _environment(url, folder)
        first = ["--username", "labeler1@example.org", "--password", "not-secret", "--user-token", TOKENS[0]]
        quiet = {"env": env, "check": True, "capture_output": True, "timeout": 600}
        subprocess.run([str(PROGRAM), "init", "-q", *first, "--enable-legacy-api-token"], **quiet)
        where = subprocess.run([*python, "-c", "import label_studio; print(label_studio.__path__[0])"], **quiet)
        package = Path(where.stdout.decode().splitlines()[-1])
        env |= {"DJANGO_SETTINGS_MODULE": "core.settings.label_studio", "PYTHONPATH": str(package)}
        subprocess.run([*python, "-c", PEOPLE, *TOKENS[1:]], cwd=package, **{**quiet, "env": env})
        with gunicorn(python, "core.wsgi:application", folder=package, env=env, health="/health") as server:
            clients = [Client(server, {"Authorization": f"Token {token}"}, timeout=300) for token in TOKENS]
            project = clients[0].must("POST", "/api/projects/", {"title": "bench", "label_config": QUESTION})["id"]
            texts = [
                {"text": f"Story {n} began. It was dark. Then, at the {n}th gate, she stopped."} for n in range(tasks)
            ]
            clients[0].must("POST", f"/api/projects/{project}/import", texts)
            with psycopg.connect(url, autocommit=True) as database:
                database.execute("ANALYZE")  # as autovacuum does within a minute
            yield [_their_cycle(client, project) for client in clients]


def _environment(url: str, folder: str) -> dict[str, str]:
    address = SERVER.partition("://")[2].rpartition("/")[0]
    login, _, place = address.rpartition("@")
    user, _, password = login.partition(":")
    host, _, port = place.partition(":")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO", "DATABASE", "PYTHON"))}
    return {
        **kept,
        "DJANGO_DB": "default",
        "POSTGRE_HOST": host,
        "POSTGRE_PORT": port or "5432",
        "POSTGRE_USER": user or "postgres",
        "POSTGRE_PASSWORD": password,
        "POSTGRE_NAME": url.rpartition("/")[2],
        "LABEL_STUDIO_BASE_DATA_DIR": folder,
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "LOG_LEVEL": "ERROR",
    }


def _their_cycle(client: Client, project: int) -> Cycle:
    said = [{"from_name": "answer", "to_name": "text", "type": "choices", "value": {"choices": ["No"]}}]

    def cycle() -> int:
        task = client.must("GET", f"/api/projects/{project}/next")["id"]
        client.must("POST", f"/api/tasks/{task}/annotations/", {"result": said, "lead_time": 1.5})
        return 1

    return cycle


def measure(cycles: Sequence[Cycle], seconds: float) -> Speed:
    """Each client in a thread of its own, after one cycle outside the clock."""
    done, failed = [0] * len(cycles), []
    ready = threading.Barrier(len(cycles) + 1)
    until = 0.0

    def work(number: int) -> None:
        try:
            cycles[number]()
            ready.wait()
            while time.perf_counter() < until:
                done[number] += cycles[number]()
        except Exception as error:
            failed.append(error)
            ready.abort()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(cycles))]
    until = time.perf_counter() + 3600
    for thread in threads:
        thread.start()
    try:
        ready.wait()
        started = time.perf_counter()
        until = started + seconds
    except threading.BrokenBarrierError:
        started = time.perf_counter()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return Speed(sum(done), time.perf_counter() - started)


def report(found: dict[str, Speed], *, quick: bool, tasks: int) -> None:
    """The table, and the last line."""
    print(f"{'':<24}{'tasks':>8}{'seconds':>9}{'tasks/s':>9}{'ratio':>8}")
    ratios = {}
    for name, speed in found.items():
        clients = name.rpartition(", ")[2]
        ratios[name] = round(speed.rate / found[f"label studio, {clients}"].rate, 1)
        print(f"{name:<24}{speed.tasks:>8,}{speed.seconds:>9.1f}{speed.rate:>9.1f}{ratios[name]:>7.1f}x")
    kinds = {"single": "25x for single tasks", "batch": "200x for batches of 50"}
    met = {
        kind: all(max(ratios[f"{way}, {n}"] for way in ways) >= TARGETS[kind] for n in CLIENTS)
        for kind, ways in (("single", ("single", "next")), ("batch", ("batch",)))
    }
    for kind, words in kinds.items():
        print(f"target {words}: {'met' if met[kind] else 'not met'}")
    finish(
        "queue_vs_label_studio",
        ours={name: round(speed.rate, 1) for name, speed in found.items() if not name.startswith("label")},
        peer={name: round(speed.rate, 1) for name, speed in found.items() if name.startswith("label")},
        ratio=min(max(ratios[f"{way}, {n}"] for way in ("single", "next")) for n in CLIENTS),
        target=TARGETS,
        unit="tasks a second",
        peer_name="Label Studio, gunicorn 2 x 4, the same PostgreSQL",
        ratios={name: ratio for name, ratio in ratios.items() if not name.startswith("label")},
        met=met,
        quick=quick,
        peer_tasks=tasks,
    )


if __name__ == "__main__":
    main()
