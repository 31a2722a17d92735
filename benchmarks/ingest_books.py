"""How long does it take to cut eight books into distinct, valid snippets, and how much of it is near-duplicates?

Peer: the same ingestion with datasketch's MinHash and MinHashLSH (128 permutations, threshold 0.7, its own hash of
each word triple) in place of engine.embeddings.NearDuplicates. Both run on one core and are compared by processor time,
the best of three, so that a busy machine does not decide. Needs ../shared/data/stories, or --stories DIR.
"""

from __future__ import annotations

import argparse
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from _common import finish  # noqa: E402
from datasketch import MinHash, MinHashLSH  # noqa: E402

from engine.corpus import Story, Tally, read_stories, sample_snippets  # noqa: E402
from engine.corpus.language import language_of  # noqa: E402
from engine.policies import load_policy  # noqa: E402

TARGET_SECONDS = 60
THRESHOLD = 0.7
REPEATS = 3
Result = TypeVar("Result")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="the first two books only")
    options.add_argument("--stories", type=Path, default=ROOT.parent / "shared" / "data" / "stories")
    chosen = options.parse_args()
    if not chosen.stories.is_dir():
        print(f"{chosen.stories} is not there: nothing to measure. Give a folder of .txt files with --stories.")
        finish("ingest_books", ours=None, peer=None, ratio=None, target=f"{TARGET_SECONDS} s", skipped="no stories")
        return
    language_of("The model loads once, outside the clock.")
    stories = list(read_stories(chosen.stories))[: 2 if chosen.quick else None]
    wall = time.perf_counter()
    ours, tally = best(lambda: ingest(stories, THRESHOLD))
    wall = (time.perf_counter() - wall) / REPEATS
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    peer, theirs = best(lambda: ingest_with_datasketch(stories))
    characters = sum(len(story.text) for story in stories)
    report(ours, peer, wall, tally, theirs, characters, memory)
    finish(
        "ingest_books",
        ours=round(ours, 2),
        peer=round(peer, 2),
        ratio=round(peer / ours, 2),
        target=f"{TARGET_SECONDS} s",
        unit="processor seconds",
        wall_seconds=round(wall, 2),
        peer_name="same ingestion with datasketch MinHashLSH",
        met=wall < TARGET_SECONDS or chosen.quick,
        quick=chosen.quick,
        stories=tally.stories,
        megabytes=round(characters / 1e6, 2),
        windows=tally.windows,
        snippets=tally.kept,
        enriched=tally.enriched,
        refused=tally.refused,
        peer_near_duplicates=theirs,
        peak_memory_mb=round(memory),
    )


def best(job: Callable[[], Result]) -> tuple[float, Result]:
    """Least processor seconds of three runs, and what the last one returned."""
    seconds = []
    for _ in range(REPEATS):
        started = time.process_time()
        result = job()
        seconds.append(time.process_time() - started)
    return min(seconds), result


def ingest(stories: list[Story], similarity: float | None) -> Tally:
    """What became of the windows."""
    tally = Tally()
    for _ in sample_snippets(stories, load_policy("injury"), seed=0, similarity=similarity, tally=tally):
        pass
    return tally


def ingest_with_datasketch(stories: list[Story]) -> int:
    """Near-duplicates that datasketch finds among the same windows."""
    found = sample_snippets(stories, load_policy("injury"), seed=0, similarity=None)
    return sum(1 for _ in datasketch_repeats([item.snippet.text for item in found]))


def datasketch_repeats(texts: list[str]) -> Iterator[int]:
    """Places of texts that nearly repeat one before them, by datasketch."""
    index = MinHashLSH(threshold=THRESHOLD, num_perm=128)
    for place, text in enumerate(texts):
        words = re.findall(r"\w+", text.lower())
        sketch = MinHash(num_perm=128)
        sketch.update_batch([" ".join(words[i : i + 3]).encode() for i in range(max(1, len(words) - 2))])
        if index.query(sketch):
            yield place
        else:
            index.insert(str(place), sketch)


def report(ours: float, peer: float, wall: float, tally: Tally, theirs: int, characters: int, memory: float) -> None:
    """The table for people."""
    print(f"{tally.stories} stories, {characters / 1e6:.1f} MB, {tally.windows:,} windows of four sentences")
    print(f"  kept {tally.kept:,} snippets, {tally.enriched:,} of them enriched; refused:")
    for reason, count in sorted(tally.refused.items(), key=lambda item: -item[1]):
        print(f"    {reason:<20}{count:>7,}")
    print(f"  datasketch's near-duplicates {theirs:,}")
    print(f"{'':<26}{'processor s':>12}{'MB/s':>8}")
    for name, seconds in (("ours", ours), ("with datasketch", peer)):
        print(f"{name:<26}{seconds:>12.2f}{characters / 1e6 / seconds:>8.2f}")
    print(
        f"ours by the clock: {wall:.1f} s, target {TARGET_SECONDS} s for the eight books; peak memory {memory:,.0f} MB"
    )


if __name__ == "__main__":
    main()
