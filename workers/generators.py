"""Generators by name or row: a tuned one is a causal LM whose model is called `generator:NAME` or `generator:KEY`."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from engine.config import Named
from engine.corpus.stories import read_story
from engine.endpoints.settings import Account
from engine.errors import BadInput, MissingModel
from engine.generation import Generator as Source
from engine.generation import make_generator
from engine.generation.tuning.reading import story_hash
from engine.generation.tuning.results import trained_on
from engine.policies import Policy
from engine.snippets import Snippet as SnippetText
from webapi.models import Generator, Snippet, Story
from workers.artifacts import verified
from workers.store import NotStored

PREFIX = "generator:"
CAUSAL_LM = "causal_lm"


class Chosen(NamedTuple):
    """A generator's name and settings, and the row where it is one that was tuned here."""

    named: Named
    row: Generator | None

    @property
    def lineage(self) -> str:
        """What a snippet's details say of it: the row's key, or the name in the registry."""
        return self.named.name if self.row is None else str(self.row.pk)


def chosen(named: Named) -> Chosen:
    """What `named` asks for. Raises BadInput for a tuned generator that is not there."""
    model = str(named.config.get("model", "")) if named.name == CAUSAL_LM else ""
    if not model.startswith(PREFIX):
        return Chosen(named, None)
    text = model.removeprefix(PREFIX)
    try:
        rows = Generator.objects.filter(pk=uuid.UUID(text))
    except ValueError:
        rows = Generator.objects.filter(name=text)
    row = rows.select_related("artifact", "corpus", "job").first()
    if row is None:
        raise BadInput(f"there is no tuned generator {text!r}", where="generator.config.model")
    return Chosen(named, row)


def check_chosen(named: Named) -> None:
    """Raises BadInput for a tuned generator that is not there, or has no weights yet."""
    row = chosen(named).row
    if row is not None and not row.ready:
        raise BadInput(f"{row.name} is {row.state}; it has no weights yet", where="generator.config.model")


def weights_of(row: Generator) -> Path:
    """The folder of the generator's weights, as they were written. Raises MissingModel, or Damaged."""
    try:
        if row.artifact is not None:
            return verified(row.artifact)
    except NotStored as error:
        raise _missing(row) from error
    raise _missing(row)


def _missing(row: Generator) -> MissingModel:
    return MissingModel(f"the weights of generator {row} are not in the store; tune it again")


def load_generator(
    one: Chosen, policy: Policy, *, corpus: Iterable[SnippetText] = (), account: Account | None = None
) -> Source:
    """The generator, ready to complete prompts under the policy's rules. Raises what `make_generator` raises."""
    config = dict(one.named.config)
    if one.row is not None:
        config["model"] = str(weights_of(one.row))
    ledger, cache = account if account is not None else Account(None, None)
    return make_generator(one.named.name, policy, config, corpus=corpus, ledger=ledger, cache_dir=cache)


def not_trained_on(row: Generator | None, snippets: Sequence[Snippet]) -> list[Snippet]:
    """Those of the snippets whose story the generator was not trained on, in order; all of them where it was not tuned.

    Stories are known by the hash of their text: a copy in another corpus, or under another name, counts. One that
    cannot be read any more counts as trained on. Snippets without a story stay. O(characters of their stories).
    """
    if row is None:
        return list(snippets)
    known = trained_on(weights_of(row))
    keys = {one.story_id for one in snippets if one.story_id is not None}
    stories = Story.objects.filter(pk__in=keys).select_related("corpus")
    clear = {story.pk for story in stories.iterator(chunk_size=500) if _is_clear(story, known)}
    return [one for one in snippets if one.story_id is None or one.story_id in clear]


def _is_clear(story: Story, known: frozenset[str]) -> bool:
    try:
        return story_hash(read_story(Path(story.corpus.path), story.name).text) not in known
    except BadInput:
        return False
