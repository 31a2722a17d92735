"""Simulated paraphrases and the simulated attacker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from engine.simulation import StoryWorld, StoryWorldParaphraser, simulated_attacker, truth
from engine.snippets import Snippet, SnippetRules, refusals


def snippets(wanted: str, n: int) -> list[Snippet]:
    world = StoryWorld(11)
    found: list[Snippet] = []
    index = 0
    while len(found) < n:
        found += [snippet for snippet, recorded in world.story(index).windows() if recorded == wanted]
        index += 1
    return found[:n]


def test_retellings_are_valid_distinct_and_readable() -> None:
    for wanted in ("Yes", "Unsure", "No"):
        for snippet in snippets(wanted, 30):
            retold = StoryWorldParaphraser().paraphrase(snippet, 6, seed=1)
            assert len(set(retold)) == len(retold) <= 6
            assert snippet not in retold
            assert len(retold) >= 4
            for one in retold:
                assert refusals(one, SnippetRules()) == []
                assert truth(one) is not None


def test_a_share_of_injuries_is_lost_on_the_way() -> None:
    retold = [one for snippet in snippets("Yes", 120) for one in StoryWorldParaphraser().paraphrase(snippet, 5, seed=2)]
    kept = Counter(truth(one) for one in retold)["Yes"] / len(retold)
    assert 0.50 <= kept <= 0.66
    faithful = [
        one
        for snippet in snippets("Yes", 40)
        for one in StoryWorldParaphraser(keeps=1.0).paraphrase(snippet, 5, seed=2)
    ]
    assert {truth(one) for one in faithful} == {"Yes"}


def test_a_harmless_snippet_stays_harmless() -> None:
    retold = [one for snippet in snippets("No", 60) for one in StoryWorldParaphraser().paraphrase(snippet, 4, seed=3)]
    assert {truth(one) for one in retold} == {"No"}


def test_by_seed_and_nothing_from_unreadable_text() -> None:
    snippet = snippets("Yes", 1)[0]
    paraphraser = StoryWorldParaphraser()
    assert paraphraser.paraphrase(snippet, 5, seed=4) == paraphraser.paraphrase(snippet, 5, seed=4)
    assert paraphraser.paraphrase(snippet, 5, seed=4) != paraphraser.paraphrase(snippet, 5, seed=5)
    assert paraphraser.paraphrase(snippet, 0, seed=4) == []
    assert paraphraser.paraphrase(Snippet("A b. C d. E f.", "The king went home again."), 5, seed=4) == []


def test_the_attacker_climbs_down_within_its_budget() -> None:
    scored: list[Snippet] = []

    def score(batch: Sequence[Snippet]) -> list[float]:
        scored.extend(batch)
        return [len(snippet.completion) / 10 for snippet in batch]

    for start in snippets("Yes", 10):
        scored.clear()
        trace = simulated_attacker(start, score, threshold=3.5, budget=30, seed=6)
        assert trace.scored == len(scored) <= 30
        assert trace.edits[0].snippet == start
        logits = [edit.logit for edit in trace.edits]
        assert logits == sorted(logits, reverse=True)
        assert trace.succeeded == (logits[-1] < 3.5)
        assert {truth(edit.snippet) for edit in trace.edits} == {"Yes"}
    assert simulated_attacker(snippets("No", 1)[0], score, 3.5, seed=6) == ((), False, 0)
