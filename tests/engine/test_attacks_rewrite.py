from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from engine.attacks import Budget, Outcome, Target
from engine.attacks.rewrite import searches
from engine.attacks.rewrite.base import Goal, Plan, State, after_edit
from engine.attacks.rewrite.constraints import CHECKS, CONSTRAINTS
from engine.attacks.rewrite.moves import insert
from engine.attacks.rewrite.recipes import RECIPES, Limits, make_recipe
from engine.attacks.rewrite.search import rewrite_search
from engine.attacks.substitution.suggest import SubstitutionEngine, Suggestion
from engine.attacks.substitution.words import Slot, edited, gaps, words
from engine.errors import BadInput, UnknownName
from engine.policies import Policy, load_policy
from engine.snippets import Snippet, refusals
from tests.engine.test_attacks_suggest import Verbs, parts
from tests.engine.tiny_encoders import COMMON, PLACES

POLICY = load_policy("injury").model_copy(update={"enrichment": ()})
PROMPT = "The old man walked to the hall. They rested. They went by the mill."
SEEDS = [
    Snippet(PROMPT, f"{first} {verb} a girl in the {place}.")
    for first, verb, place in [
        ("The baker", "stabbed", "yard"),
        ("An old knight", "burned", "barn"),
        ("The dog", "greeted", "mill"),
        ("They", "shot", "cave"),
        ("The baker", "crushed", "inn"),
    ]
]


class Letters:
    """Texts as their counts of letters: near where most letters are the same."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.array([[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts], np.float32)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


class Fixed:
    """Suggests what it was given."""

    def __init__(self, made: list[Suggestion]) -> None:
        self.made = made

    def suggest(self, snippet: Snippet, slots: Sequence[Slot], *, k: int) -> list[Suggestion]:
        return self.made[:k]


class Words(Verbs):
    """Proposes the tiny world's words everywhere."""

    def propose(self, snippet: Snippet, slots: Sequence[Slot], k: int) -> list[list[str]]:
        known = [*PLACES, *(word for word in COMMON.split() if word.isalpha() and len(word) > 2)]
        found = []
        for slot in slots:
            there = snippet.completion[slot.start : slot.end].lower()
            found.append([word for word in known if word != there][:k])
        return found


def engine_in(folder: Path) -> SubstitutionEngine:
    white_box, classifier, _ = parts(folder)
    return SubstitutionEngine(white_box, classifier, Words())


def attack(folder: Path, recipe: str, *, policy: Policy = POLICY, config: dict | None = None, **more) -> Outcome:
    engine = engine_in(folder)
    return rewrite_search(
        SEEDS, engine, target(engine, threshold_of(engine), policy), make_recipe(recipe, config), **more
    )


def target(engine: SubstitutionEngine, threshold: float, policy: Policy = POLICY) -> Target:
    return Target(policy, engine._classifier, threshold, lambda: engine._white_box, Letters)


def threshold_of(engine: SubstitutionEngine) -> float:
    """A little below the lowest of the seeds' scores: all are rejected."""
    return float(expit(min(engine.logits(SEEDS)) - 0.05))


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_is_found_is_accepted_valid_and_within_the_limits(tmp_path: Path, recipe: str) -> None:
    outcome = attack(tmp_path, recipe, config={"constraints": {"edited_share": 0.5, "similarity": 0.8}})
    engine = engine_in(tmp_path)
    cutoff = np.log(threshold_of(engine) / (1 - threshold_of(engine)))
    assert outcome.candidates, "else nothing is tested"
    for one in outcome.candidates:
        seed = SEEDS[one.seed_index]
        assert engine.logits([one.snippet])[0] == pytest.approx(one.logit, abs=1e-5)
        assert one.logit < cutoff
        assert refusals(one.snippet, POLICY.snippet_rules) == []
        near = Letters().encode([seed.completion, one.snippet.completion])
        assert near[0] @ near[1] >= 0.8
        assert 1 <= len(one.edits) <= len(words(seed.completion)) // 2
        assert one.snippet.prompt == seed.prompt
    for index, searched in enumerate(outcome.seeds):
        assert searched.kept == sum(one.seed_index == index for one in outcome.candidates) <= 3
        assert searched.stop == ("enough" if searched.kept == 3 else "searched")
    assert len({one.snippet for one in outcome.candidates}) == len(outcome.candidates)


@pytest.mark.parametrize("recipe", ["beam", "best_first", "greedy"])
def test_the_same_seeds_give_the_same_alone_and_side_by_side(tmp_path: Path, recipe: str) -> None:
    together, one_by_one = attack(tmp_path, recipe, at_once=5), attack(tmp_path, recipe, at_once=1)
    assert [(r.seed_index, r.snippet, r.edits) for r in together.candidates] == [
        (r.seed_index, r.snippet, r.edits) for r in one_by_one.candidates
    ]
    assert [(s.queries, s.kept, s.stop) for s in together.seeds] == [
        (s.queries, s.kept, s.stop) for s in one_by_one.seeds
    ]


@pytest.mark.parametrize("queries", [0, 3, 5, 6, 30, 56, 57, 200])
def test_no_query_more_than_the_budget_has(tmp_path: Path, queries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    white_box, classifier, _ = parts(tmp_path)
    threshold = threshold_of(SubstitutionEngine(white_box, classifier, Words()))
    asked: list[int] = []
    scored, graded = classifier.logits, white_box.gradients
    monkeypatch.setattr(classifier, "logits", lambda s: asked.append(len(s)) or scored(s))
    monkeypatch.setattr(white_box, "gradients", lambda s: asked.append(len(s)) or graded(s))
    engine = SubstitutionEngine(white_box, classifier, Words())
    outcome = rewrite_search(
        SEEDS, engine, target(engine, threshold), make_recipe("beam"), budget=Budget(queries=queries)
    )
    assert sum(asked) == outcome.queries <= queries
    assert ("query_budget" in {one.stop for one in outcome.seeds}) == (queries < 57)
    assert sum(one.queries for one in outcome.seeds) == outcome.queries


def test_the_time_budget_ends_it(tmp_path: Path) -> None:
    outcome = attack(tmp_path, "beam", budget=Budget(seconds=1e-9))
    assert ({one.stop for one in outcome.seeds}, outcome.candidates) == ({"time_budget"}, [])
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        Budget(seconds=-1)


def test_what_is_accepted_already_is_not_searched(tmp_path: Path) -> None:
    engine = engine_in(tmp_path)
    outcome = rewrite_search(SEEDS, engine, target(engine, 1.0), make_recipe("beam"))
    assert [(one.stop, one.queries) for one in outcome.seeds] == [("accepted_already", 1)] * 5
    nothing = rewrite_search(SEEDS, engine, target(engine, 0.0), make_recipe("greedy"))
    assert ({one.stop for one in nothing.seeds}, nothing.candidates) == ({"searched"}, [])
    with pytest.raises(BadInput, match="threshold"):
        rewrite_search(SEEDS, engine, target(engine, 1.5), make_recipe("beam"))


def test_protected_words_stay(tmp_path: Path) -> None:
    engine = engine_in(tmp_path)
    spans = [words(seed.completion)[:-1] for seed in SEEDS]
    outcome = rewrite_search(
        SEEDS, engine, target(engine, threshold_of(engine)), make_recipe("best_first", {"constraints": {}}),
        protected=spans,
    )  # fmt: skip
    assert outcome.candidates
    for one in outcome.candidates:
        seed = SEEDS[one.seed_index].completion
        kept = [seed[slot.start : slot.end] for slot in spans[one.seed_index]]
        left = iter(one.snippet.completion.replace(".", " ").split())
        assert all(word in left for word in kept), (seed, one.snippet.completion)


def test_an_article_that_is_protected_stays_whatever_is_put_behind_it() -> None:
    start = State(Snippet(PROMPT, "An old knight rested."), 1.0, closed=(Slot(0, 2),))
    gap = gaps(start.snippet.completion)[0]
    assert start.snippet.completion[gap.start :] == "old knight rested."
    assert start.is_open(gap)
    made = [Suggestion(gap, word, start.snippet, 0.0) for word in ("aged", "yard")]
    made = [one._replace(snippet=Snippet(PROMPT, edited(start.snippet.completion, gap, one.word))) for one in made]
    kept = insert(cast("SubstitutionEngine", Fixed(made)), start, 2)
    assert [state.snippet.completion for state in kept] == ["An aged old knight rested."]


def test_the_classifier_is_asked_only_of_what_is_allowed_one_then_two_the_most_similar_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    white_box, classifier, _ = parts(tmp_path)
    engine = SubstitutionEngine(white_box, classifier, Words())
    cutoff = engine.logits(SEEDS[:1])[0] - 0.8
    asked: list[list[Snippet]] = []
    scored = engine.logits
    monkeypatch.setattr(engine, "logits", lambda snippets: asked.append(list(snippets)) or scored(snippets))
    recipe = make_recipe("beam", {"wanted": 1, "constraints": {"similarity": 0.9}})
    outcome = rewrite_search(SEEDS[:1], engine, target(engine, float(expit(cutoff))), recipe)
    batches = [batch for batch in asked[1:] if batch]
    assert len(outcome.candidates) == 1
    assert [len(batch) for batch in batches[:2]] == [1, 2]
    for batch in batches:
        vectors = Letters().encode([SEEDS[0].completion, *(one.completion for one in batch)])
        cosines = vectors[1:] @ vectors[0]
        assert cosines.min() >= 0.9
        assert cosines.tolist() == sorted(cosines.tolist(), reverse=True)
    accepted = [one for one in batches[-1] if scored([one])[0] < cutoff]
    assert outcome.candidates[0].snippet == accepted[0]
    assert not any(scored([one])[0] < cutoff for batch in batches[:-1] for one in batch)


@pytest.mark.parametrize(("give_up", "batches"), [(1.0, 4), (0.0, 2)])
def test_the_first_eight_of_each_step_come_first_and_the_others_where_there_is_hope(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, give_up: float, batches: int
) -> None:
    white_box, classifier, _ = parts(tmp_path)
    engine = SubstitutionEngine(white_box, classifier, Words())
    tried: list[list[str]] = []
    proposed = searches._proposals

    def recorded(*arguments) -> list[State]:
        made = proposed(*arguments)
        tried.append([state.snippet.completion for state in made])
        return made

    monkeypatch.setattr(searches, "_proposals", recorded)
    config = {"constraints": {}, "max_edits": 2, "tried": 20, "give_up": give_up}
    recipe = make_recipe("substitution", config)
    outcome = rewrite_search(SEEDS[:1], engine, target(engine, 1e-9), recipe)
    assert (outcome.candidates, outcome.seeds[0].stop) == ([], "searched")
    assert [len(step) for step in tried] == [8, 8, 12, 12][:batches]
    assert len({text for step in tried for text in step}) == sum(map(len, tried)), "nothing is tried twice"
    scored = sorted(engine.logits([Snippet(PROMPT, text)])[0] for text in tried[0])
    first = next(text for text in tried[0] if engine.logits([Snippet(PROMPT, text)])[0] == scored[0])
    differs = [sum(a != b for a, b in zip(text.split(), first.split(), strict=True)) for text in tried[1]]
    assert differs == [1] * 8, "a second edit of the best"


def test_who_comes_near_is_not_given_up(tmp_path: Path) -> None:
    plan = Plan(Goal(np.float32(-1.0), 1), (), (), (), engine_in(tmp_path), 1, 1, 1, 1, give_up=0.5)
    start = State(SEEDS[0], 3.0)
    assert not searches._hopeless(start, [State(SEEDS[1], 2.5), State(SEEDS[2], 1.0)], plan)
    assert searches._hopeless(start, [State(SEEDS[1], 2.5), State(SEEDS[2], 1.01)], plan)
    assert searches._hopeless(start, [], plan)
    assert not searches._hopeless(start, [], plan._replace(give_up=1.0))


def test_a_seed_keeps_the_policys_words(tmp_path: Path) -> None:
    policy = load_policy("injury")
    outcome = attack(tmp_path, "beam", policy=policy, config={"constraints": {"keeps_words": True}})
    assert any("stabbed" in one.snippet.completion for one in outcome.candidates if one.seed_index == 0)
    assert all("stabbed" in one.snippet.completion for one in outcome.candidates if one.seed_index == 0)


def test_edits_close_what_they_changed_and_move_what_comes_after() -> None:
    start = State(Snippet("", "The man took an old sword home."), 1.0, closed=(Slot(20, 25),))
    after = after_edit(start, "replace", "The man took a new sword home.", -0.5)
    assert after.edits == (("replace", 13, "an old", "a new"),)
    assert after.closed == (Slot(19, 24), Slot(13, 18))
    assert after.logit == 0.5
    longer = after_edit(after, "insert", "The old man took a new sword home.", 0.25)
    assert [longer.snippet.completion[slot.start : slot.end] for slot in longer.closed] == ["sword", "a new", "old "]


def test_every_constraint_may_be_set() -> None:
    assert set(Limits.model_fields) == {*CHECKS, *CONSTRAINTS}
    assert not {*CHECKS} & {*CONSTRAINTS}


def test_what_no_edit_can_move_is_searched_and_left(tmp_path: Path) -> None:
    seeds = [
        Snippet(PROMPT, "\U0001f600 \U0001f600 ..."),
        Snippet("", ""),
        Snippet(PROMPT, "Γεια \U0001f600 ..."),
        SEEDS[0],
    ]
    engine = engine_in(tmp_path)
    spans = [[], [], [], [Slot(0, len(SEEDS[0].completion))]]
    whole = target(engine, 0.0)
    for recipe in RECIPES:
        found = rewrite_search(
            seeds, engine, whole, make_recipe(recipe, {"moves": ["replace", "delete"]}), protected=spans
        )
        assert ([one.stop for one in found.seeds], found.candidates) == (["searched"] * 4, [])
        assert [one.queries for one in found.seeds[:2]] == [2, 2], "its margin and its gradient"
        assert found.seeds[3].queries == 2


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("beam", {"search": "genetic"}, "search: unknown search 'genetic'; known: beam, best_first, promising_first"),
        ("beam", {"moves": ["swap"]}, "moves: unknown move 'swap'; known: clause, delete, filler, insert, replace"),
        (
            "beam",
            {"constraints": {"pos": True}},
            "constraints.pos: there is no such field; known: edited_share, fluency, keeps_words, similarity",
        ),
        ("beam", {"constraints": {"similarity": 2}}, "constraints.similarity: must be at most 1"),
        ("beam", {"constraints": {"fluency": {"most_drop": 1}}}, "constraints.fluency.model: is required"),
        ("beam", {"width": 0}, "width: must be at least 1"),
    ],
)
def test_a_wrong_recipe_is_refused(name: str, config: dict, message: str) -> None:
    with pytest.raises(BadInput) as refused:
        make_recipe(name, config)
    assert message in str(refused.value)
    with pytest.raises(
        UnknownName, match="unknown recipe 'bert'; known: beam, best_first, filler, greedy, substitution"
    ):
        make_recipe("bert")


def test_a_word_twice_in_a_row_is_no_rewriting(tmp_path: Path) -> None:
    engine = engine_in(tmp_path)
    recipe = make_recipe("beam", {"moves": ["insert"], "wanted": 20, "max_edits": 3, "constraints": {}})
    outcome = rewrite_search(SEEDS, engine, target(engine, threshold_of(engine)), recipe)
    assert len(outcome.candidates) > 5
    twice = [one.snippet.completion for one in outcome.candidates if re.search(r"\b(\w+) \1\b", one.snippet.completion)]
    assert twice == []


def test_no_time_costs_no_query(tmp_path: Path) -> None:
    outcome = attack(tmp_path, "beam", budget=Budget(seconds=0))
    assert (outcome.queries, {one.stop for one in outcome.seeds}) == (0, {"time_budget"})
