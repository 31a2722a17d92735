"""Which words of a text matter to a classifier, and which others would lower its score: at once by the gradient
(HotFlip, 1712.06751), then exactly."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.attacks.substitution.base import CandidateSource
from engine.attacks.substitution.words import Slot, edited, gaps, words
from engine.classifiers.base import Classifier
from engine.snippets import Snippet

if TYPE_CHECKING:
    from engine.classifiers.white_box import TokenGradients, WhiteBox

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
SIZES = (16, 48)
"""How many candidates are scored at a time: the first few are there soon."""


class WordSaliency(NamedTuple):
    """How much a word of the completion matters."""

    slot: Slot
    magnitude: float
    """|d margin / d embedding|, the largest of its tokens (paper, 4.3.3); 0 for a word that was cut off."""
    pull: float
    """Gradient times input, summed over its tokens: above 0 where the word raises the score, to first order."""


class Suggestion(NamedTuple):
    """A snippet with one word changed, and how its margin is thought to change."""

    slot: Slot
    word: str
    """Empty for a deletion."""
    snippet: Snippet
    estimate: float
    """First-order change of the margin; the most negative lowers the score most."""


class Scored(NamedTuple):
    """A suggestion and its exact margin."""

    suggestion: Suggestion
    logit: float


class SubstitutionEngine:
    """One classifier and one source of words. Keeps what it found of the last texts. Safe to share between threads."""

    def __init__(
        self, white_box: WhiteBox, classifier: Classifier, source: CandidateSource, *, texts_kept: int = 256
    ) -> None:
        """`classifier` gives the exact scores: of the same training, in whatever precision it is attacked in."""
        self._white_box = white_box
        self._classifier = classifier
        self._source = source
        self._gradients: _Recent[str, TokenGradients] = _Recent(texts_kept)
        self._logits: _Recent[str, float] = _Recent(texts_kept * 64)
        self._vectors: _Recent[str, NDArray[np.float32] | None] = _Recent(65_536)
        self._table = white_box.embeddings
        self._mean = self._table.mean(axis=0)

    def prepare(self, snippets: Sequence[Snippet]) -> None:
        """Has the gradients of these texts at hand, by as few backward passes as can be."""
        new = {one.content_hash: one for one in snippets if self._gradients.get(one.content_hash) is None}
        for key, found in zip(new, self._white_box.gradients(list(new.values())), strict=True):
            self._gradients.put(key, found)

    def saliency(self, snippet: Snippet) -> list[WordSaliency]:
        """Each word of the completion, in order. One backward pass, none for a text seen lately."""
        found = self._gradient(snippet)
        return [self._saliency(found, slot) for slot in words(snippet.completion)]

    def suggest(self, snippet: Snippet, slots: Sequence[Slot] | None = None, *, k: int = 64) -> list[Suggestion]:
        """Up to `k` words for each slot (None: every word and every gap), by how far they are thought to lower the
        score, over all slots. O(slots x k x d) after the source's proposals and one backward pass.
        """
        if slots is None:
            slots = [*words(snippet.completion), *gaps(snippet.completion)]
        proposals = self._source.propose(snippet, slots, k)
        found = self._gradient(snippet)
        made = [
            Suggestion(slot, word, self._changed(snippet, slot, word), estimate)
            for slot, proposed in zip(slots, proposals, strict=True)
            for word, estimate in zip(proposed, self._estimates(found, slot, proposed), strict=True)
        ]
        return sorted(made, key=lambda one: one.estimate)

    def deletions(self, snippet: Snippet) -> list[Suggestion]:
        """The completion without one of its words, each, by how far that is thought to lower the score."""
        found = self._gradient(snippet)
        made = [
            Suggestion(slot, "", self._changed(snippet, slot, ""), self._estimates(found, slot, [""])[0])
            for slot in words(snippet.completion)
        ]
        return sorted(made, key=lambda one: one.estimate)

    def estimates(self, snippet: Snippet, slot: Slot, texts: Sequence[str]) -> list[float]:
        """First-order change of the margin for each of `texts` put at the slot; one backward pass at most."""
        return self._estimates(self._gradient(snippet), slot, texts)

    def exact(self, suggestions: Sequence[Suggestion], *, sizes: Sequence[int] = SIZES) -> Iterator[list[Scored]]:
        """The exact margins in the order given, `sizes[0]` first, then `sizes[1]`, and so on by the last size.

        Each list is there as soon as it is scored; stop asking and nothing more is. Texts scored lately cost nothing.
        """
        start = 0
        for turn in range(len(suggestions)):
            part = suggestions[start : start + sizes[min(turn, len(sizes) - 1)]]
            if not part:
                return
            logits = self.logits([one.snippet for one in part])
            yield [Scored(one, logit) for one, logit in zip(part, logits, strict=True)]
            start += len(part)

    def logits(self, snippets: Sequence[Snippet]) -> list[float]:
        """The classifier's margins, each text asked once."""
        known = {one.content_hash: self._logits.get(one.content_hash) for one in snippets}
        new = list({one.content_hash: one for one in snippets if known[one.content_hash] is None}.values())
        for one, logit in zip(new, self._classifier.logits(new) if new else (), strict=True):
            known[one.content_hash] = float(logit)
            self._logits.put(one.content_hash, float(logit))
        return [value for one in snippets if (value := known[one.content_hash]) is not None]

    def _gradient(self, snippet: Snippet) -> TokenGradients:
        return self._gradients.made(snippet.content_hash, lambda: self._white_box.gradients([snippet])[0])

    def _saliency(self, found: TokenGradients, slot: Slot) -> WordSaliency:
        tokens = _tokens_of(found, slot)
        if not tokens.size:
            return WordSaliency(slot, 0.0, 0.0)
        gradient = found.gradient[tokens]
        pull = float((gradient * self._table[found.traced.ids[tokens]]).sum())
        return WordSaliency(slot, float(np.linalg.norm(gradient, axis=1).max()), pull)

    def _estimates(self, found: TokenGradients, slot: Slot, proposed: Sequence[str]) -> list[float]:
        """(new embedding - old) . gradient. Many tokens for one: their mean embedding, their summed gradient.

        A gap has no gradient of its own; the mean of its neighbours' stands for it, and the mean of all embeddings for
        what is there, as it does for what comes after a deletion. What was cut off changes nothing: 0.
        """
        tokens = _tokens_of(found, slot)
        if not tokens.size:
            return [0.0] * len(proposed)
        gradient = found.gradient[tokens]
        direction = gradient.mean(axis=0) if slot.is_gap else gradient.sum(axis=0)
        there = self._mean if slot.is_gap else self._table[found.traced.ids[tokens]].mean(axis=0)
        vectors = [self._vector(word) for word in proposed]
        matrix = np.stack([there if vector is None else vector for vector in vectors]) if vectors else there[:0]
        return ((matrix - there) @ direction).tolist() if vectors else []

    def _vector(self, word: str) -> NDArray[np.float32] | None:
        """The mean embedding of a word's tokens; of nothing, that of all tokens; None where it has none."""

        def made() -> NDArray[np.float32] | None:
            pieces = self._white_box.pieces(word)
            return self._table[pieces].mean(axis=0) if pieces else None

        return self._vectors.made(word, made) if word else self._mean

    @staticmethod
    def _changed(snippet: Snippet, slot: Slot, word: str) -> Snippet:
        return Snippet(snippet.prompt, edited(snippet.completion, slot, word))


def _tokens_of(found: TokenGradients, slot: Slot) -> NDArray[np.int64]:
    """The tokens of a word of the completion, or those beside a gap."""
    starts, ends = found.traced.spans.T
    mine = (found.traced.parts == 1) & (ends > starts)
    if slot.is_gap:
        inside = np.flatnonzero(mine)
        after = np.searchsorted(starts[inside], slot.start)
        return inside[max(after - 1, 0) : after + 1]
    return np.flatnonzero(mine & (starts < slot.end) & (ends > slot.start))


class _Recent(Generic[Key, Value]):
    """The values that were used last."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: OrderedDict[Key, Value] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Key) -> Value | None:
        """The value, or None."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, key: Key, value: Value) -> None:
        """Keeps the value; the one unused for longest goes."""
        with self._lock:
            self._held[key] = value
            self._held.move_to_end(key)
            if len(self._held) > self._size:
                self._held.popitem(last=False)

    def made(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value, made where it is not held; two threads at once may both make it."""
        if (held := self.get(key)) is not None:
            return held
        value = make()
        self.put(key, value)
        return value
