"""Job `write_examples`: what simulated contractors write beside a round, labelled by the round's simulated annotators.

It stands in no pool of the round and in none of its figures. Texts of other splits than the training one are not kept.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django.db import transaction

from engine.errors import BadInput
from engine.generation.rejection import logit_cutoff
from engine.simulation.contractors import Written, manual_examples, rewritten_failures
from engine.snippets import Snippet as SnippetText
from engine.snippets import refusals, split_of
from webapi.models import (
    Annotator,
    Attack,
    AttackCandidate,
    AttackRole,
    AttackState,
    Batch,
    BatchState,
    Classifier,
    Pool,
    Round,
    Snippet,
    Source,
    SplitName,
    Task,
)
from webapi.models.queue import new_place
from webapi.selectors.rounds import known_failures
from workers.aggregate import aggregate
from workers.attack import shards, snippet_from
from workers.condition_settings import ConditionSettings, condition_settings
from workers.generate import add_snippets
from workers.jobs import JobRun
from workers.round_settings import round_settings
from workers.scoring import load_classifier, threshold_of
from workers.vendor_answers import take
from workers.vendors import adapter_of, open_tasks, outgoing, outgoing_batch, send_batch

MANUAL, TOOL_ASSISTED = "manual", "tool-assisted"
CONTRACTORS = 5
LABELERS = "simulated"
MOST_PASSES = 30
"""Times that the annotators are asked; a snippet wants at most 25 labels."""


def check_round(round_: Round) -> None:
    """Raises BadInput for a round beside which nothing simulated should be written."""
    if round_settings(round_.config).labeling.adapter != LABELERS:
        said = "its labels come from people; simulated contractors write only beside simulated labels"
        raise BadInput(said, where=round_.name)
    if round_.policy.rules.simulation.judge != "story_world":
        raise BadInput(
            "its stories are no simulated story world, and simulated contractors can write of no other: name your own "
            "conditions with --config",
            where=round_.name,
        )


def write_examples(run: JobRun) -> dict[str, Any]:
    """Writes, has labelled and aggregates one data set. Run again it writes the same, and adds what is missing."""
    round_ = Round.objects.select_related("policy").get(pk=run.args["round"])
    target = Classifier.objects.select_related("artifact").get(pk=run.args["classifier"])
    wanted, kind = condition_settings(run.args["settings"]), str(run.args["kind"])
    check_round(round_)
    written = _manual(run, round_, target, wanted) if kind == MANUAL else _rewrites(run, round_, target, wanted)
    known = add_snippets(round_.policy_id, written)
    ids = {kept.pk for kept in known.values() if kept.split == SplitName.TRAIN}
    found = AttackCandidate.objects.filter(attack__in=run.args.get("attacks", []), snippet__split=SplitName.TRAIN)
    ids |= set(found.values_list("snippet_id", flat=True))
    # What the round has labelled already is part of its own data.
    ids -= set(round_.members.filter(snippet__in=ids).values_list("snippet_id", flat=True))
    batch = _batch(round_, kind, target, sorted(ids))
    labels = _label(batch, run)
    aggregate(round_.policy, sorted(ids), run.progress)
    return {"batch": str(batch.pk), "snippets": len(ids), "labels": labels}


def attacks_beside(round_: Round, target: Classifier, wanted: ConditionSettings) -> list[Attack]:
    """The automatic attacks on known failures of the training split; what is there already is not made again."""
    seeds = [str(pk) for pk in known_failures(round_, Pool.INITIAL)[: wanted.attack_seeds]]
    return [_attack(round_, target, name, seeds, wanted.attack_queries) for name in wanted.attacks] if seeds else []


def _attack(round_: Round, target: Classifier, name: str, seeds: list[str], queries: int) -> Attack:
    asked = {"budget": {"queries": queries}, "wanted": {"snippets": seeds}, "config": {"wanted": 1}}
    title = f"{name}, for {TOOL_ASSISTED}"
    alike = Attack.objects.filter(classifier=target, role=AttackRole.ALONE, title=title, seed=round_.seed)
    for row in alike.exclude(state__in=[AttackState.FAILED, AttackState.CANCELLED]):
        if all(getattr(row, field) == value for field, value in asked.items()):
            return row
    return Attack.objects.create(
        policy=round_.policy,
        classifier=target,
        threshold=threshold_of(target),
        role=AttackRole.ALONE,
        name=name,
        title=title,
        seed=round_.seed,
        seeds=len(seeds),
        state=AttackState.RUNNING,
        **asked,
    )


def shards_of(row: Attack) -> dict[str, dict[str, Any]]:
    """The attack's shards, as arguments of jobs."""
    return shards(row, [uuid.UUID(pk) for pk in row.wanted["snippets"]])


def _manual(run: JobRun, round_: Round, target: Classifier, wanted: ConditionSettings) -> list[Snippet]:
    rules = round_.policy.rules.snippet_rules
    scorer, cutoff = load_classifier(target), float(logit_cutoff(threshold_of(target)))

    def fits(text: SnippetText) -> bool:
        return not refusals(text, rules) and split_of(text.content_hash) == SplitName.TRAIN.value

    found = manual_examples(
        lambda texts: scorer.logits(texts).tolist(), cutoff, fits,
        wanted=wanted.manual, budget=wanted.scored, seed=round_.seed, progress=run.progress,
    )  # fmt: skip
    authors = _contractors()
    return [
        Snippet(
            policy=round_.policy,
            prompt=one.snippet.prompt,
            completion=one.snippet.completion,
            content_hash=one.snippet.content_hash,
            root_hash=one.snippet.content_hash,
            split=split_of(one.snippet.content_hash),
            source=Source.MANUAL,
            author=authors[number % len(authors)],
            details=_details(one, target),
        )
        for number, one in enumerate(found)
    ]


def _rewrites(run: JobRun, round_: Round, target: Classifier, wanted: ConditionSettings) -> list[Snippet]:
    """From the failures after those that the automatic attacks start from."""
    rules = round_.policy.rules.snippet_rules
    scorer, cutoff = load_classifier(target), float(logit_cutoff(threshold_of(target)))
    known = known_failures(round_, Pool.INITIAL)
    chosen = [*known[wanted.attack_seeds :], *known[: wanted.attack_seeds]][: wanted.rewrites]
    by_id = Snippet.objects.in_bulk(chosen)
    seeds = {by_id[pk].text: by_id[pk] for pk in chosen}
    found = rewritten_failures(
        list(seeds), lambda texts: scorer.logits(texts).tolist(), cutoff, lambda text: not refusals(text, rules),
        budget=wanted.scored, seed=round_.seed, progress=run.progress,
    )  # fmt: skip
    authors, rows = _contractors(), []
    for number, one in enumerate(found):
        row = snippet_from(seeds[one.start], one.snippet, Source.REWRITE)
        row.author, row.details = authors[number % len(authors)], _details(one, target)
        rows.append(row)
    return rows


def _details(one: Written, target: Classifier) -> dict[str, Any]:
    return {"simulated": True, "against": str(target.pk), "logit": one.logit, "edits": one.edits, "scored": one.scored}


def _contractors() -> list[Annotator]:
    """Those who write; they label nothing."""
    names = [f"simulated-contractor-{number + 1:02d}" for number in range(CONTRACTORS)]
    rows = [Annotator(vendor="simulated contractors", external_id=name, name=name, simulated=True) for name in names]
    Annotator.objects.bulk_create(rows, ignore_conflicts=True)
    return list(Annotator.objects.filter(vendor="simulated contractors", external_id__in=names).order_by("external_id"))


def _batch(round_: Round, kind: str, target: Classifier, ids: Sequence[uuid.UUID]) -> Batch:
    """The batch that sends these out, whole or not at all. Its key follows from what it is of."""
    labeling, depth = round_settings(round_.config).labeling, round_.policy.rules.depth
    key = uuid.uuid5(round_.pk, f"conditions {kind} {target.pk} {' '.join(str(pk) for pk in ids)}")
    with transaction.atomic():
        batch, made = Batch.objects.get_or_create(
            pk=key,
            defaults={
                "policy": round_.policy,
                "name": f"{round_.name}: {kind}, by simulated contractors"[-100:],
                "adapter": LABELERS,
                "config": {**labeling.config, "seed": round_.seed},
            },
        )
        if made:
            wanted = labeling.selected or depth.first
            tasks = [Task(batch=batch, snippet_id=pk, wanted=wanted, place=new_place()) for pk in ids]
            Task.objects.bulk_create(tasks, batch_size=1000)
    batch.finish_if_complete()
    batch.refresh_from_db()
    return batch


def _label(batch: Batch, run: JobRun) -> int:
    """The annotators' answers, until no task wants another. Returns how many labels the batch has."""
    adapter = adapter_of(batch)
    for _ in range(MOST_PASSES):
        batch.refresh_from_db()
        if batch.state != BatchState.OPEN:
            break
        send_batch(batch, run)
        take(batch, adapter.collect(outgoing_batch(batch), outgoing(open_tasks(batch), adapter)), adapter)
        batch.finish_if_complete()
    else:
        raise BadInput("its tasks still want labels after all simulated annotators were asked", where=str(batch))
    return sum(batch.tasks.values_list("labelled", flat=True))
