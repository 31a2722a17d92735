"""Stage `generate`: the generator completes prompts of each split, never with text of another split.

Completions that may be labelled become snippets; the many alternates that only calibrate and weigh stay in one Parquet
file a split, because nobody ever reads them one by one.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from engine.endpoints.settings import Account
from engine.errors import BadInput
from engine.generation import Generator
from engine.policies.word_rules import fits_any
from engine.snippets import Snippet as SnippetText
from engine.snippets import refusals
from webapi.models import Pool, Round, RoundSnippet, Snippet, Source, SplitName, Stage
from workers.artifacts import register, round_path, writing
from workers.generators import Chosen, chosen, load_generator, not_trained_on
from workers.jobs import JobRun, chunked
from workers.results import account_of, spent
from workers.round_settings import RoundSettings, Sizes, round_settings

CHUNK = 64
"""Prompts completed between two looks at the lease."""
OVERDRAW = 4
"""Prompts completed for each enriched snippet wanted: the heuristics fit a part of them."""


class Drawn(NamedTuple):
    """A corpus snippet that lent its prompt, and the snippet with the generator's completion."""

    prompt: Snippet
    text: SnippetText


def plan(stage: Stage) -> dict[str, dict[str, Any]]:
    """A shard a split."""
    return {split: {"split": split} for split in SplitName.values}


def generate(run: JobRun) -> dict[str, Any]:
    """Completes the prompts of one split. Run again it draws the same completions and adds no row."""
    round_, wanted, split = run.round, round_settings(run.round.config), SplitName(run.args["split"])
    rows, account, source = corpus_of(round_, split), account_of(run), chosen(wanted.generator)
    generator = generator_of(round_, rows, account)
    once, often, draws = _parts(wanted.sizes, split, rows, tuned=source.row is not None)
    total = len(once) + len(often)
    drawn: list[Drawn] = []
    for chunk in chunked(once, CHUNK):
        run.progress(len(drawn), total)
        drawn += _complete(round_, chunk, generator)
    pools = _pools(round_, wanted, split, drawn, {row.pk for row in often})
    kept = [one for one in drawn if one.text.content_hash in pools]
    origins = {one.text.content_hash: {"from": str(one.prompt.pk)} for one in kept}
    made = add_members(round_, [generated_row(round_, one, source) for one in kept], pools, origins)
    if often:
        _write_alternates(run, split, often, generator, draws, total)
    run.progress(total, total)
    return {"prompts": total, "snippets": made, **spent(account)}


def corpus_of(round_: Round, split: SplitName) -> list[Snippet]:
    """The round's corpus snippets of that split, in random order by its seed. Those that measure come from stories that
    the round's generator was not trained on.
    """
    corpus = Snippet.objects.filter(
        policy=round_.policy, story__corpus=round_.corpus, source=Source.CORPUS, split=split
    )
    rows = sorted(corpus, key=lambda row: hashlib.sha256(f"{round_.seed}:{row.content_hash}".encode()).digest())
    if split == SplitName.TRAIN:
        return rows
    return not_trained_on(chosen(round_settings(round_.config).generator).row, rows)


def generator_of(round_: Round, corpus: Iterable[Snippet], account: Account) -> Generator:
    """The round's generator, on text of one split alone."""
    source = chosen(round_settings(round_.config).generator)
    return load_generator(source, round_.policy.rules, corpus=(row.text for row in corpus), account=account)


def _parts(
    sizes: Sizes, split: SplitName, rows: Sequence[Snippet], *, tuned: bool = False
) -> tuple[list[Snippet], list[Snippet], int]:
    """The prompts to complete once, those to complete often, and how often. Rows are in random order by the seed; of a
    tuned generator they are those from stories that it was not trained on.
    """
    needed = {
        SplitName.TRAIN: sizes.initial + sizes.candidates,
        SplitName.VALIDATION: sizes.validation_prompts,
        SplitName.TEST: sizes.test + sizes.seeds,
    }[split]
    if len(rows) < needed:
        unseen = " of stories that the generator was not trained on" if tuned and split != SplitName.TRAIN else ""
        raise BadInput(
            f"the {split} split has {len(rows)} snippets{unseen}, the round wants {needed}: "
            "give it more text, or lower `sizes`",
            where="corpus",
        )
    if split == SplitName.VALIDATION:
        return [], list(rows[: sizes.validation_prompts]), sizes.validation_completions
    if split == SplitName.TEST:
        return list(rows[: sizes.test + OVERDRAW * sizes.seeds]), list(rows[: sizes.test]), sizes.test_completions
    return list(rows[: OVERDRAW * sizes.initial + sizes.candidates]), [], 0


def _complete(round_: Round, prompts: Sequence[Snippet], generator: Generator) -> list[Drawn]:
    """One completion a prompt; those that break the policy's rules are dropped."""
    completions = generator.complete([row.prompt for row in prompts], 1, seed=round_.seed)
    rules = round_.policy.rules.snippet_rules
    drawn = [Drawn(row, SnippetText(row.prompt, text)) for row, (text,) in zip(prompts, completions, strict=True)]
    return [one for one in drawn if not refusals(one.text, rules)]


def _pools(
    round_: Round, wanted: RoundSettings, split: SplitName, drawn: Sequence[Drawn], often: Set[uuid.UUID]
) -> dict[str, Pool]:
    """What each completion is for, by content hash.

    Enriched snippets are those whose completion fits the policy's word heuristics (paper, A.1.4); they fill a share of
    the initial set and all of the held-out attack's seeds. Test snippets are never chosen by what they say: they are
    those of the prompts completed `often`, and where a completion broke the rules there is one fewer.
    """
    sizes, rules = wanted.sizes, round_.policy.rules
    pools: dict[str, Pool] = {}
    rest = list(drawn)
    if split == SplitName.TEST:
        pools |= {one.text.content_hash: Pool.TEST for one in rest if one.prompt.pk in often}
        rest = [one for one in rest if one.prompt.pk not in often]
    share = 1.0 if split == SplitName.TEST else wanted.enrichment
    most = sizes.seeds if split == SplitName.TEST else sizes.initial
    pool = Pool.SEED if split == SplitName.TEST else Pool.INITIAL
    fitting = [one for one in rest if fits_any(rules.enrichment, one.text)] if rules.enrichment else []
    for one in fitting[: round(most * share)]:
        pools.setdefault(one.text.content_hash, pool)
    if split == SplitName.TRAIN:
        left = [one.text.content_hash for one in rest if one.text.content_hash not in pools]
        initial = sizes.initial - len(pools)
        pools |= dict.fromkeys(left[:initial], Pool.INITIAL)
        pools |= dict.fromkeys(left[initial : initial + sizes.candidates], Pool.CANDIDATE)
    return pools


def generated_row(round_: Round, one: Drawn, source: Chosen) -> Snippet:
    """The snippet of a completion, not yet written: it derives from the prompt's, and stays in its split."""
    return Snippet(
        policy=round_.policy,
        prompt=one.text.prompt,
        completion=one.text.completion,
        content_hash=one.text.content_hash,
        root_hash=one.prompt.root_hash,
        split=one.prompt.split,
        source=Source.GENERATED,
        story_id=one.prompt.story_id,
        parent=one.prompt,
        details={"generator": source.lineage},
    )


def add_members(
    round_: Round, rows: Sequence[Snippet], pools: dict[str, Pool], details: dict[str, dict[str, Any]]
) -> int:
    """Writes snippets and their places in the round; run again it adds what is missing. Returns how many are in it now.

    A text that is there already stays as it is, with the parent it first had. So `details` says under `from` which
    prompt's corpus snippet, or which seed, it came from in this round. `pools` and `details` are by content hash.
    """
    known = add_snippets(round_.policy_id, rows)
    members = [
        RoundSnippet(round=round_, snippet_id=row.pk, pool=pools[digest], details=details[digest])
        for digest, row in known.items()
    ]
    RoundSnippet.objects.bulk_create(members, ignore_conflicts=True, batch_size=1000)
    return len(members)


class Kept(NamedTuple):
    """A snippet's row as it is in the database."""

    pk: uuid.UUID
    split: str


def add_snippets(policy_id: uuid.UUID, rows: Sequence[Snippet]) -> dict[str, Kept]:
    """Writes what is not there yet, and says by content hash what is there now."""
    known: dict[str, Kept] = {}
    for chunk in chunked(rows, 1000):
        Snippet.objects.bulk_create(chunk, ignore_conflicts=True)
        digests = [row.content_hash for row in chunk]
        found = Snippet.objects.filter(policy=policy_id, content_hash__in=digests, external_id="")
        known |= {digest: Kept(pk, split) for pk, digest, split in found.values_list("pk", "content_hash", "split")}
    return known


def alternates_path(round_: Round, split: SplitName) -> Path:
    """Where a split's alternates lie: columns `prompt_id`, `prompt`, `completion`; a prompt's rows side by side."""
    return round_path(round_, f"alternates-{split.value}.parquet")


def _write_alternates(
    run: JobRun, split: SplitName, prompts: Sequence[Snippet], generator: Generator, draws: int, total: int
) -> None:
    path = alternates_path(run.round, split)
    schema = pa.schema([("prompt_id", pa.string()), ("prompt", pa.string()), ("completion", pa.string())])
    done = total - len(prompts)
    with writing(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for chunk in chunked(prompts, CHUNK):
            run.progress(done, total)
            # Another seed than the labelled completions': the weights' alternates must be independent of them.
            drawn = generator.complete([row.prompt for row in chunk], draws, seed=run.round.seed + 1_000_003)
            rows = [(str(row.pk), row.prompt, text) for row, texts in zip(chunk, drawn, strict=True) for text in texts]
            columns = [list(column) for column in zip(*rows, strict=True)]
            writer.write_table(pa.table(columns, schema=schema))
            done += len(chunk)
    register(path, "alternates")
