"""Word rules: which snippets fit them."""

from __future__ import annotations

import pytest

from engine.policies import WordRule
from engine.policies.word_rules import fits_any
from engine.snippets import Snippet

SLICED = (WordRule(any_of=("sliced", "cut through"), beside=("sword", "dagger"), none_of=("bread", "sack of flour")),)


@pytest.mark.parametrize(
    ("prompt", "completion", "fits"),
    [
        ("He drew his sword.", "It sliced the guard.", True),
        ("He drew his Sword.", "It SLICED the guard.", True),
        ("He waited.", "The dagger sliced the guard.", True),
        ("He waited.", "The saw sliced the guard.", False),
        ("He drew his sword.", "He sliced the bread.", False),
        ("The bread was old; he drew his sword.", "It sliced the guard.", True),
        ("He drew his sword.", "It cut through the guard.", True),
        ("He drew his sword.", "It cut right through the guard.", False),
        ("He drew his sword.", "It cut through a sack of flour.", False),
        ("He drew his sword.", "It cut through a sack of straw.", True),
        ("He sliced it with his sword.", "They went home.", False),
        ("He drew his swords.", "It sliced the guard.", False),
        ("", "", False),
    ],
)
def test_a_rule_fits(prompt: str, completion: str, fits: bool) -> None:
    assert fits_any(SLICED, Snippet(prompt, completion)) is fits


def test_any_rule_is_enough_and_no_rules_fit_nothing() -> None:
    rules = [WordRule(any_of=("burned",)), WordRule(any_of=("didn't breathe",))]
    assert fits_any(rules, Snippet("", "The child didn\u2019t breathe."))
    assert fits_any(rules, Snippet("", "She burned."))
    assert not fits_any(rules, Snippet("", "The child breathed."))
    assert not fits_any((), Snippet("", "She burned."))


def test_rule_sets_are_told_apart_however_many_there_are() -> None:
    sets = [(WordRule(any_of=(f"word{'x' * i}",)),) for i in range(200)]
    for i, rules in enumerate(sets):
        assert fits_any(rules, Snippet("", f"A word{'x' * i} here."))
        assert not fits_any(rules, Snippet("", f"A word{'x' * (i + 1)} here."))
