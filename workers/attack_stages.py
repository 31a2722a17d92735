"""Stages `attack` and `attack_after`: every attack of a round, on the baseline and on the retrained classifier.

An attack whose finds are trained on starts from failures of the training split. On held-out failures every attack is
measured, before and after, from the same seeds: whether training on one lowers the yield of all is then seen. The
seeds are drawn at random and not by the baseline's score, which would favour the retrained classifier. Of the held-out
failures there are re-tellings beside, all kept, whichever classifier accepts them.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django.utils import timezone

from engine.attacks.paraphrase import retell
from engine.attacks.paraphrasers import make_paraphraser
from webapi.models import Attack, AttackRole, AttackState, Classifier, Pool, Round, Snippet, Source, Stage
from webapi.models.attacks import UNFINISHED
from webapi.selectors.rounds import known_failures
from workers.attack import SHARD, attack_shard, nearest_first, shards, snippet_from, totals_of
from workers.generate import add_members
from workers.jobs import JobRun
from workers.results import account_of, spent, total
from workers.round_settings import AttackPlan, round_settings
from workers.scoring import threshold_of
from workers.train import BASELINE, classifier_of, retrained_of

HELD_OUT = (Pool.TEST, Pool.SEED)


def plan_before(stage: Stage) -> dict[str, dict[str, Any]]:
    """Every attack on the baseline, those to be trained on first; then the re-tellings."""
    wanted, round_ = round_settings(stage.round.config), stage.round
    baseline, held_out = classifier_of(round_, BASELINE), known_failures(round_, *HELD_OUT)
    planned: dict[str, dict[str, Any]] = {}
    known = known_failures(round_, Pool.INITIAL)
    ordered = {"nearest": nearest_first(baseline, known, threshold_of(baseline)), "random": known}
    for one in wanted.attacks:
        if one.seeds:
            planned |= _planned(round_, baseline, AttackRole.TRAINING, one, ordered[one.start][: one.seeds])
    for one in wanted.attacks:
        planned |= _planned(round_, baseline, AttackRole.MEASURING, one, held_out[: wanted.measuring.seeds])
    for start in range(0, len(held_out), SHARD):
        part = [str(pk) for pk in held_out[start : start + SHARD]]
        planned[f"retell-{start // SHARD:04d}"] = {"seeds": part}
    return planned


def plan_after(stage: Stage) -> dict[str, dict[str, Any]]:
    """Every attack on the retrained classifier, from the same held-out seeds."""
    wanted, round_ = round_settings(stage.round.config), stage.round
    retrained = classifier_of(round_, retrained_of(round_))
    before = round_.attacks.filter(role=AttackRole.MEASURING, classifier__condition=BASELINE)
    seeds_of = dict(before.values_list("title", "wanted"))
    planned: dict[str, dict[str, Any]] = {}
    for one in wanted.attacks:
        seeds = [uuid.UUID(pk) for pk in seeds_of.get(one.title, {}).get("snippets", ())]
        planned |= _planned(round_, retrained, AttackRole.MEASURING, one, seeds)
    return planned


def attack(run: JobRun) -> dict[str, Any]:
    """One shard: of an attack, or of the re-tellings."""
    return attack_shard(run) if "attack" in run.args else _retell(run)


def settle(stage: Stage) -> dict[str, Any]:
    """Ends the stage's attacks with their totals."""
    for row in Attack.objects.filter(jobs__stage=stage).distinct():
        row.succeed(totals_of(row))
    return total(stage.jobs.filter(kind="stage").order_by("shard").values_list("result", flat=True))


def end_unfinished(round_: Round, state: AttackState, error: str = "") -> None:
    """A round that fails or is cancelled ends its attacks."""
    unfinished = Attack.objects.filter(round=round_, state__in=UNFINISHED)
    unfinished.update(state=state, error=error, finished_at=timezone.now())


def _planned(
    round_: Round, classifier: Classifier, role: AttackRole, one: AttackPlan, seeds: Sequence[uuid.UUID]
) -> dict[str, dict[str, Any]]:
    """The attack's row, made or set going again, and its shards."""
    if not seeds:
        return {}
    row, _ = Attack.objects.get_or_create(
        round=round_,
        classifier=classifier,
        role=role,
        title=one.title,
        defaults={
            "policy": round_.policy,
            "threshold": threshold_of(classifier),
            "name": one.name,
            "config": one.config,
            "budget": one.budget.model_dump(exclude_none=True),
            "seed": round_.seed,
            "seeds": len(seeds),
            "wanted": {"snippets": [str(pk) for pk in seeds]},
        },
    )
    again = Attack.objects.filter(pk=row.pk).exclude(state=AttackState.SUCCEEDED)
    again.update(state=AttackState.RUNNING, error="", finished_at=None)
    return shards(row, [uuid.UUID(pk) for pk in row.wanted["snippets"]])


def _retell(run: JobRun) -> dict[str, Any]:
    """Re-tellings of held-out failures. Run again it draws the same and adds no row."""
    round_, wanted = run.round, round_settings(run.round.config).held_out
    by_id = Snippet.objects.in_bulk([uuid.UUID(pk) for pk in run.args["seeds"]])
    seeds = [by_id[uuid.UUID(pk)] for pk in run.args["seeds"]]
    ledger, folder = account = account_of(run)
    chosen, rules = wanted.paraphraser, round_.policy.rules
    found = retell(
        [seed.text for seed in seeds],
        make_paraphraser(chosen.name, rules, chosen.config, ledger, cache_dir=folder),
        wanted.draws,
        rules=rules.snippet_rules,
        seed=round_.seed,
        progress=run.progress,
    )
    rows = [snippet_from(seeds[one.seed_index], one.snippet, Source.PARAPHRASE) for one in found]
    details = {row.content_hash: {"from": str(row.parent_id)} for row in rows}
    kept = add_members(round_, rows, dict.fromkeys(details, Pool.ATTACK_TEST), details)
    # An attack that is measured may have told the same; the set must hold it all the same, whoever accepts it.
    mine = round_.members.filter(snippet__content_hash__in=list(details), pool=Pool.MEASURED)
    mine.update(pool=Pool.ATTACK_TEST)
    return {"retold": len(seeds), "retellings": kept, **spent(account)}
