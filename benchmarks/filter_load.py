"""What does the filter endpoint hold, and how long does an answer take, beside scoring one text after the other?

A server as `manage.py serve` is one (one process, 16 threads, SQLite) with a promoted int8 classifier of the embedded
encoder, and 1, 4 and 16 clients on kept connections, in a process of their own, that ask `POST /api/v1/filter` for
one text at a time, or for 32. Peer: the same classifier in this process, asked for one text after the other, without
any server. Beside it, 16 threads in this process that ask the classifier directly and through the gatherer: what
scoring together gives. Before the clock starts, decisions on 300 texts asked for singly, by 16 clients at once, are
compared with those of one call of the classifier; where they differ the benchmark fails.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
from _common import finish  # noqa: E402
from _queue_server import Client, gauntlet_on, our_server  # noqa: E402

TARGET = 1.0
THREADS = 16
CLIENTS = (1, 4, 16)
SEVERAL = 32
CHECKED = 300


class Load(NamedTuple):
    """One load."""

    texts: float
    """A second."""
    p50: float
    """Milliseconds of an answer."""
    p95: float
    p99: float


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="3 seconds of each load instead of 15")
    options.add_argument("--ask", nargs=5, metavar=("URL", "TOKEN", "CLIENTS", "TEXTS", "SECONDS"), help="one load")
    chosen = options.parse_args()
    if chosen.ask:
        url, token, clients, size, seconds = chosen.ask
        print(json.dumps(ask(url, token, int(clients), int(size), float(seconds))))
        return
    seconds = 3.0 if chosen.quick else 15.0
    with tempfile.TemporaryDirectory() as folder, gauntlet_on("") as env:
        token, scorer, threshold = promoted(Path(folder), 400 if chosen.quick else 1500)
        peer = alone(scorer.logits, seconds)
        direct, gathered = (crowd(scorer, together=together, seconds=seconds) for together in (False, True))
        with our_server(env, workers=1, threads=THREADS) as url:
            check(url, token, scorer, threshold)
            found = {(n, 1): load(url, token, n, 1, seconds) for n in CLIENTS}
            found[4, SEVERAL] = load(url, token, 4, SEVERAL, seconds)
    report(found, peer, direct, gathered, quick=chosen.quick)


def texts(n: int, seed: int) -> list[Any]:
    """Snippets of the story world."""
    from engine.simulation import StoryWorld
    from engine.snippets import Snippet

    world, made = StoryWorld(), []
    chance = np.random.default_rng(seed)
    while len(made) < n:
        told = world.story(int(chance.integers(1 << 30))).text.split(".")
        sentences = [f"{part.strip()}." for part in told if part.strip()]
        starts = range(0, len(sentences) - 4, 4)
        made += [Snippet(" ".join(sentences[at : at + 3]), sentences[at + 3]) for at in starts]
    return made[:n]


def promoted(folder: Path, examples: int) -> tuple[str, Any, float]:
    """A token, the classifier as the engine has it, and its threshold; its rows are in the database."""
    from django.conf import settings

    from engine.classifiers import Example, Recipe, load, train
    from webapi.models import ApiToken, Classifier, Role, User
    from webapi.services.policies import policy_create
    from webapi.services.promotions import classifier_promote
    from workers.artifacts import register

    taught = texts(examples, 1)
    home = Path(settings.GAUNTLET_HOME) / "classifiers" / "bench"
    train([Example(one, "her" in one.completion.split()) for one in taught], Recipe(), out_dir=home)
    scorer = load(home, precision="int8")
    middle = float(np.quantile(scorer.logits(texts(400, 2)), 0.6))
    row = Classifier.objects.create(
        policy=policy_create(spec={"name": "bench", "question": "Was anyone injured?"}),
        name="bench", condition="baseline", encoder="minilm", precision="int8",
        artifact=register(home, "classifier"), threshold=1 / (1 + math.exp(-middle)),
    )  # fmt: skip
    classifier_promote(classifier=row)
    user = User.objects.create(username="app", role=Role.VIEWER)
    assert row.threshold is not None
    return ApiToken.issue(user=user, name="bench").secret, scorer, row.threshold


def alone(score: Callable[[Sequence[Any]], Any], seconds: float) -> Load:
    """One text after the other, in this process."""
    given, milliseconds = texts(500, 3), []
    score(given[:8])
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        before = time.perf_counter()
        score([given[len(milliseconds) % len(given)]])
        milliseconds.append((time.perf_counter() - before) * 1000)
    return _load(milliseconds, 1, time.perf_counter() - started)


def crowd(scorer: Any, *, together: bool, seconds: float) -> Load:
    """Threads that each ask for one text after the other, without a server."""
    from webapi.services.gathering import Gatherer

    score = Gatherer(scorer.logits).logits if together else scorer.logits
    milliseconds: list[float] = []
    given, until = texts(500, 3), time.perf_counter() + seconds

    def one(start: int) -> None:
        place = start
        while (before := time.perf_counter()) < until:
            score([given[place % len(given)]])
            milliseconds.append((time.perf_counter() - before) * 1000)
            place += THREADS

    _all([lambda start=start: one(start) for start in range(THREADS)])
    return _load(milliseconds, 1, seconds)


def check(url: str, token: str, scorer: Any, threshold: float) -> None:
    """Raises SystemExit where a decision is another than the classifier's on the same texts in one call."""
    from engine.generation.rejection import accepts

    given = texts(CHECKED, 4)
    logits = scorer.logits(given)
    expected, decided = accepts(logits, threshold).tolist(), [None] * CHECKED
    largest = [0.0] * THREADS

    def one(start: int) -> None:
        client = Client(url, {"Authorization": f"Bearer {token}"})
        for place in range(start, CHECKED, THREADS):
            found = client.must("POST", "/api/v1/filter", _body(given[place : place + 1]))
            decided[place] = found["accepted"]
            largest[start] = max(largest[start], abs(found["logit"] - float(logits[place])))

    _all([lambda start=start: one(start) for start in range(THREADS)])
    if decided != expected:
        raise SystemExit(f"{sum(a != b for a, b in zip(decided, expected, strict=True))} of {CHECKED} decisions differ")
    print(f"{CHECKED} decisions equal ({sum(expected)} accepted); logits differ by {max(largest):.1e} at most")


def load(url: str, token: str, clients: int, size: int, seconds: float) -> Load:
    """From a process of its own, so that the clients' work is not the classifier's process'."""
    command = [sys.executable, __file__, "--ask", url, token, str(clients), str(size), str(seconds)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return Load(*json.loads(answer))


def ask(url: str, token: str, clients: int, size: int, seconds: float) -> Load:
    """So many clients, each one request after the other."""
    given, milliseconds = texts(500, 3), []
    bodies = [_body(given[at : at + size]) for at in range(0, len(given) - size + 1, size)]
    warm = Client(url, {"Authorization": f"Bearer {token}"})
    warm.must("POST", "/api/v1/filter", bodies[0])
    until = time.perf_counter() + seconds

    def one(start: int) -> None:
        client, place = Client(url, {"Authorization": f"Bearer {token}"}), start
        while (before := time.perf_counter()) < until:
            client.must("POST", "/api/v1/filter", bodies[place % len(bodies)])
            milliseconds.append((time.perf_counter() - before) * 1000)
            place += clients

    _all([lambda start=start: one(start) for start in range(clients)])
    return _load(milliseconds, size, seconds)


def _body(given: Sequence[Any]) -> dict[str, Any]:
    found = [{"prompt": one.prompt, "completion": one.completion} for one in given]
    return {"policy": "bench", **(found[0] if len(found) == 1 else {"texts": found})}


def _all(work: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=one) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _load(milliseconds: Sequence[float], size: int, seconds: float) -> Load:
    p50, p95, p99 = np.quantile(milliseconds, [0.5, 0.95, 0.99])
    return Load(len(milliseconds) * size / seconds, float(p50), float(p95), float(p99))


def report(found: dict[tuple[int, int], Load], peer: Load, direct: Load, gathered: Load, *, quick: bool) -> None:
    rows = {f"server, {n} clients, {size} a request": one for (n, size), one in found.items()}
    rows |= {"one after the other, no server": peer}
    rows |= {f"{THREADS} threads, no server": direct, f"{THREADS} threads, gathered, no server": gathered}
    print(f"{'':36} texts/s    p50 ms    p95 ms    p99 ms")
    for name, one in rows.items():
        print(f"{name:36} {one.texts:7.1f} {one.p50:9.1f} {one.p95:9.1f} {one.p99:9.1f}")
    most = max(one.texts for one in found.values())
    finish(
        "filter_load",
        ours=round(most, 1),
        peer=round(peer.texts, 1),
        ratio=round(most / peer.texts, 2),
        target=f"at least {TARGET} times one text after the other without a server",
        unit="texts a second",
        peer_is="the same int8 classifier in one process, one text after the other, no server",
        single=round(found[THREADS, 1].texts / peer.texts, 2),
        gathering=round(gathered.texts / direct.texts, 2),
        loads={name: {k: round(v, 1) for k, v in one._asdict().items()} for name, one in rows.items()},
        met=most / peer.texts >= TARGET,
        quick=quick,
    )


if __name__ == "__main__":
    main()
