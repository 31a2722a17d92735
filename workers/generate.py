"""Stage `generate`: the generator completes prompts of each split, never with text of another split.

Completions that may be labelled become snippets; the many alternates that only calibrate and weigh stay in one Parquet
file a split, because nobody ever reads them one by one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from engine.errors import BadInput
from engine.generation import Generator, make_generator
from engine.snippets import Snippet as SnippetText
from engine.snippets import refusals
from webapi.models import Pool, Round, RoundSnippet, Snippet, Source, SplitName, Stage
from workers.artifacts import register, round_path, writing
from workers.jobs import JobRun, chunked
from workers.round_settings import RoundSettings, round_settings

CHUNK = 64
"""Prompts completed between two looks at the lease."""


class Prompt(NamedTuple):
    """A corpus snippet that lends its prompt."""

    row: Snippet
    pool: Pool


def plan(stage: Stage) -> dict[str, dict[str, Any]]:
    """A shard a split."""
    return {split: {"split": split} for split in SplitName.values}


def generate(run: JobRun) -> dict[str, Any]:
    """Completes the prompts of one split. Run again it draws the same completions and adds no row."""
    round_, wanted, split = run.round, round_settings(run.round.config), SplitName(run.args["split"])
    corpus = Snippet.objects.filter(
        policy=round_.policy, story__corpus=round_.corpus, source=Source.CORPUS, split=split
    )
    generator = _generator(wanted, round_, corpus)
    prompts = _prompts(round_, wanted, split, corpus)
    single = [p for p in prompts if p.pool != Pool.PROMPT]
    repeated = [p for p in prompts if p.pool in (Pool.PROMPT, Pool.TEST)]
    total = len(single) + len(repeated)
    made = 0
    for done, chunk in enumerate(chunked(single, CHUNK)):
        run.progress(done * CHUNK, total)
        made += _write_snippets(round_, chunk, generator)
    if repeated:
        draws = {
            SplitName.VALIDATION: wanted.sizes.validation_completions,
            SplitName.TEST: wanted.sizes.test_completions,
        }[split]
        _write_alternates(run, split, repeated, generator, draws, len(single), total)
    run.progress(total, total)
    return {"prompts": total, "snippets": made}


def _generator(wanted: RoundSettings, round_: Round, corpus: Iterable[Snippet]) -> Generator:
    chosen = wanted.generator
    return make_generator(chosen.name, round_.policy.rules, chosen.config, corpus=(row.text for row in corpus))


def _prompts(round_: Round, wanted: RoundSettings, split: SplitName, corpus: Iterable[Snippet]) -> list[Prompt]:
    """Which prompts play which part, at random by the round's seed; no prompt plays two."""
    rows = sorted(corpus, key=lambda row: hashlib.sha256(f"{round_.seed}:{row.content_hash}".encode()).digest())
    sizes = wanted.sizes
    if split == SplitName.VALIDATION:
        return _take(rows, {Pool.PROMPT: sizes.validation_prompts}, split)
    enriched = [row for row in rows if row.details.get("enriched")]
    if split == SplitName.TEST:
        chosen = _take(rows, {Pool.TEST: sizes.test}, split)
        used = {p.row.pk for p in chosen}
        left = [row for row in enriched if row.pk not in used]
        return chosen + [Prompt(row, Pool.SEED) for row in left[: sizes.seeds]]
    first = enriched[: round(sizes.initial * wanted.enrichment)]
    used = {row.pk for row in first}
    rest = [row for row in rows if row.pk not in used]
    parts = {Pool.INITIAL: sizes.initial - len(first), Pool.CANDIDATE: sizes.candidates}
    return [Prompt(row, Pool.INITIAL) for row in first] + _take(rest, parts, split)


def _take(rows: Sequence[Snippet], parts: dict[Pool, int], split: SplitName) -> list[Prompt]:
    needed = sum(parts.values())
    if len(rows) < needed:
        raise BadInput(
            f"the {split} split has {len(rows)} corpus snippets, the round wants {needed}: "
            "give it more text, or lower `sizes`",
            where="corpus",
        )
    pools = [pool for pool, number in parts.items() for _ in range(number)]
    return [Prompt(row, pool) for row, pool in zip(rows, pools, strict=False)]


def _write_snippets(round_: Round, prompts: Sequence[Prompt], generator: Generator) -> int:
    """One completion a prompt, as snippets of the round; those that break the policy's rules are dropped."""
    completions = generator.complete([p.row.prompt for p in prompts], 1, seed=round_.seed)
    rules = round_.policy.rules.snippet_rules
    rows: list[Snippet] = []
    pools: dict[str, Pool] = {}
    for prompt, (completion,) in zip(prompts, completions, strict=True):
        text = SnippetText(prompt.row.prompt, completion)
        if refusals(text, rules) or text.content_hash in pools:
            continue
        pools[text.content_hash] = prompt.pool
        rows.append(
            Snippet(
                policy=round_.policy,
                prompt=text.prompt,
                completion=text.completion,
                content_hash=text.content_hash,
                root_hash=prompt.row.root_hash,
                split=prompt.row.split,
                source=Source.GENERATED,
                story_id=prompt.row.story_id,
                parent=prompt.row,
            )
        )
    return add_members(round_, rows, pools)


def add_members(
    round_: Round, rows: Sequence[Snippet], pools: dict[str, Pool], details: dict[str, dict[str, Any]] | None = None
) -> int:
    """Writes snippets (those there already stay) and their places in the round. Returns how many are in the round now.

    `pools` and `details` are by content hash.
    """
    Snippet.objects.bulk_create(rows, ignore_conflicts=True)
    known = Snippet.objects.filter(policy=round_.policy, content_hash__in=pools).values_list("pk", "content_hash")
    members = [
        RoundSnippet(round=round_, snippet_id=pk, pool=pools[digest], details=(details or {}).get(digest, {}))
        for pk, digest in known
    ]
    RoundSnippet.objects.bulk_create(members, ignore_conflicts=True)
    return len(members)


def alternates_path(round_: Round, split: SplitName) -> Path:
    """Where a split's alternates lie: columns `prompt_id`, `prompt`, `completion`; a prompt's rows side by side."""
    return round_path(round_, f"alternates-{split.value}.parquet")


def _write_alternates(
    run: JobRun,
    split: SplitName,
    prompts: Sequence[Prompt],
    generator: Generator,
    draws: int,
    before: int,
    total: int,
) -> None:
    path = alternates_path(run.round, split)
    schema = pa.schema([("prompt_id", pa.string()), ("prompt", pa.string()), ("completion", pa.string())])
    with writing(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for done, chunk in enumerate(chunked(prompts, CHUNK)):
            run.progress(before + done * CHUNK, total)
            texts = [p.row.prompt for p in chunk]
            # Another seed than the labelled completions': the weights' alternates must be independent of them.
            drawn = generator.complete(texts, draws, seed=run.round.seed + 1_000_003)
            rows = [(str(p.row.pk), p.row.prompt, c) for p, cs in zip(chunk, drawn, strict=True) for c in cs]
            columns = [list(column) for column in zip(*rows, strict=True)]
            writer.write_table(pa.table(columns, schema=schema))
    register(path, "alternates")
