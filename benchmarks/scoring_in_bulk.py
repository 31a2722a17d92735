"""How long would scoring ten million completions take, and what does keeping the scores cost?

The round's own score stage over snippets in a database, shard by shard, with an int8 classifier trained here: snippets
a second by the clock and by processor time, and what ten million would take at that rate on this machine and on more
cores. Then the keeping alone, of the same logits: as Parquet shards (ours) and as a row each (peer, what the stage did
before), in seconds and in bytes on disk. Both are read back and must be equal. Texts come from ../shared/data/stories
(or --stories DIR), else from the story world.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
MILLIONS = 10_000_000


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="1,000 snippets instead of 20,000")
    options.add_argument("--stories", type=Path, default=ROOT.parent / "shared" / "data" / "stories")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"DJANGO_SETTINGS_MODULE": "webapi.settings", "GAUNTLET_HOME": home}
        os.environ.pop("DATABASE_URL", None)
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        measure(Path(home), chosen.stories, 1_000 if chosen.quick else 20_000, quick=chosen.quick)


def measure(home: Path, stories: Path, n: int, *, quick: bool) -> None:
    from _common import finish, machine

    from webapi.models import ScoreShard, Stage
    from workers.score import choosable, plan, score
    from workers.scoring import logits_of

    round_, source = laid_out(home, stories, n, quick=quick)
    stage = Stage.objects.create(round=round_, name="score", position=7)
    shards = plan(stage)
    with timed() as spent:
        for name, args in shards.items():
            score(run_of(stage, name, args))
    row = round_.classifiers.get()
    ids = choosable(round_)
    logits = logits_of(row, ids)
    assert len(logits) == n
    assert sum(ScoreShard.objects.values_list("count", flat=True)) == n
    clock, processor = n / spent["clock"], n / spent["processor"]
    parquet, rows = keeping(round_, row, logits)
    days = MILLIONS / processor / 86_400
    print(f"{n:,} snippets of {source} in {len(shards)} shards, int8, {machine()['cores']} cores")
    print(f"  by the clock {clock:,.0f} a second; by processor time {processor:,.0f} a second and core")
    print(
        f"  ten million: {days:,.1f} days on one core, {days * 24 / 16:,.1f} hours on 16, {days * 24 / 128:,.1f} on 128"
    )
    for name, kept in (("Parquet shards", parquet), ("a row each", rows)):
        print(f"  kept as {name}: {kept['seconds']:.2f} s, {kept['bytes'] / n:,.0f} bytes a score")
    print(f"  most memory held: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:,.2f} GB")
    finish(
        "scoring_in_bulk",
        ours=parquet["seconds"],
        peer=rows["seconds"],
        ratio=round(rows["seconds"] / parquet["seconds"], 1),
        target="10 times cheaper to keep",
        clock_per_second=round(clock, 1),
        processor_per_second=round(processor, 1),
        bytes_per_score={"parquet": parquet["bytes"] / n, "rows": rows["bytes"] / n},
    )


def laid_out(home: Path, stories: Path, n: int, *, quick: bool) -> tuple[Any, str]:
    """A round with `n` candidates and a trained classifier."""
    from scoring_vs_pipeline import classifier, snippets

    from engine.policies import load_policy
    from webapi.models import Classifier, Corpus, Pool, Round, RoundSnippet, Snippet
    from webapi.services.policies import policy_create
    from workers.artifacts import register

    policy = policy_create(spec=load_policy("injury"))
    round_ = Round.objects.create(name="r", policy=policy, corpus=Corpus.objects.create(name="c"), state="running")
    folder = classifier(home / "classifiers" / "c", stories, 300 if quick else 1500)
    Classifier.objects.create(
        policy=policy,
        round=round_,
        name="c",
        condition="baseline",
        encoder="minilm",
        artifact=register(folder, "classifier"),
        threshold=0.1,
    )
    texts, source = snippets(stories, n)
    rows = [
        Snippet(
            policy=policy,
            prompt=text.prompt,
            completion=text.completion,
            content_hash=text.content_hash,
            external_id=str(place),
            root_hash=text.content_hash,
            split="train",
            source="generated",
        )
        for place, text in enumerate(texts)
    ]
    Snippet.objects.bulk_create(rows, batch_size=1000)
    members = [RoundSnippet(round=round_, snippet=row, pool=Pool.CANDIDATE) for row in rows]
    RoundSnippet.objects.bulk_create(members, batch_size=1000)
    return round_, source


def run_of(stage: Any, shard: str, args: dict[str, Any]) -> Any:
    """The job of a shard, under its lease."""
    from webapi.models import Job
    from workers.jobs import JobRun

    job = Job.claim(Job.objects.create(kind="stage", stage=stage, shard=shard, args=args).pk, worker="benchmark")
    assert job is not None
    return JobRun(job)


def keeping(round_: Any, row: Any, logits: dict[Any, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds and bytes of keeping the same logits both ways; they must read alike."""
    from django.db import connection

    from webapi.models import Score, ScoreShard
    from workers import scoring
    from workers.jobs import chunked

    ids = sorted(logits)
    before = sum(ScoreShard.objects.values_list("artifact__size", flat=True))
    with timed() as ours:
        for number, chunk in enumerate(chunked(ids, 500)):
            scoring._keep(scoring.round_path(round_, f"again/{number:05d}.parquet"), row, chunk, logits)
    files = sum(ScoreShard.objects.values_list("artifact__size", flat=True)) - before
    page = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
    with connection.cursor() as cursor:
        held = cursor.execute(page).fetchone()[0]
        with timed() as peer:
            for chunk in chunked(ids, 256):
                scores = [Score(classifier=row, snippet_id=pk, logit=logits[pk]) for pk in chunk]
                Score.objects.bulk_create(scores, ignore_conflicts=True)
        table = cursor.execute(page).fetchone()[0] - held
    known = dict(Score.objects.filter(classifier=row).values_list("snippet", "logit"))
    assert known == logits
    return {"seconds": ours["clock"], "bytes": files}, {"seconds": peer["clock"], "bytes": table}


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Seconds by the clock and of processor time, of all threads."""
    spent: dict[str, float] = {}
    clock, processor = time.perf_counter(), time.process_time()
    yield spent
    spent |= {"clock": time.perf_counter() - clock, "processor": time.process_time() - processor}


if __name__ == "__main__":
    main()
