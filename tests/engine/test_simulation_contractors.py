"""Simulated contractors: what they hand in is accepted, is a failure, fits the rules, and is the same by seed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from engine.simulation import StoryWorld, truth
from engine.simulation.contractors import Written, manual_examples, rewritten_failures
from engine.snippets import Snippet, split_of


def score(texts: Sequence[Snippet]) -> list[float]:
    """A classifier that likes long completions."""
    return [60.0 - len(text.completion) for text in texts]


CUTOFF = 0.0


def manual(wanted: int = 6, *, seed: int = 0, cutoff: float = CUTOFF, budget: int = 40) -> list[Written]:
    def fits(text: Snippet) -> bool:
        return split_of(text.content_hash) == "train"

    return manual_examples(score, cutoff, fits, wanted=wanted, budget=budget, seed=seed)


def test_manual_examples_are_accepted_failures_of_the_training_split() -> None:
    found = manual()
    assert len(found) == len({one.snippet for one in found}) == 6
    for one in found:
        assert (truth(one.snippet), split_of(one.snippet.content_hash)) == ("Yes", "train")
        assert one.logit == score([one.snippet])[0] < CUTOFF
        assert 1 <= one.scored <= 40
        assert (one.edits == 0) == (one.snippet == one.start)


def test_the_same_seed_writes_the_same_and_another_something_else() -> None:
    assert manual() == manual()
    assert not {one.snippet for one in manual()} & {one.snippet for one in manual(seed=1)}


def test_none_wanted_and_none_to_be_had() -> None:
    assert manual(0) == []
    assert manual(3, cutoff=-1e6) == []


def failures() -> list[Snippet]:
    world, found = StoryWorld(3), []
    for number in range(40):
        found += [snippet for snippet, known in world.story(number).windows() if known == "Yes"][:1]
    return found[:12]


def test_rewrites_start_from_known_failures_and_keep_them_failures() -> None:
    seeds = failures()
    found = rewritten_failures(seeds, score, CUTOFF, lambda text: True, budget=60, seed=0)
    assert 0 < len(found) <= len(seeds)
    assert [seeds.index(one.start) for one in found] == sorted(seeds.index(one.start) for one in found)
    for one in found:
        assert one.snippet != one.start
        assert truth(one.snippet) == "Yes"
        assert one.logit < CUTOFF <= score([one.start])[0]


@pytest.mark.parametrize("budget", [1, 2])
def test_a_budget_is_not_overspent(budget: int) -> None:
    asked = 0

    def counting(texts: Sequence[Snippet]) -> list[float]:
        nonlocal asked
        asked += len(texts)
        return [1.0] * len(texts)

    assert rewritten_failures(failures(), counting, CUTOFF, lambda text: True, budget=budget, seed=0) == []
    assert asked == budget * len(failures())


def test_what_is_no_failure_of_the_story_world_is_left_alone() -> None:
    plain = Snippet("It rained. It stopped. It rained.", "Nobody minded it very much at all.")
    assert rewritten_failures([plain], score, CUTOFF, lambda text: True, budget=9, seed=0) == []
