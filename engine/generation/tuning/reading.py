"""Which stories a generator is trained on, and which only measure it: by the hash of each story's text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.corpus.cleaning import clean
from engine.corpus.stories import Story, corpus_bytes, read_stories
from engine.errors import BadInput
from engine.generation.tuning.recipe import TuningRecipe
from engine.progress import Progress, silent
from engine.snippets import SPLITS, Snippet, Split, split_of

SHARE_OF_ONE = 10
"""No story gives more than this part of what is measured on: long ones would leave too few for an interval."""


def story_hash(text: str) -> str:
    """SHA-256 (hex) of a story's text, as snippets are hashed: white space and Unicode forms make no difference."""
    return Snippet("", text).content_hash


@dataclass
class Divided:
    """Stories by split, each text once."""

    texts: dict[Split, list[str]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    hashes: dict[Split, list[str]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    chars: dict[Split, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))


def divided(folder: Path, recipe: TuningRecipe, *, progress: Progress = silent) -> Divided:
    """The stories of `folder`, taken in random order until each split has the characters that the recipe asks for.

    The split is that of the story's hash, by the rule for snippets: a copy under another name, or in another corpus, is
    in the same one. Holds what it takes in memory. `progress` is told characters read. O(characters read). Raises
    BadInput where nothing falls to training, or nothing is left to measure on.
    """
    total = corpus_bytes(folder)
    found = _taken(read_stories(folder, shuffled=recipe.seed), recipe, progress, total)
    _suffices({split: len(texts) for split, texts in found.texts.items()}, folder)
    return found


def check_stories_divide(folder: Path, recipe: TuningRecipe) -> None:
    """Raises what `divided` would raise, and reads no more than it takes to tell: most folders' first stories."""
    seen: dict[Split, set[str]] = {split: set() for split in SPLITS}
    for story in read_stories(folder):
        if _text(story.text, recipe).strip():
            digest = story_hash(story.text)
            seen[split_of(digest)].add(digest)
        if seen["train"] and (seen["validation"] or seen["test"]):
            return
    _suffices({split: len(hashes) for split, hashes in seen.items()}, folder)


def _suffices(stories: Mapping[Split, int], folder: Path) -> None:
    """Raises BadInput where nothing falls to training, or nothing is left to measure on."""
    total = sum(stories.values())
    if not total:
        raise BadInput("none of its stories says anything", where=str(folder))
    if not stories["train"]:
        raise BadInput(f"none of its {total:,} stories falls to training; give it more", where=str(folder))
    if stories["train"] == total:
        many = "its only story falls" if total == 1 else f"all of its {total:,} stories fall"
        raise BadInput(
            f"{many} to training and none is left to measure on; give it more, or split long files into their stories",
            where=str(folder),
        )


def _taken(stories: Iterable[Story], recipe: TuningRecipe, progress: Progress, total: int) -> Divided:
    found, seen, read = Divided(), set[str](), 0
    most: dict[Split, int] = {
        "train": recipe.max_chars,
        "validation": recipe.held_out_chars,
        "test": recipe.held_out_chars,
    }
    for story in stories:
        if all(found.chars[split] >= most[split] for split in SPLITS):
            break
        read += len(story.text)
        progress(min(read, total), total)
        digest = story_hash(story.text)
        split = split_of(digest)
        text = _text(story.text, recipe)
        room = most[split] - found.chars[split]
        if split != "train":
            room = min(room, max(1, most[split] // SHARE_OF_ONE))
        if room <= 0 or digest in seen or not text.strip():
            continue
        seen.add(digest)
        found.texts[split].append(text[:room])
        found.hashes[split].append(digest)
        found.chars[split] += min(len(text), room)
    return found


def _text(raw: str, recipe: TuningRecipe) -> str:
    if not recipe.cleaned:
        return raw
    return "\n\n".join(paragraph for section in clean(raw) for paragraph in section)
