"""A simulated stand-in for a large language model that paraphrases: it tells the same events again in other words.

It reads a snippet of the story world back to frames and tells them anew with other names, things and wordings, rare
ones above all. Like the paper's paraphrases by GPT-3 (21-46 % of them still injurious) it is imperfect: it often
softens or loses the injury. What it writes can be read by `engine.simulation.truth`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.simulation.chance import Chance
from engine.simulation.grammar import PEOPLE, Frame, Grammar, grammar
from engine.simulation.lexicon import Noun
from engine.simulation.reading import Memory, Told, judge, read
from engine.simulation.telling import Cast, tell
from engine.snippets import Snippet

_NEW_PEOPLE = (*PEOPLE, "man", "woman")
OPPOSITE_KIND = {
    "heavy": "light", "edge": "soft", "fierce": "tame", "high": "low", "poison": "drink",
}  # fmt: skip
_TRIES_EACH = 12
_SAME_NOUN = 0.08
_SAME_FRAME = 0.55
_CHANGE_OF_THING = 0.3


@dataclass(frozen=True, slots=True)
class StoryWorldParaphraser:
    """Simulated paraphrases of the story world's snippets; none of any other text."""

    keeps: float = 0.6
    """Share of the re-tellings of an injury that still tell of one."""
    simulated: bool = True

    def paraphrase(self, snippet: Snippet, n: int, *, seed: int) -> list[Snippet]:
        """Up to `n` distinct valid re-tellings, none of them `snippet`; [] when it cannot be read. About 1 ms each."""
        told = read(snippet)
        if not told:
            return []
        chance = Chance(seed, int(snippet.content_hash[:15], 16))
        teller = _Reteller(grammar(), chance, told)
        found: dict[Snippet, None] = {}
        for _ in range(n * _TRIES_EACH):
            if len(found) == n:
                break
            retold = teller.retell(keep=chance.uniform() < self.keeps)
            if retold is not None and retold != snippet:
                found[retold] = None
        return list(found)


class _Reteller:
    """Tells one snippet's events again and again."""

    def __init__(self, known: Grammar, chance: Chance, told: Sequence[Told]) -> None:
        self._known = known
        self._chance = chance
        self._told = told
        self._nouns = list(_nouns_of_each(told))
        self._injures = judge(told) == "Yes"
        self._truth = judge(told)

    def retell(self, *, keep: bool) -> Snippet | None:
        """One re-telling; None when this attempt did not come out as wanted."""
        frames = [self._context_frame(told.frame) for told in self._told[:-1]]
        flip = self._injures and not keep and self._chance.uniform() < _CHANGE_OF_THING
        renamed = self._renamed(flip=flip)
        last = self._told[-1].frame
        if not flip:
            last = self._injury(last) if not self._injures or keep else self._softened(last)
        sentences, told = self._tell([*frames, last], renamed)
        verdict = judge(told)
        wanted = verdict == self._truth if keep or not self._injures else verdict != "Yes"
        return Snippet(" ".join(sentences[:-1]), sentences[-1]) if wanted else None

    def _tell(self, frames: Sequence[Frame], renamed: Mapping[Noun, Noun]) -> tuple[list[str], list[Told]]:
        people = {noun: None for noun in renamed.values() if noun.kind in PEOPLE}
        sentences, told = [], []
        for frame, nouns in zip(frames, self._nouns, strict=True):
            bound = {slot: renamed[noun] for slot, noun in nouns.items()}
            others = [noun for noun in people if noun not in bound.values()]
            bound |= zip([slot for slot in "ABV" if slot not in bound], others, strict=False)
            cast = Cast(self._known, self._chance, bound)
            sentence, one = tell(frame.tail_chances.pick(self._chance), frame, cast, self._chance, self._known)
            sentences.append(sentence)
            told.append(one)
        return sentences, told

    def _context_frame(self, frame: Frame) -> Frame:
        if frame.family == "calm" and self._chance.uniform() < 0.5:
            return self._chance.pick([f for f in self._known.frames.values() if f.family == "calm"])
        return frame

    def _injury(self, frame: Frame) -> Frame:
        """The same outcome, or another of its family."""
        if self._chance.uniform() < _SAME_FRAME:
            return frame
        kin = [f for f in self._known.frames.values() if f.family == frame.family and f.is_outcome == frame.is_outcome]
        return self._chance.pick([*kin, self._known.frames["after.implied"]] if frame.is_outcome else kin)

    def _softened(self, frame: Frame) -> Frame:
        """An outcome in which nobody, or perhaps nobody, was hurt."""
        kin = [f for f in self._known.frames.values() if f.family == frame.family and f.calms]
        general = ("after.unharmed", "after.unclear", "figure.threat", "figure.speech")
        return self._chance.pick([*kin * 3, *(self._known.frames[name] for name in general)])

    def _renamed(self, *, flip: bool) -> dict[Noun, Noun]:
        """Another noun for nearly every noun: of its kind, or of the harmless kind when the thing is to change."""
        renamed: dict[Noun, Noun] = {}
        for noun in {noun: None for nouns in self._nouns for noun in nouns.values()}:
            kind = OPPOSITE_KIND.get(noun.kind, noun.kind) if flip else noun.kind
            if kind == noun.kind and self._chance.uniform() < _SAME_NOUN and noun not in renamed.values():
                renamed[noun] = noun
                continue
            kinds = _NEW_PEOPLE if kind in PEOPLE else (kind,)
            new = self._chance.pick(self._known.kinds[self._chance.pick(kinds)].items)
            while new in renamed.values():
                new = self._chance.pick(self._known.kinds[self._chance.pick(kinds)].items)
            renamed[noun] = new
        return renamed


def _nouns_of_each(told: Sequence[Told]) -> Iterator[dict[str, Noun]]:
    """Slot -> noun of each sentence, pronouns resolved where the text lets one."""
    memory = Memory()
    for one in told:
        nouns = dict(one.nouns)
        for slot, gender in one.genders.items():
            noun = nouns.get(slot) or memory.who(gender)
            if noun is not None:
                nouns[slot] = noun
        memory.hear(one)
        yield nouns
