"""Validation snippets written and labelled for a sweep, where a round has none of its own.

A round labels nothing of the validation split: its alternates there set thresholds and nobody reads them. What is
labelled of the test split measures, and may choose nothing. So completions of validation prompts are drawn anew and
sent out; of the failures found, re-tellings are sent out too. All of it descends from validation text.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from engine.attacks.paraphrase import retell
from engine.attacks.paraphrasers import make_paraphraser
from engine.errors import BadInput
from engine.generation import Generator
from engine.policies.word_rules import fits_any
from engine.snippets import Snippet as SnippetText
from engine.snippets import refusals
from webapi.models import Batch, BatchState, Label, Round, Snippet, Source, SplitName, Sweep, Task
from webapi.models.queue import new_place
from workers.attack import snippet_from
from workers.generate import CHUNK, OVERDRAW, add_snippets, corpus_of, generator_of
from workers.jobs import JobRun, Later, chunked
from workers.results import account_of
from workers.round_settings import round_settings
from workers.sweep_settings import LabelWanted
from workers.vendors import follow_batch

OTHER_COMPLETIONS = 3_000_017
"""Added to the round's seed: other completions than its alternates, which set the thresholds."""
ENRICHED = "enriched"
"""In a snippet's details under `validation`: chosen by its words, so that it is no sample of what is deployed."""
SOON = 2.0
"""Seconds between two looks for labels."""


def label_validation(run: JobRun, sweep: Sweep, wanted: LabelWanted) -> None:
    """Sends out what is to be labelled, and then the re-tellings of what were failures.

    Raises Later until all labels are there. Run again it draws the same and sends nothing twice.
    """
    first = _batch(sweep, "first") or _send(sweep, "first", _completions(run, sweep.round, wanted))
    _await(first)
    seeds = list(_failures(sweep).order_by("content_hash"))
    if not seeds:
        raise BadInput("no validation snippet was labelled a failure; ask for more", where="label")
    _await(_batch(sweep, "retold") or _send(sweep, "retold", _retellings(run, sweep, seeds, wanted.draws)))


def _completions(run: JobRun, round_: Round, wanted: LabelWanted) -> list[Snippet]:
    """Rows, not written: completions of random prompts, and those of further ones that fit the word heuristics."""
    sizes, rules = round_settings(round_.config).sizes, round_.policy.rules
    corpus = corpus_of(round_, SplitName.VALIDATION)
    # Prompts that set thresholds come last: those that the round did not use are as good, and fresh.
    prompts = corpus[sizes.validation_prompts :] + corpus[: sizes.validation_prompts]
    asked = prompts[: wanted.in_distribution + OVERDRAW * wanted.seeds]
    generator = generator_of(round_, corpus, account_of(run))
    rows: list[Snippet] = []
    for at, chunk in enumerate(chunked(asked, CHUNK)):
        run.progress(at * CHUNK, len(asked))
        rows += _completed(round_, chunk, generator)
    random = {row.pk for row in asked[: wanted.in_distribution]}
    enriched = [row for row in rows if row.parent_id not in random and fits_any(rules.enrichment, row.text)]
    for row in enriched:
        row.details = {"validation": ENRICHED}
    return [row for row in rows if row.parent_id in random] + enriched[: wanted.seeds]


def _completed(round_: Round, prompts: Sequence[Snippet], generator: Generator) -> list[Snippet]:
    rules = round_.policy.rules.snippet_rules
    drawn = generator.complete([row.prompt for row in prompts], 1, seed=round_.seed + OTHER_COMPLETIONS)
    texts = [SnippetText(row.prompt, text) for row, (text,) in zip(prompts, drawn, strict=True)]
    return [
        snippet_from(row, text, Source.GENERATED)
        for row, text in zip(prompts, texts, strict=True)
        if not refusals(text, rules)
    ]


def _retellings(run: JobRun, sweep: Sweep, seeds: Sequence[Snippet], draws: int) -> list[Snippet]:
    chosen, rules = round_settings(sweep.round.config).held_out.paraphraser, sweep.policy.rules
    ledger, folder = account_of(run)
    found = retell(
        [seed.text for seed in seeds],
        make_paraphraser(chosen.name, rules, chosen.config, ledger, cache_dir=folder),
        draws,
        rules=rules.snippet_rules,
        seed=sweep.round.seed + OTHER_COMPLETIONS,
        progress=run.progress,
    )
    return [snippet_from(seeds[one.seed_index], one.snippet, Source.PARAPHRASE) for one in found]


def _failures(sweep: Sweep) -> QuerySet[Snippet]:
    """Known ones of the validation split, whoever had them labelled."""
    rows = Snippet.objects.filter(policy=sweep.policy_id, split=SplitName.VALIDATION)
    own = rows.filter(source__in=[Source.CORPUS, Source.GENERATED])
    return own.filter(consensus__choice=sweep.policy.rules.failure)


def batches_of(sweep: Sweep) -> QuerySet[Batch]:
    """The batches that were sent out for it."""
    return Batch.objects.filter(policy=sweep.policy_id, round=None, name__startswith=_name(sweep, ""))


def _name(sweep: Sweep, part: str) -> str:
    return f"sweep {sweep.pk} {part}"


def _batch(sweep: Sweep, part: str) -> Batch | None:
    """The one that was sent; a cancelled one is sent anew."""
    return batches_of(sweep).filter(name=_name(sweep, part)).exclude(state=BatchState.CANCELLED).first()


def _send(sweep: Sweep, part: str, rows: Sequence[Snippet]) -> Batch:
    """The batch with its tasks, all or nothing, for those that have no consensus yet."""
    known = add_snippets(sweep.policy_id, rows)
    mine = {row.content_hash: row.split for row in rows}
    keys = [kept.pk for digest, kept in known.items() if kept.split == mine[digest]]
    labeling = round_settings(sweep.round.config).labeling
    config: dict[str, Any] = {**labeling.config}
    if labeling.adapter == "simulated":
        config.setdefault("seed", sweep.round.seed)  # the round's own annotators
    wanted = labeling.test or sweep.policy.rules.depth.test
    with transaction.atomic():
        batch = Batch.objects.create(
            policy=sweep.policy, name=_name(sweep, part), adapter=labeling.adapter, config=config
        )
        for chunk in chunked(_unlabelled(keys), 1000):
            Task.objects.bulk_create(
                [Task(batch=batch, snippet_id=pk, wanted=wanted, place=new_place()) for pk in chunk]
            )
        if labeling.adapter != "pull":
            follow_batch(batch)
    return batch


def _unlabelled(keys: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    found: list[uuid.UUID] = []
    for chunk in chunked(keys, 1000):
        found += Snippet.objects.filter(pk__in=chunk, consensus=None).values_list("pk", flat=True)
    return found


def _await(batch: Batch) -> None:
    """Raises Later while a task is open, or a labelled snippet has no consensus yet; BadInput for a cancelled batch."""
    batch.finish_if_complete()
    batch.refresh_from_db()
    if batch.state == BatchState.CANCELLED:
        raise BadInput("its batch of validation snippets was cancelled", where=batch.name)
    labelled = Label.objects.filter(task__batch=batch, counted=True, snippet__consensus=None)
    if batch.state == BatchState.OPEN or labelled.exists():
        raise Later(SOON)
