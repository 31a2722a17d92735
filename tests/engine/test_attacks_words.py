from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.attacks.substitution.words import Slot, edited, gaps, words

STORIES = Path(__file__).resolve().parents[3] / "shared" / "data" / "stories"
TEXT = "He took an old sword, and \"ran\" to the O'Brien house. It was 5 o'clock."


def said(text: str, slots: list[Slot]) -> list[str]:
    return [text[slot.start : slot.end] for slot in slots]


def put(text: str, there: str, word: str) -> str:
    """`text` with `word` for the first `there`."""
    return edited(text, next(slot for slot in words(text) if text[slot.start : slot.end] == there), word)


def test_words_are_what_people_see() -> None:
    assert said(TEXT, words(TEXT)) == (
        ["He", "took", "an", "old", "sword", "and", "ran", "to", "the", "O'Brien", "house", "It", "was", "5", "o'clock"]
    )
    assert said("\U0001f600 сестра-то, 你好! -- '' _", words("\U0001f600 сестра-то, 你好! -- '' _")) == [
        "сестра-то",
        "你好",
    ]
    assert words("") == words(" ... ") == gaps("...") == []


@pytest.mark.parametrize(
    ("there", "word", "result"),
    [
        ("old", "new", "He took a new sword, and \"ran\" to the O'Brien house. It was 5 o'clock."),
        ("old", "honest", "He took an honest sword, and \"ran\" to the O'Brien house. It was 5 o'clock."),
        ("old", "European", "He took a European sword, and \"ran\" to the O'Brien house. It was 5 o'clock."),
        ("old", "", "He took a sword, and \"ran\" to the O'Brien house. It was 5 o'clock."),
        ("He", "she", "She took an old sword, and \"ran\" to the O'Brien house. It was 5 o'clock."),
        ("He", "", "Took an old sword, and \"ran\" to the O'Brien house. It was 5 o'clock."),
        ("It", "that", "He took an old sword, and \"ran\" to the O'Brien house. That was 5 o'clock."),
        ("o'clock", "", 'He took an old sword, and "ran" to the O\'Brien house. It was 5.'),
        ("ran", "fled", "He took an old sword, and \"fled\" to the O'Brien house. It was 5 o'clock."),
    ],
)
def test_an_edit_reads_as_if_typed(there: str, word: str, result: str) -> None:
    assert put(TEXT, there, word) == result


def test_case_follows_the_word_that_was_there() -> None:
    assert put("STOP at once.", "STOP", "halt") == "HALT at once."
    assert put("Then I ran.", "I", "we") == "Then we ran."
    assert put("We met Anna.", "Anna", "maria") == "We met Maria."


def test_gaps_lie_before_words_within_a_sentence_and_after_the_last() -> None:
    text = 'She ran. "An owl," he said.'
    inserted = [edited(text, gap, "old") for gap in gaps(text)]
    assert inserted == [
        'She old ran. "An owl," he said.',
        'She ran. "An old owl," he said.',
        'She ran. "An owl," old he said.',
        'She ran. "An owl," he old said.',
        'She ran. "An owl," he said old.',
    ]


def test_an_article_follows_what_is_put_behind_it() -> None:
    text = "It was a day like an hour."
    day = next(gap for gap in gaps(text) if text[gap.start :].startswith("day"))
    assert edited(text, day, "endless") == "It was an endless day like an hour."
    hour = next(gap for gap in gaps(text) if text[gap.start :].startswith("hour"))
    assert edited(text, hour, "long") == "It was a day like a long hour."


@given(st.text())
def test_the_word_that_is_there_changes_nothing_whatever_the_text(text: str) -> None:
    for slot in words(text):
        assert edited(text, slot, text[slot.start : slot.end]) == text
    for gap in gaps(text):
        assert edited(text, gap, "") == text


@pytest.mark.skipif(not STORIES.is_dir(), reason="no stories beside this project")
def test_round_trips_are_exact_on_all_windows_of_the_stories() -> None:
    checked = 0
    for file in sorted(STORIES.glob("*.txt")):
        text = file.read_text(encoding="utf-8")
        for start in range(0, len(text), 400):
            window = text[start : start + 400]
            slots = words(window)
            ends = [0, *(slot.end for slot in slots)]
            rebuilt = "".join(window[a : s.start] + window[s.start : s.end] for a, s in zip(ends, slots, strict=False))
            assert rebuilt + window[ends[-1] :] == window
            assert all(edited(window, slot, window[slot.start : slot.end]) == window for slot in slots)
            checked += 1
    assert checked > 10_000
