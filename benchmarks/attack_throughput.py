"""Is an attack as fast as its models, or does Python hold them up?

Many seeds are attacked side by side. Peer: the same classifier, gradients and encoder asked plainly, in the same
process and on the same texts, each kind in one call: `logits` of all texts that the attack scored, gradients of all
that it differentiated, embeddings of all that it compared. `ratio` is their processor time together by the attack's: 1
means that searching costs nothing and that batches are as full as they can be. The rate at which texts are scored
inside the attack stands beside the plain rate of `logits`; it cannot reach that, as the attack asks the other two
models in between. One process of one thread; seeds are injuries of the story world that a victim trained in the run
rejects. Small batches, as few searches side by side make them, cost most: several widths are shown.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is there

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import torch  # noqa: E402
from _common import finish  # noqa: E402
from _story_victim import failures, train_victim  # noqa: E402

from engine.attacks.base import Target  # noqa: E402
from engine.attacks.rewrite.recipes import make_recipe  # noqa: E402
from engine.attacks.rewrite.search import rewrite_search  # noqa: E402
from engine.attacks.substitution.nearest_words import NearestWords  # noqa: E402
from engine.attacks.substitution.suggest import SubstitutionEngine  # noqa: E402
from engine.classifiers import load  # noqa: E402
from engine.classifiers.hardware import multiplies_bf16  # noqa: E402
from engine.classifiers.white_box import load_white_box  # noqa: E402
from engine.embeddings.sentence_encoder import SentenceEncoder  # noqa: E402
from engine.policies import load_policy  # noqa: E402
from engine.snippets import Snippet  # noqa: E402

TARGET = 0.7
THRESHOLD = 0.5
PRECISION = "bf16" if multiplies_bf16(torch.device("cpu")) else "int8"
RUNS = [("substitution", 64), ("beam", 64), ("beam", 16), ("filler", 64), ("beam", 1)]
HEADLINE = RUNS[1]
ALONE = 16
"""Seeds of the run that searches one after the other."""


@dataclass
class Asked:
    """One model's calls inside an attack, and the model asked plainly."""

    plain: Callable[[Sequence[Any]], Any]
    texts: list[Any] = field(default_factory=list)
    calls: int = 0
    seconds: float = 0.0

    def __call__(self, texts: Sequence[Any], **more: Any) -> Any:
        began = time.process_time()
        answer = self.plain(texts, **more)
        self.seconds += time.process_time() - began
        if len(texts):
            self.texts += texts
            self.calls += 1
        return answer

    def again(self) -> float:
        """Seconds of the same texts in one call."""
        began = time.process_time()
        self.plain(self.texts)
        return time.process_time() - began


class Run(NamedTuple):
    """One attack: its time, that of its models inside it, and theirs for the same texts in one call each."""

    seeds: int
    found: int
    seconds: float
    inside: dict[str, float]
    plainly: dict[str, float]
    texts: dict[str, int]
    calls: dict[str, int]

    @property
    def ratio(self) -> float:
        """The models' time by the attack's."""
        return sum(self.plainly.values()) / self.seconds

    @property
    def share(self) -> float:
        """Of the attack's time, what is inside models."""
        return sum(self.inside.values()) / self.seconds


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="24 seeds instead of 200")
    quick = options.parse_args().quick
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        trained = train_victim(Path(folder) / "model", 600 if quick else 1200)
        seeds = rejected(trained, 24 if quick else 200)
        measure(trained, seeds[:2], *RUNS[0])  # warm-up
        chosen = RUNS[:2] if quick else RUNS
        runs = {run: measure(trained, seeds[:ALONE] if run[1] == 1 else seeds, *run) for run in chosen}
    report(runs, quick=quick)


def rejected(trained: Path, n: int) -> list[Snippet]:
    """Failures that the victim rejects."""
    judge, found, source = load(trained, precision=PRECISION), list[Snippet](), failures()
    while len(found) < n:
        some = [next(source) for _ in range(n)]
        found += [one for one, logit in zip(some, judge.logits(some), strict=True) if logit >= 0]
    return found[:n]


def measure(trained: Path, seeds: Sequence[Snippet], recipe: str, at_once: int) -> Run:
    """One attack with new caches, and its models asked the same again."""
    classifier, white_box, encoder = load(trained, precision=PRECISION), load_white_box(trained), SentenceEncoder()
    asked = {
        "logits": Asked(classifier.logits),
        "gradients": Asked(white_box.gradients),
        "embeddings": Asked(encoder.encode),
    }
    classifier.logits = asked["logits"]  # type: ignore[method-assign]
    white_box.gradients = asked["gradients"]  # type: ignore[method-assign]
    encoder.encode = asked["embeddings"]  # type: ignore[method-assign]
    engine = SubstitutionEngine(white_box, classifier, NearestWords())
    target = Target(load_policy("injury"), classifier, THRESHOLD, lambda: white_box, lambda: encoder)
    began = time.process_time()
    outcome = rewrite_search(seeds, engine, target, make_recipe(recipe), at_once=at_once)
    seconds = time.process_time() - began
    return Run(
        len(seeds), len({one.seed_index for one in outcome.candidates}), seconds,
        {name: one.seconds for name, one in asked.items()}, {name: one.again() for name, one in asked.items()},
        {name: len(one.texts) for name, one in asked.items()}, {name: one.calls for name, one in asked.items()},
    )  # fmt: skip


def report(runs: dict[tuple[str, int], Run], *, quick: bool) -> None:
    """The table, and the last line."""
    columns = ("seeds", "solved", "cpu-s", "in models", "texts/s", "plain/s", "a call", "ratio")
    print(f"{PRECISION}; `texts/s` are exact scores a second inside the attack, `plain/s` the classifier's own rate")
    print(f"{'recipe, side by side':<24}" + "".join(f"{name:>11}" for name in columns))
    for (recipe, at_once), run in runs.items():
        scored = run.texts["logits"]
        cells = (
            run.seeds, run.found, f"{run.seconds:.1f}", f"{run.share:.0%}", f"{scored / run.seconds:.0f}",
            f"{scored / run.plainly['logits']:.0f}", f"{scored / run.calls['logits']:.1f}", f"{run.ratio:.2f}",
        )  # fmt: skip
        print(f"{f'{recipe}, {at_once}':<24}" + "".join(f"{cell:>11}" for cell in cells))
    ours = runs[HEADLINE]
    for name in ours.plainly:
        print(f"{HEADLINE[0]}: {name} of {ours.texts[name]} texts: {ours.inside[name]:.1f} s inside the attack in "
              f"{ours.calls[name]} calls, {ours.plainly[name]:.1f} s in one")  # fmt: skip
    met = ours.ratio >= TARGET
    print(f"target: the models' own time is {TARGET} of the attack's: {'met' if met else 'not met'} ({ours.ratio:.2f})")
    finish(
        "attack_throughput",
        ours=round(ours.seconds, 2),
        peer=round(sum(ours.plainly.values()), 2),
        ratio=round(ours.ratio, 3),
        target=TARGET,
        unit="seconds of processor time",
        peer_name="the same models asked plainly",
        met=met,
        quick=quick,
        runs=[{"recipe": r, "at_once": n, **run._asdict(), "ratio": run.ratio} for (r, n), run in runs.items()],
    )


if __name__ == "__main__":
    main()
