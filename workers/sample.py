"""Job `sample_completions`: for each prompt the first completion of a generator that a classifier accepts.

Decisions lie in Parquet shards, one after the other: a job that died goes on behind the last whole one.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from django.conf import settings
from pydantic import Field, field_validator, model_validator

from engine.config import Named
from engine.errors import BadInput, EngineError
from engine.evaluation.rates import clustered
from engine.generation import Sampled, check_generator, rejection_stream
from engine.snippets import Snippet as SnippetText
from webapi.models import Classifier, Corpus, Job, Policy, Round, Snippet, Source, SplitName
from workers.artifacts import register, writing
from workers.generators import Chosen, chosen, load_generator, not_trained_on
from workers.jobs import JobRun
from workers.results import account_of, kept_in_any_case, spent
from workers.round_settings import Part
from workers.scoring import load_classifier
from workers.table_files import Format, read_lines

SAMPLE_COMPLETIONS = "sample_completions"
SHARD = 256
"""Prompts a file of decisions: they share the models' batches."""
MAX_PROMPT = 100_000
"""Characters."""
SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("copy", pa.int32()),
        ("snippet", pa.string()),
        ("prompt", pa.string()),
        ("completion", pa.string()),
        ("proposals", pa.int32()),
        ("logit", pa.float32()),
        ("rejected_logits", pa.list_(pa.float32())),
    ]
)
"""A decision. `number` and `copy`: which prompt, and which of its samples; `completion` is null where none was
accepted; an empty proposal counts as rejected with a logit of infinity."""


class PromptsWanted(Part):
    """Where prompts come from: given here, in a file's column `prompt`, or those of a round's snippets."""

    texts: tuple[str, ...] = Field((), max_length=10_000)
    path: str = Field("", max_length=1000)
    """Of a file on the server: JSONL, CSV or Parquet."""
    format: Format | None = None
    """As the file's suffix says, unless given."""
    round: uuid.UUID | None = None
    split: SplitName = SplitName.TEST
    """Of the round's corpus snippets."""
    limit: int | None = Field(None, ge=1)
    """So many prompts at most: the first ones, or, of a round, any."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum((bool(self.texts), bool(self.path), self.round is not None)) != 1:
            raise ValueError("give one of texts, path and round")
        return self

    @field_validator("texts")
    @classmethod
    def _spoken(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for place, text in enumerate(value):
            if problem := _wrong(text):
                raise ValueError(f"prompt {place + 1} {problem}")
        return value


class Sampling(Part):
    """What is sampled: by which generator, from which prompts, within how many tries."""

    generator: Named = Named(name="nearest_continuations")
    """In the registry of generators; a tuned one is `causal_lm` with the model `generator:NAME`."""
    prompts: PromptsWanted
    corpus: uuid.UUID | None = None
    """For a generator that learns from text: the corpus whose snippets it learns from. A round's prompts bring
    theirs."""
    copies: int = Field(1, ge=1, le=100)
    """Samples of each prompt, independent of one another."""
    tries: int = Field(100, ge=1, le=1000)
    """Proposals for a sample, at most; then there is none (paper, A.2)."""
    seed: int = Field(0, ge=0, le=2**31 - 1)

    @field_validator("generator")
    @classmethod
    def _generator(cls, value: Named) -> Named:
        try:
            check_generator(value.name, value.config)
        except EngineError as error:
            raise ValueError(str(error)) from None
        return value


class Prompt(NamedTuple):
    """A prompt, and the snippet that lent it, if one did."""

    text: str
    snippet: str = ""


def sample_completions(run: JobRun) -> dict[str, Any]:
    """Samples under `args["policy"]` as `args["sampling"]` says, through `args["classifier"]` at `args["threshold"]`.

    The result tells the share of proposals that were rejected and of samples for which none was accepted. Run again,
    or after a kill, it makes the same decisions and repeats no finished shard.
    """
    wanted, policy = Sampling(**run.args["sampling"]), Policy.objects.get(pk=run.args["policy"])
    source, classifier = chosen(wanted.generator), _classifier(run)
    found = _prompts(wanted.prompts, source)
    total = sum(1 for _ in found.each()) * wanted.copies
    if not total:
        raise BadInput("there is no prompt to complete", where="prompts")
    folder = samples_path(run.job)
    start = _finished(folder) * SHARD
    if start < total:
        account = account_of(run)
        with kept_in_any_case(run, account):
            generator = load_generator(source, policy.rules, corpus=_texts(wanted, policy), account=account)
            prompts = islice(_copied(found.each(), wanted.copies), start, None)
            kept = list[_Place]()

            def texts() -> Iterator[str]:
                for place in prompts:
                    kept.append(place)
                    yield place.prompt.text

            stream = rejection_stream(
                texts(),
                generator,
                load_classifier(classifier),
                float(run.args["threshold"]),
                seed=wanted.seed,
                max_draws=wanted.tries,
                at_once=SHARD,
                first=start,
                progress=lambda done, _: run.progress(start + done, total),
            )
            for decisions in stream:
                _write(folder / f"{start // SHARD:06d}.parquet", kept, decisions)
                start += len(decisions)
                kept.clear()
                run.progress(start, total)
        paid = spent(account)
    else:
        paid = {}
    register(folder, "samples")
    return {**_totals(folder), "left_out": found.left_out, "generator": source.lineage, **paid}


def samples_path(job: Job) -> Path:
    """The folder of a job's decisions."""
    return Path(settings.GAUNTLET_HOME) / "samples" / str(job.pk)


class _Place(NamedTuple):
    number: int
    copy: int
    prompt: Prompt


def _copied(prompts: Iterable[Prompt], copies: int) -> Iterator[_Place]:
    for number, prompt in enumerate(prompts):
        for copy in range(copies):
            yield _Place(number, copy, prompt)


class _Prompts(NamedTuple):
    """Prompts that can be read twice: to count and check them, and to complete them."""

    wanted: PromptsWanted
    rows: Sequence[Prompt]
    left_out: int
    """Prompts from stories that the generator was trained on."""

    def each(self) -> Iterator[Prompt]:
        """In order. Raises BadInput naming the line that is wrong."""
        if not self.wanted.path:
            return iter(self.rows)
        return islice(_in_file(self.wanted), self.wanted.limit)


def _prompts(wanted: PromptsWanted, source: Chosen) -> _Prompts:
    if wanted.round is None:
        return _Prompts(wanted, [Prompt(text) for text in wanted.texts[: wanted.limit]], 0)
    round_ = Round.objects.get(pk=wanted.round)
    rows = list(
        Snippet.objects.filter(
            policy=round_.policy_id, story__corpus=round_.corpus_id, source=Source.CORPUS, split=wanted.split
        ).order_by("content_hash")
    )
    clear = not_trained_on(source.row, rows)
    found = [Prompt(row.prompt, str(row.pk)) for row in clear if not _wrong(row.prompt)]
    return _Prompts(wanted, found[: wanted.limit], len(rows) - len(clear))


def _in_file(wanted: PromptsWanted) -> Iterator[Prompt]:
    path = Path(settings.GAUNTLET_HOME) / wanted.path
    for line in read_lines(path, file_format(wanted)):
        text = line.values.get("prompt")
        problem = line.problem or ("has no column `prompt`" if text is None else _wrong(text))
        if problem:
            raise BadInput(problem, where=f"{path.name}, line {line.number}")
        yield Prompt(str(text))


def file_format(wanted: PromptsWanted) -> Format:
    """The format of the file of prompts. Raises BadInput where nothing tells it."""
    suffix = Path(wanted.path).suffix.removeprefix(".").lower()
    known: dict[str, Format] = {"jsonl": "jsonl", "csv": "csv", "parquet": "parquet"}
    found = wanted.format or known.get(suffix)
    if found is None:
        raise BadInput(f"is needed: the file's name does not say ({', '.join(known)})", where="prompts.format")
    return found


def _wrong(text: object) -> str:
    """What is wrong with a prompt; empty where nothing is."""
    if not isinstance(text, str):
        return "is no text"
    if not text.strip():
        return "is empty"
    if "\x00" in text:
        return "contains a null byte"
    return f"is longer than {MAX_PROMPT:,} characters" if len(text) > MAX_PROMPT else ""


def _texts(wanted: Sampling, policy: Policy) -> Iterable[SnippetText]:
    """What a generator that learns from text may learn from: the training split, or the split that prompts are of."""
    round_ = Round.objects.filter(pk=wanted.prompts.round).first() if wanted.prompts.round else None
    named = Corpus.objects.filter(pk=wanted.corpus).first() if wanted.corpus else None
    corpus = named if round_ is None else round_.corpus
    if corpus is None:
        return ()
    split = SplitName.TRAIN if round_ is None else wanted.prompts.split
    rows = Snippet.objects.filter(policy=policy, story__corpus=corpus, source=Source.CORPUS, split=split)
    return (row.text for row in rows.order_by("content_hash").iterator(chunk_size=2000))


def _classifier(run: JobRun) -> Classifier:
    return Classifier.objects.select_related("artifact", "policy").get(pk=run.args["classifier"])


def _finished(folder: Path) -> int:
    """How many shards are whole, from the first on."""
    number = 0
    while (folder / f"{number:06d}.parquet").exists():
        number += 1
    return number


def _write(path: Path, places: Sequence[_Place], decisions: Sequence[Sampled]) -> None:
    rows = [
        {
            "number": place.number,
            "copy": place.copy,
            "snippet": place.prompt.snippet or None,
            "prompt": place.prompt.text,
            "completion": one.completion,
            "proposals": one.draws,
            "logit": one.logit if one.completion is not None else None,
            "rejected_logits": list(one.rejected),
        }
        for place, one in zip(places, decisions, strict=True)
    ]
    with writing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)


def _totals(folder: Path) -> dict[str, Any]:
    """What the shards say together; intervals take prompts as what was drawn."""
    columns = ["number", "completion", "proposals"]
    table = pa.concat_tables([pq.read_table(path, columns=columns) for path in sorted(folder.glob("*.parquet"))])
    number = table["number"].to_numpy()
    proposals = table["proposals"].to_numpy().astype(np.int64)
    without = np.asarray(table["completion"].is_null())
    rejected = np.ones(int(proposals.sum()), dtype=bool)
    rejected[(np.cumsum(proposals) - 1)[~without]] = False  # the last proposal of each sample that has a completion
    return {
        "prompts": len(np.unique(number)),
        "samples": len(number),
        "accepted": int((~without).sum()),
        "proposals": int(proposals.sum()),
        "rejected": clustered(rejected, np.repeat(number, proposals)).as_dict(),
        "without": clustered(without, number).as_dict(),
        "path": str(folder.relative_to(settings.GAUNTLET_HOME)),
    }
