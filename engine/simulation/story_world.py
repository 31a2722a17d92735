"""Stories of a simulated world: plain text whose every window of four sentences has a known truth."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import NamedTuple

from engine.progress import Progress, silent
from engine.simulation.chance import Chance, Weighted
from engine.simulation.grammar import Frame, Grammar, grammar
from engine.simulation.reading import Memory, Told, judge
from engine.simulation.telling import Cast, tell
from engine.snippets import Snippet

PROMPT_SENTENCES = 3
_SENTENCES_A_PARAGRAPH = 5
_REPORT_EVERY = 200
_OUT_OF_NOWHERE = 0.1
"""How often a wound is spoken of that the scene did not tell of."""


class WorldStory(NamedTuple):
    """A story with the world's own record of it."""

    sentences: tuple[str, ...]
    told: tuple[Told, ...]

    @property
    def text(self) -> str:
        """As it stands in a file: paragraphs of a few sentences."""
        step = _SENTENCES_A_PARAGRAPH
        paragraphs = (" ".join(self.sentences[at : at + step]) for at in range(0, len(self.sentences), step))
        return "\n\n".join(paragraphs) + "\n"

    def windows(self) -> list[tuple[Snippet, str]]:
        """Every window of three sentences and the one after them, with its recorded truth."""
        size = PROMPT_SENTENCES
        return [
            (Snippet(" ".join(self.sentences[at : at + size]), self.sentences[at + size]), self._truth(at))
            for at in range(len(self.sentences) - size)
        ]

    def _truth(self, at: int) -> str:
        return judge(self.told[at : at + PROMPT_SENTENCES + 1])


class StoryWorld:
    """A world of stories; story `i` of seed `s` is the same on every machine."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._grammar = grammar()

    def story(self, index: int) -> WorldStory:
        """The story of that number, from 0. About 0.3 ms."""
        return _Teller(self._grammar, Chance(self.seed, index)).story()

    def write_stories(self, directory: Path, n: int, *, progress: Progress = silent) -> list[Path]:
        """Write stories 1 to n as `story-0001.txt` and on; each appears whole or not at all, and writing again changes
        nothing. Other files in `directory` stay. Returns the paths. About 0.5 ms a story.
        """
        directory.mkdir(parents=True, exist_ok=True)
        paths = []
        for index in range(n):
            path = directory / f"story-{index + 1:04d}.txt"
            _write(path, self.story(index).text.encode())
            paths.append(path)
            if index % _REPORT_EVERY == 0 or index == n - 1:
                progress(index + 1, n)
        return paths


class _Teller:
    """Tells one story."""

    def __init__(self, known: Grammar, chance: Chance) -> None:
        self._known = known
        self._chance = chance
        self._sentences: list[str] = []
        self._told: list[Told] = []

    def story(self) -> WorldStory:
        shape, chance = self._known.story, self._chance
        cast = Cast(self._known, chance)
        heroes = [cast[slot] for slot in "AB"]
        self._steps(shape.begin, cast)
        low, high = shape.scenes
        for number in range(low + int(chance.uniform() * (high - low + 1))):
            if number and chance.uniform() < shape.calm_between:
                self._say(self._known.frames["calm.filler"], cast)
            cast = Cast(self._known, chance, dict(zip("AB", heroes, strict=True)))
            scene = self._known.scenes.pick(chance)
            cast.bind(scene.bind)
            if chance.uniform() < 0.5:
                heroes.reverse()
            self._steps(scene.steps, cast)
        self._steps(shape.end, cast)
        return WorldStory(tuple(self._sentences), tuple(self._told))

    def _steps(self, steps: tuple[Weighted[Frame | None], ...], cast: Cast) -> None:
        memory, hurt = Memory(), False
        for step in steps:
            frame = step.pick(self._chance)
            if frame is None or (frame.told and not hurt and self._chance.uniform() > _OUT_OF_NOWHERE):
                continue
            self._say(frame, cast)
            hurt |= memory.hear(self._told[-1]) == "Yes" or frame.tells

    def _say(self, frame: Frame, cast: Cast) -> None:
        sentence, told = tell(frame.chances.pick(self._chance), frame, cast, self._chance, self._known)
        self._sentences.append(sentence)
        self._told.append(told)


def _write(path: Path, content: bytes) -> None:
    if path.exists() and path.read_bytes() == content:
        return
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
