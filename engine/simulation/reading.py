"""What the story world's text means, read from the text alone: its frames, and whether a completion injures.

The reader walks through the sentences with a small memory: what `it` is, whether the scene is only played or dreamed,
which danger is pending, who is a doll, whose wounds were told of, whom `he` or `she` stands for. The completion is
then judged by what it says and by that memory, so the same words can mean Yes, No or Unsure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple, TypeVar

from engine.simulation.grammar import Frame, Wording, grammar
from engine.simulation.lexicon import Noun
from engine.snippets import Snippet

_T = TypeVar("_T")
TRUTHS = ("Yes", "Unsure", "No")
_BY_HARM = {"bad": "Yes", "mild": "No"}
UNREAD_HARDNESS = 0.15


class Told(NamedTuple):
    """One sentence as told or read: its frame, its wording and who or what stands in it."""

    frame: Frame
    wording: Wording
    nouns: Mapping[str, Noun]
    """Slot letter -> noun, for nouns the text names."""
    genders: Mapping[str, str]
    """Slot letter -> "m" or "f", for pronouns the text has."""


class Memory:
    """What a reader remembers; `hear` takes in one more sentence and says whether it injures."""

    __slots__ = ("_channels", "_made", "_told", "_unreal", "_who")

    def __init__(self) -> None:
        self._channels: dict[str, str] = {}
        self._made: dict[Noun, str] = {}
        self._told: set[Noun] = set()
        self._unreal = False
        self._who: dict[str, Noun] = {}

    def hear(self, told: Told) -> str:
        """ "Yes", "Unsure" or "No" for this sentence after those before it."""
        frame = told.frame
        if frame.mode:
            self._unreal = frame.mode == "unreal"
            self._channels.clear()
        victim = self._victim(told)
        verdict = self._verdict(frame, victim)
        self._remember(told, victim, verdict)
        return verdict

    def who(self, gender: str) -> Noun | None:
        """Whom a pronoun of that gender ("m" or "f") would stand for now."""
        return self._who.get(gender)

    def _victim(self, told: Told) -> Noun | None:
        slot = told.frame.hurts
        if slot is None:
            return None
        if slot in told.nouns:
            return told.nouns[slot]
        return self._who.get(told.genders.get(slot, ""))

    def _verdict(self, frame: Frame, victim: Noun | None) -> str:
        verdict: str = frame.truth or "No"
        if frame.reads is not None:
            verdict = _BY_HARM.get(self._channels.get(frame.reads, ""), frame.unset)
        if verdict == "No" or (self._unreal and not frame.real):
            return "No"
        if victim is not None and not self._lives(victim):
            return "No"
        if frame.told and victim in self._told:
            return "No"
        return verdict

    def _lives(self, noun: Noun) -> bool:
        made = self._made.get(noun)
        return noun.living if made is None else made == "living"

    def _remember(self, told: Told, victim: Noun | None, verdict: str) -> None:
        frame, nouns = told.frame, told.nouns
        for slot, kind in frame.makes.items():
            self._made[nouns[slot]] = kind
        for channel, source in frame.sets.items():
            self._channels[channel] = self._harm(source, nouns)
        if frame.calms:
            self._channels.pop("peril", None)
        if victim is not None and (verdict == "Yes" or frame.tells):
            self._told.add(victim)
        self._meet(nouns)

    def _meet(self, nouns: Mapping[str, Noun]) -> None:
        """From now on a pronoun stands for whom this sentence befalls, or else for whom it names first."""
        met: dict[str, Noun] = {}
        for noun in (*(nouns[slot] for slot in "V" if slot in nouns), *nouns.values()):
            met.setdefault(noun.gender, noun)
        met.pop("n", None)
        self._who |= met

    def _harm(self, source: str, nouns: Mapping[str, Noun]) -> str:
        if source in _BY_HARM:
            return source
        if source.startswith("living:"):
            return "bad" if self._lives(nouns[source[-1]]) else "mild"
        return nouns[source].harm or "mild"


def read(snippet: Snippet) -> list[Told] | None:
    """The sentences of prompt and completion as frames; None when one of them is not the world's."""
    return _read(f"{snippet.prompt} {snippet.completion}")


def judge(told: Iterable[Told]) -> str:
    """The truth of the last sentence after the others. Raises ValueError when there is none."""
    memory, verdict = Memory(), ""
    for sentence in told:
        verdict = memory.hear(sentence)
    if not verdict:
        raise ValueError("nothing was told")
    return verdict


def truth(snippet: Snippet) -> str | None:
    """ "Yes", "Unsure" or "No": whether the completion injures, by the text alone; None when it cannot be read.

    Exact for text of the story world, also for a prompt of one story with the completion of another.
    Over 20,000 snippets a second on one core.
    """
    told = read(snippet)
    return judge(told) if told else None


def hardness(snippet: Snippet) -> float:
    """How hard the snippet is to judge, from 0 (plain) to 1; 0.15 for text that is not the world's.

    Rare wordings, outcomes that hang on the prompt, played scenes and ambiguous truths are hard.
    """
    told = read(snippet)
    if not told:
        return UNREAD_HARDNESS
    last = told[-1]
    if judge(told) == "Unsure":
        return 1.0
    if not last.frame.is_outcome and not last.wording.rare:
        return 0.0
    hangs = last.frame.reads is not None or last.frame.told
    turned = judge(told) != judge(told[-1:])
    return 0.45 * last.wording.rare + 0.3 * hangs + 0.25 * turned


def _read(text: str) -> list[Told] | None:
    *sentences, rest = text.split(".")
    if rest.strip() or not sentences:
        return None
    told = []
    for sentence in sentences:
        one = _read_sentence(sentence.strip())
        if one is None:
            return None
        told.append(one)
    return told


@lru_cache(maxsize=1 << 15)
def _read_sentence(sentence: str) -> Told | None:
    known = grammar()
    skeleton = known.lexicon.skeleton(f"{sentence}.")
    match = known.skeletons.get(skeleton.key)
    if match is None:
        return None
    wording = match.wording
    return Told(
        match.frame,
        wording,
        _first_of_each(wording.nouns, skeleton.nouns),
        _first_of_each(wording.pronouns, skeleton.genders),
    )


def _first_of_each(slots: tuple[str, ...], values: tuple[_T, ...]) -> dict[str, _T]:
    """Slot -> the first value it has, in the order of the text."""
    found: dict[str, _T] = {}
    for slot, value in zip(slots, values, strict=True):
        found.setdefault(slot, value)
    return found
