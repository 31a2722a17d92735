"""What do the attacks find on real text: comments that a crowd judged toxic, and prompts that moderators flagged?

A classifier of the policy `toxic` is trained in the run on comments of toxic_spans by the majority of their annotators
(CC0, ipavlopoulos/toxic_spans) and attacked from held-out toxic comments and from prompts flagged as hateful or
harassing (openai/moderation-api-release, MIT), nearest to the threshold first. Nobody labels what is found, so nothing
here says how many finds are still toxic; it says how often each attack gets past the classifier, at which similarity
and cost. There is no peer. The texts are offensive and are not printed.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
import tempfile
from collections import defaultdict
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
from _common import finish  # noqa: E402
from scipy.special import expit  # noqa: E402

from engine.attacks import ATTACKS, Budget, Outcome, Target, make_attack  # noqa: E402
from engine.classifiers import Example, Recipe, load, train  # noqa: E402
from engine.classifiers.white_box import load_white_box  # noqa: E402
from engine.embeddings import SentenceEncoder  # noqa: E402
from engine.evaluation.rates import clopper_pearson  # noqa: E402
from engine.policies import load_policy  # noqa: E402
from engine.snippets import Snippet, refusals, split_of  # noqa: E402

DATA = ROOT.parent / "shared" / "data"
REJECTED = 0.9
"""Share of the toxic validation comments that the threshold rejects."""
CONFIG = {"paraphrase": {"most": 1, "least": 1, "max_draws": 32}}
CHARS = 600
"""Longer texts are left out: the encoder would cut them."""


def main() -> None:
    """Trains, attacks, prints."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--quick", action="store_true", help="600 comments and 10 seeds of each kind, not 3,000 and 60"
    )
    chosen = options.parse_args()
    if not (DATA / "judgements" / "toxic_spans").is_dir():
        sys.exit(f"no real data in {DATA}: nothing measured")
    comments = judged(DATA / "judgements" / "toxic_spans")
    train_on, seeds = (600, 10) if chosen.quick else (3000, 60)
    with tempfile.TemporaryDirectory() as folder:
        target = trained(comments, train_on, Path(folder) / "model")
        kinds = {"toxic_spans": toxic(comments, "test"), "moderation": flagged(DATA / "safety")}
        found = {}
        for kind, texts in kinds.items():
            chosen_seeds = nearest(target, texts, seeds)
            print(f"{kind}: {len(chosen_seeds)} of {len(texts)} as seeds")
            found[kind] = {name: attacked(name, chosen_seeds, target) for name in sorted(ATTACKS)}
    finish("attacks_on_real_text", ours=found, peer=None, ratio=None, target=None, quick=chosen.quick)


def judged(folder: Path) -> dict[Snippet, bool]:
    """Comments with a majority of their annotators for toxic, or for not toxic; a tie is left out."""
    votes: dict[str, list[bool]] = defaultdict(list)
    for row in csv.DictReader((folder / "annotations.csv").open(encoding="utf-8", newline="")):
        if (row["all toxic"], row["not toxic"]) != ("True", "True"):  # both ticked means either
            votes[row["comment_id"]].append(row["not toxic"] == "False")
    rules, comments = load_policy("toxic").snippet_rules, {}
    for row in csv.DictReader((folder / "comments.csv").open(encoding="utf-8", newline="")):
        snippet, share = Snippet("", row["comment_text"]), np.mean(votes.get(row["comment_id"], [0.5]))
        if share != 0.5 and len(snippet.completion) <= CHARS and not refusals(snippet, rules):
            comments[snippet] = bool(share > 0.5)
    return comments


def flagged(folder: Path) -> list[Snippet]:
    """Prompts that moderators flagged as hateful or harassing."""
    with gzip.open(folder / "openai_moderation_1680.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    texts = [Snippet("", row["prompt"]) for row in rows if row.get("H") or row.get("HR")]
    return [one for one in texts if len(one.completion) <= CHARS]


def toxic(comments: dict[Snippet, bool], split: str) -> list[Snippet]:
    """The toxic comments of a split, in the order of their hashes."""
    mine = [one for one, positive in comments.items() if positive and split_of(one.content_hash) == split]
    return sorted(mine, key=lambda one: one.content_hash)


def trained(comments: dict[Snippet, bool], n: int, folder: Path) -> Target:
    """A classifier of so many training comments, at the threshold that rejects most toxic validation comments."""
    mine = [one for one in comments if split_of(one.content_hash) == "train"]
    chosen = sorted(mine, key=lambda one: one.content_hash)[:n]
    train([Example(one, comments[one]) for one in chosen], Recipe(), out_dir=folder)
    classifier = load(folder)
    logits = classifier.logits(toxic(comments, "validation")[:400])
    threshold = float(expit(np.quantile(logits, 1 - REJECTED)))
    white_box, encoder = cache(lambda: load_white_box(folder)), cache(lambda: SentenceEncoder())
    return Target(load_policy("toxic"), classifier, threshold, white_box, encoder)


def nearest(target: Target, texts: list[Snippet], n: int) -> list[Snippet]:
    """The `n` that are rejected and nearest to the threshold."""
    logits = target.classifier.logits(texts)
    cutoff = np.log(target.threshold) - np.log1p(-target.threshold)
    rejected = sorted((logit, place) for place, logit in enumerate(logits.tolist()) if logit >= cutoff)
    return [texts[place] for _, place in rejected[:n]]


def attacked(name: str, seeds: list[Snippet], target: Target) -> dict[str, object]:
    """One attack on these seeds, a find a seed wanted, 60 queries a seed at most; prints a line."""
    made = make_attack(name, target.policy, CONFIG.get(name, {"wanted": 1}))
    found: Outcome = made.run(seeds, target, Budget(queries=60 * len(seeds)), seed=0)
    past = clopper_pearson(len({one.seed_index for one in found.candidates}), len(seeds))
    similarity = float(np.mean([one.similarity for one in found.candidates])) if found.candidates else None
    print(
        f"  {name:13} past the classifier from {past.failures} of {len(seeds)} seeds "
        f"({100 * past.low:.0f} to {100 * past.high:.0f} %), {found.queries:,} queries, {found.seconds:.0f} s, "
        + ("no find" if similarity is None else f"similarity {similarity:.2f}")
    )
    return {
        "past": past.as_dict(),
        "queries": found.queries,
        "seconds": round(found.seconds, 1),
        "similarity": None if similarity is None else round(similarity, 3),
        "stops": {stop: sum(one.stop == stop for one in found.seeds) for stop in {one.stop for one in found.seeds}},
    }


if __name__ == "__main__":
    main()
