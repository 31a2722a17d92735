from __future__ import annotations

from engine.attacks.substitution.nearest_words import NearestWords, NearestWordsSettings
from engine.attacks.substitution.words import gaps, words
from engine.snippets import Snippet

KNIGHTS = Snippet("The war was long.", "The knight drew his sword.")
KITCHEN = Snippet("The soup was hot.", "The cook drew his sword.")


def proposed(source: NearestWords, snippet: Snippet, k: int = 8) -> dict[str, list[str]]:
    slots = words(snippet.completion)
    found = source.propose(snippet, slots, k)
    return {snippet.completion[slot.start : slot.end]: near for slot, near in zip(slots, found, strict=True)}


def test_content_words_have_near_words_and_closed_classes_none() -> None:
    found = proposed(NearestWords(), KNIGHTS)
    assert {word for word, near in found.items() if near} == {"knight", "drew", "sword"}
    assert {"blade", "dagger"} <= set(found["sword"])
    assert "knights" not in found["knight"]
    assert "swords" not in found["sword"]


def test_what_was_asked_before_changes_nothing() -> None:
    used = NearestWords()
    for k in (8, 3, 24):
        for snippet in (KNIGHTS, KITCHEN, KNIGHTS):
            assert proposed(used, snippet, k) == proposed(NearestWords(), snippet, k)


def test_the_text_decides_the_order_unless_it_has_no_weight() -> None:
    assert proposed(NearestWords(), KNIGHTS, 24)["sword"] != proposed(NearestWords(), KITCHEN, 24)["sword"]
    deaf = NearestWords(NearestWordsSettings(context_weight=0))
    assert proposed(deaf, KNIGHTS, 24)["sword"] == proposed(deaf, KITCHEN, 24)["sword"]


def test_words_farther_than_the_least_cosine_are_left_out() -> None:
    near = proposed(NearestWords(NearestWordsSettings(least_cosine=0.35, context_weight=0)), KNIGHTS, 24)["sword"]
    far = proposed(NearestWords(NearestWordsSettings(least_cosine=-1, context_weight=0)), KNIGHTS, 24)["sword"]
    assert 0 < len(near) < len(far) == 24
    assert far[: len(near)] == near


def test_gaps_take_fillers_but_not_after_an_article_or_a_preposition() -> None:
    places = gaps(KNIGHTS.completion)
    found = NearestWords().propose(KNIGHTS, places, 5)
    assert [KNIGHTS.completion[slot.start :].split()[0] for slot in places] == ["knight", "drew", "his", "sword.", "."]
    assert [len(fillers) for fillers in found] == [0, 5, 5, 0, 5]
    assert len({tuple(fillers) for fillers in found if fillers}) == 1
    comma = Snippet("", "He looked at, and took, the sword.")
    after_at = [slot for slot in gaps(comma.completion) if comma.completion[slot.start :].startswith("and")]
    assert len(NearestWords().propose(comma, after_at, 5)[0]) == 5
