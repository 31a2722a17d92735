"""Stage `attack`: re-tellings of known failures.

Of the training split's failures only what the baseline accepts is kept, as the paper does: candidates for labels. Of
the held-out failures every re-telling is kept, whichever classifier accepts it, so that the held-out adversarial set
favours neither classifier.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from engine.attacks import Paraphraser, ParaphraseSettings, make_paraphraser, paraphrase
from webapi.models import Pool, Round, Snippet, Source, Stage
from workers.generate import add_members
from workers.jobs import JobRun
from workers.round_settings import Attack, round_settings
from workers.scoring import load_classifier
from workers.train import BASELINE, classifier_of

SHARD = 50
"""Seeds a job."""


def plan(stage: Stage) -> dict[str, dict[str, Any]]:
    """Shards of up to `SHARD` seeds, first those of the training split, then the held-out ones."""
    settings = round_settings(stage.round.config).attack
    shards = {}
    for kind, seeds in {"train": _train_seeds(stage.round, settings.seeds), "test": _test_seeds(stage.round)}.items():
        for start in range(0, len(seeds), SHARD):
            part = [str(pk) for pk in seeds[start : start + SHARD]]
            shards[f"{kind}-{start // SHARD:04d}"] = {"held_out": kind == "test", "seeds": part}
    return shards


def _failures(round_: Round, pools: Sequence[Pool]) -> list[uuid.UUID]:
    members = round_.members.filter(pool__in=pools, snippet__consensus__choice=round_.policy.rules.failure)
    return list(members.order_by("snippet__content_hash").values_list("snippet_id", flat=True))


def _train_seeds(round_: Round, most: int) -> list[uuid.UUID]:
    return _failures(round_, [Pool.INITIAL])[:most]


def _test_seeds(round_: Round) -> list[uuid.UUID]:
    return _failures(round_, [Pool.TEST, Pool.SEED])


def attack(run: JobRun) -> dict[str, Any]:
    """Attacks one shard's seeds. Run again it finds the same and adds no row."""
    settings = round_settings(run.round.config).attack
    baseline = classifier_of(run.round, BASELINE)
    if baseline.threshold is None:
        raise ValueError(f"classifier {baseline} has no threshold")
    held_out = bool(run.args["held_out"])
    by_id = Snippet.objects.in_bulk([uuid.UUID(pk) for pk in run.args["seeds"]])
    seeds = [by_id[uuid.UUID(pk)] for pk in run.args["seeds"]]
    outcome = paraphrase(
        [seed.text for seed in seeds],
        _paraphraser(run.round, settings),
        load_classifier(baseline),
        baseline.threshold,
        _settings(settings, held_out),
        rules=run.round.policy.rules.snippet_rules,
        seed=run.round.seed,
        progress=run.progress,
    )
    pool = Pool.ATTACK_TEST if held_out else Pool.ATTACK
    rows = [_row(seeds[c.seed_index], c.snippet.prompt, c.snippet.completion) for c in outcome.candidates]
    details = {
        row.content_hash: {"from": str(seeds[c.seed_index].pk), "logit": c.logit}
        for row, c in zip(rows, outcome.candidates, strict=True)
    }
    kept = add_members(run.round, rows, dict.fromkeys(details, pool), details)
    prefix = "held_out_" if held_out else ""
    totals = {
        "seeds": len(seeds),
        "drawn": sum(s.drawn for s in outcome.seeds),
        "scored": sum(s.scored for s in outcome.seeds),
        "accepted": sum(s.accepted for s in outcome.seeds),
        "kept": kept,
    }
    return {f"{prefix}{key}": value for key, value in totals.items()}


def _settings(settings: Attack, held_out: bool) -> ParaphraseSettings:
    if held_out:
        draws = settings.test_draws
        return ParaphraseSettings(most=draws, least=1, least_draws=draws, max_draws=draws, batch=draws, keep_all=True)
    return ParaphraseSettings(
        most=settings.wanted,
        least=min(settings.wanted, 5),
        max_draws=settings.max_draws,
        least_draws=settings.max_draws,
        batch=min(16, settings.max_draws),
    )


def _paraphraser(round_: Round, settings: Attack) -> Paraphraser:
    return make_paraphraser(settings.paraphraser.name, round_.policy.rules, settings.paraphraser.config)


def _row(seed: Snippet, prompt: str, completion: str) -> Snippet:
    row = Snippet(
        policy_id=seed.policy_id,
        prompt=prompt,
        completion=completion,
        root_hash=seed.root_hash,
        split=seed.split,
        source=Source.PARAPHRASE,
        story_id=seed.story_id,
        parent=seed,
    )
    row.content_hash = row.text.content_hash
    return row
