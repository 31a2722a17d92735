"""Snippets drawn at random from stories, in memory that does not grow with them (paper, A.1.3 and A.1.4)."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.corpus.cleaning import clean
from engine.corpus.language import language_of
from engine.corpus.stories import Story
from engine.corpus.windows import PROMPT_SENTENCES, Window, nth_stop, sentence_after, window_at
from engine.embeddings.minhash import NearDuplicates
from engine.policies import Policy
from engine.policies.word_rules import fits_any
from engine.progress import Progress, silent
from engine.snippets import Snippet, refusals

_REPORT_EVERY = 100
"""Windows between two calls of progress: a few hundredths of a second."""


class CorpusSnippet(NamedTuple):
    """A snippet cut from a story."""

    snippet: Snippet
    story: str
    position: int
    """Where the prompt starts, in characters of the cleaned story."""
    enriched: bool
    """Whether it fits the policy's word heuristics (paper, A.1.4)."""


@dataclass
class Tally:
    """What became of the windows. At the end `windows == kept + not_sampled + sum(refused.values())`."""

    stories: int = 0
    windows: int = 0
    not_sampled: int = 0
    kept: int = 0
    enriched: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    """Windows by the first reason that refused them; codes as in `engine.snippets`, and `inside_word`, `language`,
    `near_duplicate`, `not_enriched`."""


def sample_snippets(
    stories: Iterable[Story],
    policy: Policy,
    *,
    seed: int,
    share: float = 1.0,
    per_story: int | None = None,
    limit: int | None = None,
    only_enriched: bool = False,
    similarity: float | None = 0.7,
    count_tokens: Callable[[Snippet], int] | None = None,
    tally: Tally | None = None,
    total_chars: int = 0,
    progress: Progress = silent,
) -> Iterator[CorpusSnippet]:
    """Random valid snippets from `stories`, in the order of the text; no sentence is in two of them.

    Each section of a story is parted into consecutive windows from a random sentence on. A window is kept when it is
    sampled, meets the policy's snippet rules and language, and repeats none kept before (word triples' Jaccard index
    `similarity` or more; None: not checked). Sampling: each window with probability `share`; at most `per_story` of a
    story; at most `limit` of all, drawn evenly over the corpus. Which windows are sampled depends only on `seed`, the
    story's name and the place, not on the other stories.

    Streams: holds one story, the remembered duplicates (fixed size) and, with `limit`, that many snippets, which then
    come at the end. `count_tokens` (a classifier's) switches the token rule on. `tally` is filled as it goes.
    `progress` is told characters read of `total_chars`. O(characters).
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], not {share}")
    if any(n is not None and n < 1 for n in (per_story, limit)):
        raise ValueError("per_story and limit must be at least 1")
    duplicates = NearDuplicates(threshold=similarity, seed=seed) if similarity is not None else None
    judge = _Judge(policy, only_enriched, count_tokens, duplicates)
    sampler = _Sampler(
        judge, seed, share, per_story, limit, tally if tally is not None else Tally(), total_chars, progress
    )
    return sampler.run(stories)


def place_draw(seed: int, story: str, place: str) -> float:
    """A number in [0, 1) that depends on nothing but its arguments; the same on every machine."""
    digest = hashlib.blake2b(f"{seed}\x1f{story}\x1f{place}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53


class _Ticket(NamedTuple):
    draw: float
    order: int
    found: CorpusSnippet


class _Reservoir:
    """The tickets with the smallest draws; all of them where there is no size."""

    def __init__(self, size: int | None) -> None:
        self._size = size
        self._heap: list[tuple[float, int, _Ticket]] = []
        self.bound = 1.0
        """No ticket with a draw at or above this would stay."""

    def offer(self, ticket: _Ticket) -> bool:
        """Takes the ticket in; False when one (it or another) had to go for it."""
        heapq.heappush(self._heap, (-ticket.draw, ticket.order, ticket))
        fits = self._size is None or len(self._heap) <= self._size
        if not fits:
            heapq.heappop(self._heap)
        if self._size is not None and len(self._heap) == self._size:
            self.bound = -self._heap[0][0]
        return fits

    def tickets(self) -> list[_Ticket]:
        return sorted((ticket for _, _, ticket in self._heap), key=lambda ticket: ticket.order)


@dataclass(frozen=True)
class _Judge:
    """Says why a window is refused."""

    policy: Policy
    only_enriched: bool
    count_tokens: Callable[[Snippet], int] | None
    duplicates: NearDuplicates | None

    def enriched(self, snippet: Snippet) -> bool:
        return bool(self.policy.enrichment) and fits_any(self.policy.enrichment, snippet)

    def reason(self, window: Window, enriched: bool) -> str:
        """Code of the first reason against it, cheapest first; "" when it may stay. Remembers what may stay."""
        rules = self.policy.snippet_rules
        if not window.whole_sentences:
            return "inside_word"
        found = refusals(window.snippet, rules, count_tokens=self.count_tokens)
        if found:
            return found[0].code
        if self.only_enriched and not enriched:
            return "not_enriched"
        text = window.snippet.text
        if rules.language is not None and language_of(text) != rules.language:
            return "language"
        if self.duplicates is not None and self.duplicates.add(text) is not None:
            return "near_duplicate"
        return ""


@dataclass
class _Sampler:
    judge: _Judge
    seed: int
    share: float
    per_story: int | None
    limit: int | None
    tally: Tally
    total_chars: int
    progress: Progress
    chars: int = 0
    order: int = 0

    def run(self, stories: Iterable[Story]) -> Iterator[CorpusSnippet]:
        corpus = _Reservoir(self.limit)
        for story in stories:
            for ticket in self._of_story(story, corpus):
                if self.limit is None:
                    yield self._kept(ticket)
                else:
                    self.tally.not_sampled += not corpus.offer(ticket)
            self.chars += len(story.text)
            self.tally.stories += 1
            self._report(0)
        yield from map(self._kept, corpus.tickets())

    def _of_story(self, story: Story, corpus: _Reservoir) -> Iterator[_Ticket]:
        if self.per_story is None:
            yield from self._valid(story, corpus, corpus)
            return
        best = _Reservoir(self.per_story)
        for ticket in self._valid(story, corpus, best):
            self.tally.not_sampled += not best.offer(ticket)
        yield from best.tickets()

    def _valid(self, story: Story, corpus: _Reservoir, best: _Reservoir) -> Iterator[_Ticket]:
        for number, (position, window) in enumerate(story_windows(story, self.judge.policy, self.seed)):
            if number % _REPORT_EVERY == 0:
                self._report(min(position, len(story.text)))
            self.tally.windows += 1
            draw = place_draw(self.seed, story.name, str(position))
            if draw >= min(self.share, corpus.bound, best.bound):
                self.tally.not_sampled += 1
                continue
            enriched = self.judge.enriched(window.snippet)
            if reason := self.judge.reason(window, enriched):
                self.tally.refused[reason] = self.tally.refused.get(reason, 0) + 1
                continue
            self.order += 1
            yield _Ticket(draw, self.order, CorpusSnippet(window.snippet, story.name, position, enriched))

    def _kept(self, ticket: _Ticket) -> CorpusSnippet:
        self.tally.kept += 1
        self.tally.enriched += ticket.found.enriched
        return ticket.found

    def _report(self, inside: int) -> None:
        done = self.chars + inside
        self.progress(done, max(self.total_chars, done))


def story_windows(story: Story, policy: Policy, seed: int) -> Iterator[tuple[int, Window]]:
    """All windows of a story, one after the other, each with its position in the cleaned story; valid or not."""
    rules = policy.snippet_rules
    size = 1 + (PROMPT_SENTENCES if rules.prompt_sentences is None else rules.prompt_sentences)
    base = 0
    for paragraphs in clean(story.text):
        section = "\n\n".join(paragraphs)
        spare = max(0, min(size - 1, section.count(".") - size))
        # By its opening, not its name: a copied story is parted alike, so that its windows are seen to repeat.
        skipped = int(place_draw(seed, "", section[:200]) * (spare + 1))
        start = sentence_after(section, nth_stop(section, 0, skipped) or 0)
        while window := window_at(section, start, rules):
            yield base + start, window
            start = window.end
        base += len(section) + 2
