"""Attacks at work: one shard's seeds attacked, what was found written down, and the totals of all shards."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.attacks import ATTACKS, Budget, Outcome, Target, make_attack
from engine.attacks.base import Encoder
from engine.attacks.disagreement import disagreement
from engine.generation.rejection import logit_cutoff
from engine.progress import silent
from engine.snippets import Snippet as SnippetText
from webapi.models import Attack, AttackCandidate, AttackRole, AttackSeed, Classifier, Pool, Snippet, Source
from webapi.models.attacks import CHOOSE_SEEDS
from workers.generate import add_members, add_snippets
from workers.jobs import JobRun
from workers.results import account_of, kept_in_any_case, spent, total
from workers.scoring import load_classifier, logits_of, score_snippets, threshold_of, weights_of

SHARD = 50
"""Seeds a job."""
_POOLS = {AttackRole.TRAINING: Pool.ATTACK, AttackRole.MEASURING: Pool.MEASURED}


def shards(attack: Attack, seeds: Sequence[uuid.UUID]) -> dict[str, dict[str, Any]]:
    """The attack on these seeds as arguments of jobs, by shard; each has its share of the budget.

    One that has a budget of tokens or money is one shard, whatever its size: a ledger keeps it whole, where each
    share might be too small for a single request; and it waits on an endpoint, so that many workers would gain little.
    """
    size = len(seeds) if {"tokens", "money"} & set(attack.budget) else SHARD
    return {
        f"{attack.role}-{attack.title}-{start // size:04d}": {
            "attack": str(attack.pk),
            "seeds": [str(pk) for pk in seeds[start : start + size]],
            "start": start,
            "whole": len(seeds),
        }
        for start in range(0, len(seeds), size)
    }


def attack_shard(run: JobRun) -> dict[str, Any]:
    """Attacks one shard's seeds. Run again it finds the same, adds no row, and pays for no finished request."""
    row = Attack.objects.select_related("classifier__artifact", "second_opinion__artifact", "policy", "round").get(
        pk=run.attack.pk
    )
    by_id = Snippet.objects.in_bulk([uuid.UUID(pk) for pk in run.args["seeds"]])
    seeds = [by_id[uuid.UUID(pk)] for pk in run.args["seeds"]]
    start, whole = int(run.args["start"]), int(run.args["whole"])
    share = Budget(**row.budget).share(start, start + len(seeds), whole)
    target = target_of(row)
    if row.second_opinion is not None:
        weights_of(row.second_opinion)  # missing, they are to be missed before anything is paid for
    account = account_of(run, share)
    made = make_attack(row.name, row.policy.rules, row.config, account)
    with kept_in_any_case(run, account):
        outcome = made.run([one.text for one in seeds], target, share, seed=row.seed, progress=run.progress)
    score_snippets(row.classifier, target.classifier, [one.pk for one in seeds], silent)
    _write_seeds(row, seeds, outcome)
    _write_candidates(row, seeds, outcome)
    return {
        "seeds": len(seeds),
        "drawn": sum(one.drawn for one in outcome.seeds),
        "invalid": sum(one.invalid for one in outcome.seeds),
        "duplicates": sum(one.duplicates for one in outcome.seeds),
        "queries": outcome.queries,
        "accepted": sum(one.accepted for one in outcome.seeds),
        "kept": len(outcome.candidates),
        "seconds": round(outcome.seconds, 3),
        "stops": dict(Counter(one.stop for one in outcome.seeds)),
        **spent(account),
    }


def nearest_first(
    classifier: Classifier, ids: Sequence[uuid.UUID], threshold: float, *, rejected_only: bool = False
) -> list[uuid.UUID]:
    """Those that the classifier rejects, nearest to the threshold first; what it accepts anyway last, or left out.

    What it has not scored is left out.
    """
    known, cutoff = logits_of(classifier, ids), logit_cutoff(threshold)
    accepted = {pk: bool(np.float32(logit) < cutoff) for pk, logit in known.items()}
    kept = [pk for pk in ids if pk in known and not (rejected_only and accepted[pk])]
    return sorted(kept, key=lambda pk: (accepted[pk], known[pk]))


def target_of(row: Attack) -> Target:
    """What the attack is on, with its models loaded as they are asked for."""
    from engine.classifiers.white_box import load_white_box  # torch loads with it

    folder = weights_of(row.classifier)
    return Target(
        row.policy.rules,
        load_classifier(row.classifier),
        row.threshold,
        cache(lambda: load_white_box(folder)),
        _sentence_encoder,
    )


@cache
def _sentence_encoder() -> Encoder:
    """One a process: its parts refer to each other in circles, so that every further one would take 50 MB more for long
    after its shard.
    """
    from engine.embeddings import SentenceEncoder  # torch loads with it

    return SentenceEncoder()


def totals_of(row: Attack) -> dict[str, Any]:
    """The attack's totals, over the shards that have ended."""
    return total(
        row.jobs.exclude(kind=CHOOSE_SEEDS).exclude(result={}).order_by("shard").values_list("result", flat=True)
    )


def _write_seeds(row: Attack, seeds: Sequence[Snippet], outcome: Outcome) -> None:
    logits = logits_of(row.classifier, [seed.pk for seed in seeds])
    AttackSeed.objects.bulk_create(
        [
            AttackSeed(attack=row, snippet=seed, logit=logits[seed.pk], queries=one.queries, stop=one.stop or "")
            for seed, one in zip(seeds, outcome.seeds, strict=True)
        ],
        ignore_conflicts=True,
        batch_size=1000,
    )


def _write_candidates(row: Attack, seeds: Sequence[Snippet], outcome: Outcome) -> None:
    """What was found: snippets, their places in the round, and how each was found. What another split has already is
    left out.
    """
    source = Source(ATTACKS[row.name].source)
    found = [snippet_from(seeds[one.seed_index], one.snippet, source) for one in outcome.candidates]
    if row.round is not None:
        members = {
            snippet.content_hash: {"from": str(snippet.parent_id), "logit": one.logit, "attack": row.title}
            for snippet, one in zip(found, outcome.candidates, strict=True)
        }
        add_members(row.round, found, dict.fromkeys(members, _POOLS[AttackRole(row.role)]), members)
    known = add_snippets(row.policy_id, found)
    strengths = _strengths(row, outcome)
    AttackCandidate.objects.bulk_create(
        [
            AttackCandidate(
                attack=row,
                snippet_id=known[snippet.content_hash].pk,
                seed=seeds[one.seed_index],
                logit=one.logit,
                strength=float(strength),
                similarity=one.similarity if np.isfinite(one.similarity) else None,
                edits=[edit._asdict() for edit in one.edits],
                queries=one.queries,
            )
            for snippet, one, strength in zip(found, outcome.candidates, strengths, strict=True)
            if known[snippet.content_hash].split == snippet.split
        ],
        ignore_conflicts=True,
        batch_size=1000,
    )


def _strengths(row: Attack, outcome: Outcome) -> NDArray[np.float32]:
    """How strong each find is, (n,): how far below the threshold, or how far a second opinion disagrees."""
    logits = np.array([one.logit for one in outcome.candidates], dtype=np.float32)
    cutoff = logit_cutoff(row.threshold)
    other = row.second_opinion
    if other is None or not len(logits):
        return cutoff - logits
    opinions = load_classifier(other).logits([one.snippet for one in outcome.candidates])
    return disagreement(logits, cutoff, opinions, logit_cutoff(threshold_of(other)))


def snippet_from(seed: Snippet, text: SnippetText, source: Source) -> Snippet:
    """A row, not written, for what was made of a seed: it stays in its split."""
    return Snippet(
        policy_id=seed.policy_id,
        prompt=text.prompt,
        completion=text.completion,
        content_hash=text.content_hash,
        root_hash=seed.root_hash,
        split=seed.split,
        source=source,
        story_id=seed.story_id,
        parent=seed,
    )
