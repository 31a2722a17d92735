from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from engine.attacks.base import Edit
from engine.attacks.rewrite.base import State
from engine.attacks.rewrite.constraints import CHECKS
from engine.attacks.rewrite.fillers import after, before, fillers
from engine.attacks.rewrite.moves import filler
from engine.attacks.substitution.suggest import SubstitutionEngine
from engine.attacks.substitution.words import Slot
from engine.policies import load_policy
from engine.policies.word_rules import fits_any
from engine.snippets import Snippet
from tests.engine.test_attacks_rewrite import PROMPT, engine_in

SUN, SKY = "as the sun went down", "under a clear blue sky"


class Zeros:
    """Thinks that nothing changes."""

    def estimates(self, snippet: Snippet, slot: Slot, texts: list[str]) -> list[float]:
        return [0.0] * len(texts)


ZEROS = cast("SubstitutionEngine", Zeros())


@pytest.mark.parametrize(
    ("completion", "first", "last"),
    [
        ("The cook ran.", "As the sun went down, the cook ran.", "The cook ran, as the sun went down."),
        ("Anna ran!", "As the sun went down, Anna ran!", "Anna ran, as the sun went down!"),
        ("I ran", "As the sun went down, I ran", None),
        ("Suddenly he ran.", None, "Suddenly he ran, as the sun went down."),
        ('"Run," he said.', None, '"Run," he said, as the sun went down.'),
        ('He said: "Run."', 'As the sun went down, he said: "Run."', None),
        ("\U0001f600 ...", None, None),
        ("Он ушёл.", None, "Он ушёл, as the sun went down."),
        ("", None, None),
    ],
)
def test_a_clause_stands_before_a_sentence_and_after_it(completion: str, first: str | None, last: str | None) -> None:
    found = [put(completion, SUN) for put in (before, after)]
    assert [one and one.completion for one in found] == [first, last]


def test_fillers_hold_no_word_that_a_policy_looks_for_and_no_full_stop() -> None:
    assert len(set(fillers())) == len(fillers()) >= 20
    for name in ("injury", "toxic"):
        policy = load_policy(name)
        wanted = {word for rule in policy.enrichment for word in (*rule.any_of, *rule.beside)}
        for one in fillers():
            assert not wanted & set(one.split()), one
            assert not fits_any(policy.enrichment, Snippet("", one))
            assert "." not in one
            assert one == one.lower()


def test_the_move_puts_each_filler_once_and_one_on_each_side() -> None:
    start = State(Snippet(PROMPT, "The baker stabbed a girl."), 1.0)
    made = filler(ZEROS, start, 2)
    assert [one.snippet.completion for one in made] == [
        "As the sun went down, the baker stabbed a girl.",
        "Under a clear blue sky, the baker stabbed a girl.",
        "The baker stabbed a girl, as the sun went down.",
        "The baker stabbed a girl, under a clear blue sky.",
    ]
    assert [one.edits[0].kind for one in made] == ["filler"] * 4
    assert made[0].snippet.prompt == PROMPT
    for first, second in (
        (made[0], "As the sun went down, the baker stabbed a girl, under a clear blue sky."),
        (made[2], "Under a clear blue sky, the baker stabbed a girl, as the sun went down."),
    ):
        twice = filler(ZEROS, first, 1)
        assert [one.snippet.completion for one in twice] == [second]
        assert filler(ZEROS, twice[0], 24) == []


def test_a_protected_first_word_is_not_lowered() -> None:
    start = State(Snippet(PROMPT, "The baker stabbed a girl."), 1.0, closed=(Slot(0, 9),))
    assert {one.snippet.completion.startswith("The baker stabbed a girl,") for one in filler(ZEROS, start, 5)} == {True}


def test_fillers_and_clauses_are_no_edited_words() -> None:
    allows = CHECKS["edited_share"](load_policy("injury"), 0.0)
    seed = Snippet(PROMPT, "The baker stabbed a girl.")
    edits = [Edit(kind, 0, "The", "As the sun went down, the") for kind in ("filler", "clause", "insert", "replace")]
    assert [allows(seed, State(seed, 0.0, (edit,))) for edit in edits] == [True, True, False, False]


def test_estimates_are_those_of_the_first_order(tmp_path: Path) -> None:
    engine = engine_in(tmp_path)
    start = State(Snippet(PROMPT, "The baker stabbed a girl."), 1.0)
    made = filler(engine, start, 3)
    for one in made:
        put = one.edits[0].after if one.edits[0].at else one.edits[0].after.split(", ")[0].lower()
        text = put.lstrip(", ")
        at = 0 if one.edits[0].at == 0 else 24
        estimate = engine.estimates(start.snippet, Slot(at, at), [text])[0]
        assert one.logit - start.logit == pytest.approx(estimate, abs=1e-5)
    assert len({round(one.logit, 4) for one in made}) > 1
