"""The story world's grammar, read from the TOML files in `wordings/`: nouns, frames, their wordings, scenes.

A *frame* is what a sentence says; a *wording* is one way to say it. Every sentence the world can write has exactly one
frame: its *skeleton*, the tokens with nouns, pronouns and stock phrases replaced by marks, is unique, which is checked
when the grammar is loaded. So text is read back exactly by one dictionary look-up a sentence.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from engine.errors import BadInput
from engine.simulation.chance import T, Weighted
from engine.simulation.lexicon import PRONOUNS, Lexicon, Noun

PHRASE_SLOTS = ("when", "where", "limb", "item", "hit", "miss", "stab", "snap", "sear", "maul", "malady")
SLOT_KINDS = {
    **dict.fromkeys("ABV", "man:42 woman:42 tradesman:8 tradeswoman:8"),
    "W": "goods:40 dummy:20 man:15 woman:15 livestock:10",
    "T": "heavy:50 light:50",
    "K": "edge:50 soft:50",
    "X": "fierce:50 tame:50",
    "P": "high:50 low:50",
    "D": "poison:50 drink:50",
    "R": "berry:1",
}
"""What a slot may be filled with when its scene does not say."""
PEOPLE = ("man", "woman", "tradesman", "tradeswoman")
NOUN_SKEW = 0.6
"""How much likelier the first nouns of a kind are than the last."""
RARE_SHARE = 0.12
"""How often a story says something in one of the rare wordings."""

Truth = Literal["Yes", "Unsure", "No"]

_FOLDER = Path(__file__).with_name("wordings")
_SLOT = re.compile(r"\{([^}]+)\}")


class Wording(NamedTuple):
    """One way to say a frame: literal pieces and slots in turn, starting with a literal."""

    pieces: tuple[str, ...]
    rare: bool
    nouns: tuple[str, ...]
    """Slot letters of the nouns, in order."""
    pronouns: tuple[str, ...]
    """Slot letters of the pronouns, in order."""


@dataclass(frozen=True, eq=False)
class Frame:
    """What a sentence says and what follows from it (see `engine.simulation.reading` for how it is judged)."""

    name: str
    wordings: tuple[Wording, ...]
    chances: Weighted[Wording]
    tail_chances: Weighted[Wording]
    """As `chances`, but favouring the rare wordings."""
    truth: Truth | None = None
    """What it means wherever it stands; None where `reads` decides, or where nothing happens."""
    reads: str | None = None
    """The channel whose last value decides: "bad" means Yes, "mild" means No."""
    unset: Truth = "Unsure"
    """What it means when nothing has set that channel."""
    sets: Mapping[str, str] = field(default_factory=dict)
    """Channel -> "bad", "mild", a slot whose noun's harm counts, or "living:" and a slot."""
    makes: Mapping[str, str] = field(default_factory=dict)
    """Slot -> "thing" or "living": what the one of that name turns out to be."""
    hurts: str | None = None
    """Slot of the one who would be hurt; a thing cannot be."""
    mode: Literal["real", "unreal"] | None = None
    """Begins or ends a play, dream or tale, in which nobody is hurt."""
    real: bool = False
    """Happens in earnest even within one."""
    told: bool = False
    """Speaks of a wound: No where it was told of before."""
    tells: bool = False
    """Tells of an old wound."""
    calms: bool = False
    """Nobody was hurt: the danger is over."""

    @property
    def family(self) -> str:
        """The part of the name before the dot: frames of one family tell of the same kind of event."""
        return self.name.partition(".")[0]

    @property
    def is_outcome(self) -> bool:
        """Whether something may have happened to somebody here."""
        return self.truth in ("Yes", "Unsure") or self.reads is not None


class Scene(NamedTuple):
    """Frames that follow one another, and what kinds fill their slots."""

    steps: tuple[Weighted[Frame | None], ...]
    bind: Mapping[str, Weighted[str]]


class Story(NamedTuple):
    """The shape of a whole story."""

    begin: tuple[Weighted[Frame | None], ...]
    end: tuple[Weighted[Frame | None], ...]
    scenes: tuple[int, int]
    calm_between: float


class Match(NamedTuple):
    """What a skeleton stands for."""

    frame: Frame
    wording: Wording


class Grammar(NamedTuple):
    """All of it."""

    kinds: Mapping[str, Weighted[Noun]]
    phrases: Mapping[str, Weighted[str]]
    frames: Mapping[str, Frame]
    skeletons: Mapping[str, Match]
    lexicon: Lexicon
    scenes: Weighted[Scene]
    story: Story
    slot_kinds: Mapping[str, Weighted[str]]


@cache
def grammar() -> Grammar:
    """The grammar, loaded once a process (about 20 ms). Raises BadInput naming what is wrong in it."""
    words = _toml("words.toml")
    kinds = {kind: _nouns(kind, spec) for kind, spec in words.pop("kinds").items()}
    phrases = {slot: _skewed(words[slot]["phrases"], words[slot].get("skew", 0.0)) for slot in PHRASE_SLOTS}
    lexicon = Lexicon(
        (noun for nouns in kinds.values() for noun in nouns.items),
        {slot: entries.items for slot, entries in phrases.items()},
    )
    frames: dict[str, Frame] = {}
    for file in ("falls", "blows", "elements", "signs", "echoes", "calm"):
        for family, members in _toml(f"{file}.toml").items():
            for name, spec in members.items():
                frames[f"{family}.{name}"] = _frame(f"{family}.{name}", spec)
    story = _toml("scenes.toml")
    scenes = [_scene(spec, frames) for spec in story["scene"]]
    return Grammar(
        kinds,
        phrases,
        frames,
        _skeletons(frames, lexicon),
        lexicon,
        Weighted(scenes, [spec["weight"] for spec in story["scene"]]),
        _story(story["story"], frames),
        {slot: _weighted(text) for slot, text in SLOT_KINDS.items()},
    )


def _nouns(kind: str, spec: Mapping[str, Any]) -> Weighted[Noun]:
    skew = 0.0 if kind in PEOPLE else NOUN_SKEW
    return _skewed([Noun(word, kind, spec) for word in spec["words"]], skew)


def _skewed(items: Sequence[T], skew: float) -> Weighted[T]:
    """Items with weights that fall by their rank to the power of `skew`."""
    return Weighted(items, [rank**-skew for rank in range(1, len(items) + 1)])


def _toml(name: str) -> dict[str, Any]:
    return tomllib.loads((_FOLDER / name).read_text(encoding="utf-8"))


def _frame(name: str, spec: dict[str, Any]) -> Frame:
    common = [_wording(text, rare=False) for text in spec.pop("common")]
    rare = [_wording(text, rare=True) for text in spec.pop("rare", [])]
    zipf = [1 / rank**0.5 for rank in range(1, len(common) + 1)]
    head = [(1 - RARE_SHARE * bool(rare)) * weight / sum(zipf) for weight in zipf]
    tail = [RARE_SHARE / len(rare)] * len(rare)
    wordings = (*common, *rare)
    retold = [0.35 / len(common)] * len(common) + [0.65 / max(1, len(rare))] * len(rare)
    return Frame(name, wordings, Weighted(wordings, head + tail), Weighted(wordings, retold), **spec)


def _wording(text: str, *, rare: bool) -> Wording:
    pieces = tuple(_SLOT.split(text))
    slots = [slot for slot in pieces[1::2] if slot not in PHRASE_SLOTS]
    nouns = tuple(slot[0] for slot in slots if slot.partition(".")[2] in ("", "the"))
    pronouns = tuple(slot[0] for slot in slots if slot.partition(".")[2] not in ("", "the"))
    return Wording(pieces, rare, nouns, pronouns)


def _weighted(text: str) -> Weighted[str]:
    """`"a:3 b"` as weighted items; without a number the weight is 1."""
    pairs = [entry.partition(":") for entry in text.split()]
    return Weighted([item for item, _, _ in pairs], [float(weight or 1) for _, _, weight in pairs])


def _steps(texts: list[str], frames: Mapping[str, Frame]) -> tuple[Weighted[Frame | None], ...]:
    named = [_weighted(text) for text in texts]
    return tuple(step.map(lambda name: None if name == "-" else frames[name]) for step in named)


def _scene(spec: dict[str, Any], frames: Mapping[str, Frame]) -> Scene:
    bind = {slot: _weighted(text) for slot, text in spec.get("bind", {}).items()}
    return Scene(_steps(spec["steps"], frames), bind)


def _story(spec: dict[str, Any], frames: Mapping[str, Frame]) -> Story:
    low, high = spec["scenes"]
    return Story(_steps(spec["begin"], frames), _steps(spec["end"], frames), (low, high), spec["calm_between"])


def _skeletons(frames: Mapping[str, Frame], lexicon: Lexicon) -> dict[str, Match]:
    found: dict[str, Match] = {}
    for frame in frames.values():
        for wording in frame.wordings:
            key = _wording_key(wording, lexicon, frame.name)
            if key in found:
                other = found[key].frame.name
                raise BadInput(f"one sentence has two meanings, {other} and {frame.name}: {key}", where="grammar")
            found[key] = Match(frame, wording)
    return found


def _wording_key(wording: Wording, lexicon: Lexicon, name: str) -> str:
    marks = []
    for position, piece in enumerate(wording.pieces):
        if position % 2 == 0:
            literal = lexicon.skeleton(piece)
            if literal.nouns or literal.genders:
                raise BadInput(
                    f"a wording of {name} names a noun or pronoun outside a slot: {piece!r}", where="grammar"
                )
            marks.append(literal.key)
        elif piece in PHRASE_SLOTS:
            marks.append(piece.upper())
        else:
            form = piece.partition(".")[2].lower()
            marks.append("NOUN" if form in ("", "the") else PRONOUNS[form])
    return " ".join(mark for mark in marks if mark)
