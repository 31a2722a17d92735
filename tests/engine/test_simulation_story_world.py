"""The story world: its text reads back to what was told, however it is recombined; its truths by hand."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from engine.simulation import StoryWorld, hardness, truth
from engine.simulation.chance import Chance
from engine.simulation.grammar import grammar
from engine.simulation.reading import read
from engine.simulation.telling import Cast, tell
from engine.snippets import Snippet, SnippetRules, refusals


def windows(stories: int, seed: int = 0) -> list[tuple[Snippet, str]]:
    world = StoryWorld(seed)
    return [window for index in range(stories) for window in world.story(index).windows()]


def test_every_window_is_valid_and_reads_as_it_was_recorded() -> None:
    for snippet, recorded in windows(300):
        assert refusals(snippet, SnippetRules()) == []
        assert truth(snippet) == recorded, snippet


def test_every_prompt_reads_with_every_completion() -> None:
    pool = [snippet for snippet, _ in windows(120, seed=1)]
    chance = random.Random(0)
    truths = Counter(truth(Snippet(chance.choice(pool).prompt, chance.choice(pool).completion)) for _ in range(3000))
    assert truths.keys() == {"Yes", "Unsure", "No"}
    assert truths["No"] > 2000


def test_every_wording_reads_back_to_itself() -> None:
    known = grammar()
    for frame in known.frames.values():
        for wording in frame.wordings:
            for key in range(12):
                chance = Chance(7, key)
                sentence, told = tell(wording, frame, Cast(known, chance), chance, known)
                heard = read(Snippet("", sentence))
                assert heard is not None, sentence
                assert (heard[0].frame, heard[0].wording) == (frame, wording)
                assert dict(heard[0].nouns) == dict(told.nouns)
                assert dict(heard[0].genders) == dict(told.genders)


def test_rates_and_sizes() -> None:
    world = StoryWorld(3)
    stories = [world.story(index) for index in range(400)]
    lengths = [len(story.sentences) for story in stories]
    assert min(lengths) >= 6
    assert 10 <= sum(lengths) / len(lengths) <= 13
    truths = Counter(recorded for story in stories for _, recorded in story.windows())
    share = {name: count / truths.total() for name, count in truths.items()}
    assert 0.055 <= share["Yes"] <= 0.10
    assert 0.01 <= share["Unsure"] <= 0.03


def test_the_same_story_everywhere_and_another_by_another_seed() -> None:
    assert StoryWorld(5).story(9) == StoryWorld(5).story(9)
    assert StoryWorld(5).story(9).text != StoryWorld(6).story(9).text
    assert StoryWorld(5).story(9).text != StoryWorld(5).story(10).text


PAUSE = "The others stood on the quay and stared."
BESIDE = "Tom asked Anna for the news from the coast."


@pytest.mark.parametrize(
    ("prompt", "completion", "expected"),
    [
        (["An anvil slid off the high shelf above Anna."], "It struck her hand before anyone could speak.", "Yes"),
        (["A snowflake slid off the high shelf above Anna."], "It struck her hand before anyone could speak.", "No"),
        ([], "It struck her hand before anyone could speak.", "Unsure"),
        (
            ["An anvil slid off the high shelf above the scarecrow."],
            "It struck his hand before anyone could speak.",
            "No",
        ),
        (["An anvil slid off the high shelf above Anna."], "It missed her hand by a hand's breadth.", "No"),
        ([], "The blade stabbed the sack of flour.", "No"),
        ([], "The blade stabbed the brown cow.", "Yes"),
        ([], "The blade stabbed Anna.", "Yes"),
        (["Anna had button eyes and a body stuffed with sawdust."], "The blade stabbed Anna.", "No"),
        (["Anna was the best milker in the whole herd."], "The blade stabbed Anna.", "Yes"),
        (["Tom and Anna were rehearsing the battle scene for the fair."], "The blade stabbed Anna.", "No"),
        (
            [
                "Tom and Anna were rehearsing the battle scene for the fair.",
                "The curtain came down and everybody clapped.",
            ],
            "The blade stabbed Anna.",
            "Yes",
        ),
        (
            ["Tom and Anna were rehearsing the battle scene for the fair."],
            "But the dagger was no stage dagger, and Anna was truly bleeding.",
            "Yes",
        ),
        (["Tom drew the bow and took aim at the drum."], "The arrow went exactly where it had been meant to go.", "No"),
        (["Tom drew the bow and took aim at the doe."], "The arrow went exactly where it had been meant to go.", "Yes"),
        (["An old scar ran across Anna's arm."], "There was still a bandage round Anna's arm.", "No"),
        (["An old scar ran across Tom's arm."], "There was still a bandage round Anna's arm.", "Yes"),
        (["An old scar ran across Anna's arm."], "The cut on Anna's arm had festered.", "Yes"),
        (["An old scar ran across Anna's arm."], "An old scar ran across Anna's arm.", "No"),
        (["Anna had been pressing beets in the shed since sunrise."], "There was red all over Anna's shirt.", "No"),
        (["A single shot was heard from the shed where Anna was."], "There was red all over Anna's shirt.", "Yes"),
        (
            ["The mayor gave Tom a carved stick with a silver knob."],
            "Tom never walked without a stick after that.",
            "No",
        ),
        (["The runaway horses were almost upon Tom."], "Tom never walked without a stick after that.", "Yes"),
        (["Tom stood on the cliff path and waved to everyone."], "He lost his balance and went over backwards.", None),
        ([], "Tom's letter was late again that winter.", None),
    ],
)
def test_truths_by_hand(prompt: list[str], completion: str, expected: str | None) -> None:
    prompt = [*prompt, PAUSE, BESIDE][-3:] if len(prompt) > 1 else [*prompt, PAUSE]
    assert truth(Snippet(" ".join(prompt), completion)) == expected


def test_what_is_not_the_worlds_is_not_read() -> None:
    snippet, _ = windows(1)[0]
    for broken in (
        Snippet(snippet.prompt, "He walked home."),
        Snippet("He walked home. " + snippet.prompt, snippet.completion),
        Snippet(snippet.prompt, snippet.completion.rstrip(".")),
        Snippet("", ""),
    ):
        assert truth(broken) is None
        assert hardness(broken) == 0.15


def test_stories_are_written_once_and_whole(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    paths = StoryWorld(2).write_stories(tmp_path / "s", 5, progress=lambda done, total: calls.append((done, total)))
    assert [path.name for path in paths] == [f"story-{number:04d}.txt" for number in range(1, 6)]
    assert paths[3].read_text() == StoryWorld(2).story(3).text
    assert calls[-1] == (5, 5)
    before = [path.stat().st_mtime_ns for path in paths]
    paths[1].write_text("half a sto")
    StoryWorld(2).write_stories(tmp_path / "s", 5)
    assert [path.stat().st_mtime_ns == time for path, time in zip(paths, before, strict=True)] == [
        True, False, True, True, True,
    ]  # fmt: skip
    assert paths[1].read_text() == StoryWorld(2).story(1).text
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == sorted(path.name for path in paths)
