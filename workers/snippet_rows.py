"""Snippets from outside, by request or by file: checked against the policy, then written once."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from django.db.models import F
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from engine.classifiers import Recipe, token_counter
from engine.config import sentence
from engine.snippets import Refusal, refusals, split_of
from engine.snippets import Snippet as SnippetText
from webapi.models import Annotator, Classifier, Policy, Snippet, Source

TokenCounter = Callable[[SnippetText], int]


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


def _storable(text: str) -> str:
    """The engine's rules see to prompt and completion; a key is held to the same here."""
    if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("contains a null byte or half of a surrogate pair")
    return text


def _none_is_empty(value: object) -> object:
    return "" if value is None else value


Key = Annotated[str, BeforeValidator(_none_is_empty), AfterValidator(_storable)]


class SnippetInput(BaseModel):
    """A snippet as it comes in. Other keys are left aside."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    prompt: str = ""
    completion: str
    source: Annotated[Source | None, BeforeValidator(_empty_is_none)] = None
    external_id: Key = Field("", max_length=200)
    parent: Annotated[uuid.UUID | None, BeforeValidator(_empty_is_none)] = None
    """The snippet that this one was made from: it stays in its split."""


class Found(NamedTuple):
    """What is to become of one input: a row to write, or the reasons why not."""

    row: Snippet | None
    reasons: tuple[Refusal, ...] = ()


class Written(NamedTuple):
    """A row in the database, and whether this call (or an earlier run of the same job) made it."""

    row: Snippet
    created: bool


def parse(values: Mapping[str, Any]) -> SnippetInput | Refusal:
    """The input, or the first thing that is wrong with its fields."""
    try:
        return SnippetInput.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        code = "required" if first["type"] == "missing" else "invalid"
        return Refusal(code, f"{'.'.join(map(str, first['loc']))}: {sentence(first, SnippetInput)}")


def token_counter_of(policy: Policy) -> TokenCounter | None:
    """Counts tokens as the policy's classifiers do; None where the policy sets no limit. Takes seconds, and memory.

    By the encoder of the serving classifier; before one is promoted, of the newest; before any is trained, the usual
    one. Raises MissingModel.
    """
    if policy.rules.snippet_rules.max_tokens is None:
        return None
    trained = Classifier.objects.filter(policy=policy).order_by(F("promoted_at").desc(nulls_last=True), "-pk")
    return token_counter(trained.values_list("encoder", flat=True).first() or Recipe().encoder)


def prepare(
    policy: Policy,
    inputs: Sequence[SnippetInput],
    *,
    source: Source,
    author: Annotator | None = None,
    count_tokens: TokenCounter | None = None,
) -> list[Found]:
    """Rows for the inputs that are valid under `policy`, in order; without `count_tokens` the limit of tokens is not
    looked at. One query for all parents."""
    rules = policy.rules.snippet_rules
    ids = {item.parent for item in inputs if item.parent}
    parents = Snippet.objects.filter(policy=policy).in_bulk(ids) if ids else {}
    found = []
    for item in inputs:
        reasons = refusals(SnippetText(item.prompt, item.completion), rules, count_tokens=count_tokens)
        parent = parents.get(item.parent) if item.parent else None
        if item.parent and parent is None:
            reasons.append(Refusal("does_not_exist", f"parent: the policy has no snippet {item.parent}"))
        found.append(Found(None, tuple(reasons)) if reasons else Found(_row(policy, item, parent, source, author)))
    return found


def _row(
    policy: Policy, item: SnippetInput, parent: Snippet | None, source: Source, author: Annotator | None
) -> Snippet:
    digest = SnippetText(item.prompt, item.completion).content_hash
    root = parent.root_hash if parent else digest
    return Snippet(
        policy=policy,
        prompt=item.prompt,
        completion=item.completion,
        content_hash=digest,
        root_hash=root,
        split=parent.split if parent else split_of(root),
        source=item.source or source,
        parent=parent,
        author=author,
        external_id=item.external_id,
    )


def write(policy: Policy, rows: Sequence[Snippet]) -> list[Written]:
    """Writes the rows that are not there yet, in order; one insert and one select. Twice changes nothing.

    Rows are the same when text and external id are; the first stays. A row counts as created when the one that stands
    has its `id`, or was made by the same line of the same job before a crash.
    """
    Snippet.objects.bulk_create(rows, ignore_conflicts=True)
    hashes = {row.content_hash for row in rows}
    standing = Snippet.objects.filter(policy=policy, content_hash__in=hashes)
    by_key = {(row.content_hash, row.external_id): row for row in standing}
    found = [(row, by_key[row.content_hash, row.external_id]) for row in rows]
    return [Written(there, _same(row, there)) for row, there in found]


def _same(row: Snippet, there: Snippet) -> bool:
    return row.pk == there.pk or ("import" in row.details and row.details == there.details)
