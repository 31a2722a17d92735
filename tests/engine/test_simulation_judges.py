"""Judges and simulated annotators."""

from __future__ import annotations

import random

import pytest

from engine.errors import BadInput, UnknownName
from engine.policies import Policy, Simulation, WordRule, load_policy
from engine.simulation import (
    JUDGES,
    SIMULATED_NOTICE,
    SimulatedAnnotators,
    StoryWorld,
    StoryWorldParaphraser,
    judge_of,
    truth,
)
from engine.snippets import Snippet

INJURY = load_policy("injury")
BOOK = Snippet("He drew near. The night was dark. Nobody spoke.", "The captain stabbed the guard with his sword.")
CALM = Snippet("He drew near. The night was dark. Nobody spoke.", "The captain sat down and asked for his supper.")
WINDOWS = [window for index in range(150) for window in StoryWorld(21).story(index).windows()]


@pytest.mark.parametrize("name", JUDGES)
def test_every_judge_answers_with_a_choice_and_knows_a_stabbing(name: str) -> None:
    judge = JUDGES[name](INJURY)
    assert judge(BOOK) == "Yes"
    assert judge(CALM) == "No"
    assert {judge(snippet) for snippet, _ in WINDOWS} <= set(INJURY.choices)


def test_the_story_worlds_judge_is_exact_in_any_policys_words() -> None:
    judge = JUDGES["story_world"](INJURY)
    assert all(judge(snippet) == recorded for snippet, recorded in WINDOWS)
    two = Policy(name="two", question="Is anyone hurt?", choices=("hurt", "fine"))
    judge = JUDGES["story_world"](two)
    assert all(judge(snippet) == ("fine" if recorded == "No" else "hurt") for snippet, recorded in WINDOWS)
    assert judge(BOOK) == "fine"


def test_unknown_and_missing() -> None:
    with pytest.raises(UnknownName, match="known: lexicon, story_world"):
        judge_of(INJURY.model_copy(update={"simulation": Simulation(judge="oracle")}))
    with pytest.raises(BadInput, match=r"policy injury: simulation.lexicon: .*at least one rule"):
        judge_of(INJURY.model_copy(update={"simulation": Simulation(judge="lexicon")}))
    assert judge_of(INJURY)(BOOK) == "Yes"
    rules = (WordRule(any_of=("supper",)),)
    assert judge_of(INJURY.model_copy(update={"simulation": Simulation(lexicon=rules)}))(CALM) == "Yes"


def people(n: int = 12, seed: int = 0) -> SimulatedAnnotators:
    return SimulatedAnnotators(judge_of(INJURY), INJURY, n=n, seed=seed)


def test_answers_do_not_hang_on_the_order_of_asking() -> None:
    tasks = [(snippet, number) for snippet, _ in WINDOWS[:60] for number in range(4)]
    first = {task: people().answer(*task) for task in tasks}
    random.Random(0).shuffle(tasks)
    assert {task: people().answer(*task) for task in tasks} == first
    other = [people(seed=1).answer(*task) for task in tasks]
    assert [answer.seconds for answer in other] != [first[task].seconds for task in tasks]


def disagreement(snippets: list[Snippet]) -> float:
    crowd = people()
    pairs = [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11)]
    differ = [crowd.answer(s, a).choice != crowd.answer(s, b).choice for s in snippets for a, b in pairs]
    return sum(differ) / len(differ)


def test_they_agree_on_the_plain_and_less_on_the_adversarial() -> None:
    plain = [snippet for snippet, _ in WINDOWS][:700]
    seeds = [snippet for snippet, recorded in WINDOWS if recorded == "Yes"]
    hard = [one for seed in seeds for one in StoryWorldParaphraser().paraphrase(seed, 4, seed=0)]
    assert len(hard) > 200
    assert 0.005 <= disagreement(plain) <= 0.03
    assert 0.06 <= disagreement(hard) <= 0.15


def test_wrong_answers_and_seconds_are_plausible() -> None:
    crowd = people(n=3)
    assert len(crowd) == 3
    assert [profile.name for profile in crowd.profiles] == ["simulated-01", "simulated-02", "simulated-03"]
    snippets = [snippet for snippet, _ in WINDOWS]
    answers = [crowd.answer(snippet, 0) for snippet in snippets]
    seconds = sorted(answer.seconds for answer in answers)
    assert 4 < seconds[len(seconds) // 2] < 20
    assert seconds[0] > 1
    wrong = [a.choice for a, s in zip(answers, snippets, strict=True) if a.choice != truth(s)]
    assert {"Unsure"} <= set(wrong)
    with pytest.raises(IndexError):
        crowd.answer(snippets[0], 3)
    with pytest.raises(ValueError, match="at least one annotator"):
        people(n=0)


def test_annotators_of_a_policy_without_a_middle_choice() -> None:
    two = Policy(name="two", question="Is anyone hurt?", choices=("hurt", "fine"))
    crowd = SimulatedAnnotators(JUDGES["story_world"](two), two, n=2, hardness=lambda _: 1.0)
    choices = {crowd.answer(snippet, 0).choice for snippet, _ in WINDOWS}
    assert choices == {"hurt", "fine"}


def test_the_notice_says_simulated() -> None:
    assert SIMULATED_NOTICE.startswith("Simulated:")
