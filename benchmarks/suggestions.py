"""How soon does somebody who clicks a word see what could stand there instead, and what each would do to the score?

A person rewrites a failure until the classifier accepts it. From the click on: which words matter and the candidates of
the word by first order, then the exact scores of the best 16, then of all 64, by the int8 classifier. Snippets have 80
tokens, the last quarter the completion; every click is on a text that has not been seen before, so that nothing is
cached. Then: all words and gaps in one call against one call each; how far the order by first order is from the exact
one; how it all grows with length and number of candidates. There is no peer: targets are times.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
from _common import finish  # noqa: E402
from _story_victim import running_text, train_victim  # noqa: E402
from scipy.stats import spearmanr  # noqa: E402

from engine.attacks.substitution.nearest_words import NearestWords, NearestWordsSettings  # noqa: E402
from engine.attacks.substitution.suggest import SubstitutionEngine  # noqa: E402
from engine.attacks.substitution.words import Slot, gaps, words  # noqa: E402
from engine.classifiers import Classifier, load  # noqa: E402
from engine.classifiers.threads import threads  # noqa: E402
from engine.classifiers.white_box import WhiteBox, load_white_box  # noqa: E402
from engine.snippets import Snippet  # noqa: E402

TARGETS = {"first_order_ms": 150, "exact_16_ms": 350, "exact_64_ms": 700, "all_positions_ratio": 5}
TOKENS, LENGTHS = 80, (40, 80, 160, 240)
CANDIDATES = (16, 64, 256)
BEST = 8
ANY = NearestWordsSettings(least_cosine=-1)
"""As it comes, most words have some 25 candidates; here every word has as many as are wanted, however far they are."""


class Click(NamedTuple):
    """A text and the word in it that is clicked; the source has as many candidates for it as are wanted."""

    snippet: Snippet
    slot: Slot


class Seen(NamedTuple):
    """Milliseconds from a click until each thing is there."""

    first_order: float
    exact_first: float
    exact_all: float


class Closeness(NamedTuple):
    """The order by first order beside the exact one, of one snippet."""

    spearman: float
    in_first_16: float
    """Of the exact best, the share among the first 16 by first order."""
    in_first_64: float


class Parts(NamedTuple):
    """What an engine is made of."""

    white_box: WhiteBox
    classifier: Classifier
    source: NearestWords

    def engine(self) -> SubstitutionEngine:
        """One that has seen nothing."""
        return SubstitutionEngine(*self)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="20 clicks instead of 200")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trained = train_victim(Path(folder) / "model", 300 if chosen.quick else 1200)
        parts = Parts(load_white_box(trained), load(trained), NearestWords(ANY))
        measure(parts, clicks=20 if chosen.quick else 200, quick=chosen.quick)


def measure(parts: Parts, *, clicks: int, quick: bool) -> None:
    """Everything, and the report."""
    few = max(clicks // 5, 10)
    tell(f"{clicks} clicks")
    see(parts, texts(parts, TOKENS, 5, seed=9), 64)  # loads what is loaded once
    seen = see(parts, texts(parts, TOKENS, clicks), 64)
    tell("growth with length and candidates")
    sweep = {length: see(parts, texts(parts, length, few, seed=3), 64) for length in LENGTHS}
    counts = {k: see(parts, texts(parts, TOKENS, few, candidates=k, seed=4), k) for k in CANDIDATES}
    tell("all positions at once")
    together, apart = all_positions(parts, texts(parts, TOKENS, few, seed=5))
    tell("first order beside exact")
    one_place = [one_slot(parts, click) for click in texts(parts, TOKENS, few, candidates=256, seed=6)]
    everywhere = [all_slots(parts, click) for click in texts(parts, TOKENS, max(few // 4, 5), seed=7)]
    report(seen, sweep, counts, (together, apart), one_place, everywhere, quick=quick)


def tell(what: str) -> None:
    """What is measured now: the full sizes take minutes."""
    print(f"measuring {what} ...", file=sys.stderr, flush=True)


def texts(parts: Parts, tokens: int, n: int, *, candidates: int = 64, seed: int = 2) -> list[Click]:
    """`n` clicks on running text of the story world, each snippet of exactly `tokens` tokens."""
    running, rng = running_text(40_000, seed), np.random.default_rng([seed, tokens])
    made: list[Click] = []
    while len(made) < n:
        start = int(rng.integers(0, len(running) - 2 * tokens))
        snippet = _cut(parts.classifier, running[start : start + tokens], tokens)
        slots = words(snippet.completion) if snippet else []
        if snippet is None or not slots:
            continue
        proposed = parts.source.propose(snippet, slots, candidates)
        rich = [slot for slot, found in zip(slots, proposed, strict=True) if len(found) == candidates]
        if rich:
            made.append(Click(snippet, rich[int(rng.integers(len(rich)))]))
    return made


def _cut(classifier: Classifier, passage: Sequence[str], tokens: int) -> Snippet | None:
    """The first words of a passage that have that many tokens; None where a word straddles the end."""
    for end in range(tokens // 2, len(passage) + 1):
        cut = round(end * 0.75)
        snippet = Snippet(" ".join(passage[:cut]), " ".join(passage[cut:end]))
        if (found := classifier.count_tokens(snippet)) >= tokens:
            return snippet if found == tokens else None
    return None


def see(parts: Parts, clicks: Sequence[Click], candidates: int) -> list[Seen]:
    """The clicks, one after the other, each on an engine that has seen nothing."""
    found = []
    for click in clicks:
        engine = parts.engine()
        began = time.perf_counter()
        engine.saliency(click.snippet)
        suggestions = engine.suggest(click.snippet, [click.slot], k=candidates)
        moments = [time.perf_counter(), *(time.perf_counter() for _ in engine.exact(suggestions))]
        found.append(Seen(*(1000 * (moments[at] - began) for at in (0, 1, -1))))
    return found


def all_positions(parts: Parts, clicks: Sequence[Click]) -> tuple[list[float], list[float]]:
    """Milliseconds for all words and gaps in one call, and in a call each, of 64 candidates; no engine has seen any."""
    together, apart = [], []
    for click in clicks:
        slots = [*words(click.snippet.completion), *gaps(click.snippet.completion)]
        engines = [parts.engine() for _ in slots]
        together.append(_clock(lambda snippet=click.snippet: parts.engine().suggest(snippet)))
        began = time.perf_counter()
        for slot, engine in zip(slots, engines, strict=True):
            engine.suggest(click.snippet, [slot])
        apart.append(1000 * (time.perf_counter() - began))
    return together, apart


def _clock(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - began)


def one_slot(parts: Parts, click: Click) -> Closeness:
    """Of the 256 candidates of the word that is clicked."""
    engine = parts.engine()
    return _closeness(engine, engine.suggest(click.snippet, [click.slot], k=256))


def all_slots(parts: Parts, click: Click) -> Closeness:
    """Of 16 candidates for every word and every gap."""
    engine = parts.engine()
    return _closeness(engine, engine.suggest(click.snippet, k=16))


def _closeness(engine: SubstitutionEngine, suggestions: Sequence) -> Closeness:  # type: ignore[type-arg]
    logits = np.array(engine.logits([one.snippet for one in suggestions]))
    best = set(np.argsort(logits, kind="stable")[:BEST].tolist())
    rho = spearmanr([one.estimate for one in suggestions], logits).statistic
    return Closeness(float(rho), *(len(best & set(range(n))) / BEST for n in (16, 64)))


def p95(values: Sequence[float]) -> float:
    """The 95th percentile."""
    return float(np.quantile(values, 0.95))


def report(
    seen: list[Seen],
    sweep: dict[int, list[Seen]],
    counts: dict[int, list[Seen]],
    positions: tuple[list[float], list[float]],
    one_place: list[Closeness],
    everywhere: list[Closeness],
    *,
    quick: bool,
) -> None:
    """The tables, and the last line."""
    columns = ("first order", "exact 16", "exact all")
    print(f"{len(seen)} clicks, {threads()} threads; milliseconds from the click on, median / 95th percentile")
    print(f"{'':<34}" + "".join(f"{name:>18}" for name in columns))
    rows = {f"{TOKENS} tokens, 64 candidates": seen}
    rows |= {f"  {length} tokens, 64 candidates": found for length, found in sweep.items()}
    rows |= {f"  {TOKENS} tokens, {k} candidates": found for k, found in counts.items()}
    for name, found in rows.items():
        cells = (f"{np.median(column):.0f} / {p95(column):.0f}" for column in zip(*found, strict=True))
        print(f"{name:<34}" + "".join(f"{cell:>18}" for cell in cells))
    ratios = [b / a for a, b in zip(*positions, strict=True)]
    print(
        f"all words and gaps, 64 candidates each: {np.median(positions[0]):.0f} ms in one call, "
        f"{np.median(positions[1]):.0f} ms in a call each: {np.median(ratios):.1f} times as much"
    )
    orders = {"one word, 256 candidates": one_place, "all words and gaps, 16 each": everywhere}
    print(f"\n{'first order beside exact':<34}{'Spearman':>18}{'best 8 in 16':>18}{'best 8 in 64':>18}")
    for name, closeness in orders.items():
        rho, first, more = (np.mean(column) for column in zip(*closeness, strict=True))
        low, high = np.quantile([one.spearman for one in closeness], [0.1, 0.9])
        print(f"{name:<34}{f'{rho:.2f} [{low:.2f}, {high:.2f}]':>18}{first:>18.0%}{more:>18.0%}")
    ours: dict[str, float] = {
        "first_order_ms": round(p95([one.first_order for one in seen]), 1),
        "exact_16_ms": round(p95([one.exact_first for one in seen]), 1),
        "exact_64_ms": round(p95([one.exact_all for one in seen]), 1),
        "all_positions_ratio": round(float(np.median(ratios)), 2),
    }
    met = {name: ours[name] >= goal if name.endswith("ratio") else ours[name] <= goal for name, goal in TARGETS.items()}
    for name, goal in TARGETS.items():
        print(f"target {name} {goal}: {ours[name]}, {'met' if met[name] else 'not met'}")
    finish(
        "suggestions",
        ours=ours,
        peer=None,
        ratio=round(min(goal / ours[name] for name, goal in TARGETS.items() if name.endswith("ms")), 2),
        target=TARGETS,
        unit="milliseconds, 95th percentile",
        met=met,
        quick=quick,
        threads=threads(),
        clicks=len(seen),
        by_length={n: [round(p95(column), 1) for column in zip(*found, strict=True)] for n, found in sweep.items()},
        by_candidates={
            k: [round(p95(column), 1) for column in zip(*found, strict=True)] for k, found in counts.items()
        },
        first_order_order={
            name: dict(
                zip(Closeness._fields, (round(float(np.mean(c)), 3) for c in zip(*found, strict=True)), strict=True)
            )
            for name, found in orders.items()
        },
    )


if __name__ == "__main__":
    main()
