import itertools
import time
from collections import Counter

import numpy as np
import pytest

from engine.aggregation import NO_ANSWER, RULES, Vote, VoteTable, aggregate_many, rule_named, vote_table
from engine.errors import BadInput, UnknownName

CHOICES = ("Yes", "Unsure", "No")


def by_hand(votes):
    """The rule in words: staff first, then the most common, then the most severe."""
    staff = [vote for vote in votes if vote.staff]
    counted = Counter(vote.choice for vote in staff or votes)
    best = [choice for choice in CHOICES if counted[choice] == max(counted.values())]
    return best[0]


def votes_of(answers):
    return [Vote(f"annotator {i}", choice, staff) for i, (choice, staff) in enumerate(answers)]


def all_small_multisets():
    kinds = list(itertools.product(CHOICES, (False, True)))
    for size in range(1, 6):
        yield from itertools.combinations_with_replacement(kinds, size)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_keeps_the_contract(name):
    rule = RULES[name]
    assert rule([], CHOICES) is None
    for choice in CHOICES:
        assert rule([Vote("alice", choice)], CHOICES) == choice
        assert rule([Vote("alice", choice), Vote("bob", choice)], CHOICES) == choice
    assert rule([Vote("alice", "No"), Vote("bob", "Yes")], CHOICES) == "Yes", "a tie goes to the most severe"
    assert rule([Vote("alice", "No"), Vote("bob", "Unsure")], CHOICES) == "Unsure"
    assert rule([Vote("a", "No"), Vote("b", "No"), Vote("c", "Yes")], CHOICES) == "No"
    with pytest.raises(BadInput, match="'Maybe' is not one of Yes, Unsure, No"):
        rule([Vote("alice", "Maybe")], CHOICES)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_ignores_the_order_of_votes_and_leaves_the_table_alone(name):
    rng = np.random.default_rng(3)
    table = random_table(rng, votes=200, items=90)
    before = [column.copy() for column in table[:4]]
    found = RULES[name].many(table)
    order = rng.permutation(200)
    shuffled = RULES[name].many(VoteTable(*(column[order] for column in table[:4]), table.n_items, table.choices))
    assert found.codes.shape == (90,)
    assert (shuffled.codes == found.codes).all()
    assert np.abs(shuffled.posterior - found.posterior).max() < 1e-12
    assert all((now == then).all() for now, then in zip(table[:4], before, strict=True))


@pytest.mark.parametrize("name", RULES)
def test_every_rule_gives_a_posterior_where_there_are_votes_and_none_where_there_are_none(name):
    table = random_table(np.random.default_rng(3), votes=200, items=90)
    found = RULES[name].many(table)
    silent = np.setdiff1d(np.arange(90), table.items)
    voted = np.unique(table.items)
    assert silent.size
    assert voted.size
    assert found.posterior.shape == (90, 3)
    assert found.posterior[voted].sum(axis=1) == pytest.approx(1)
    assert (found.posterior >= 0).all()
    assert (found.posterior[silent] == 0).all()
    assert (found.codes[silent] == NO_ANSWER).all()
    assert (
        found.codes[voted] == (found.posterior[voted] > found.posterior[voted].max(axis=1)[:, None] - 1e-9).argmax(1)
    ).all()


@pytest.mark.parametrize("name", RULES)
def test_every_rule_knows_annotators_by_nothing_but_their_votes(name):
    table = random_table(np.random.default_rng(4), votes=400, items=90)
    other = np.random.default_rng(5).permutation(30) * 7 + 1000
    renamed = RULES[name].many(table._replace(annotators=other[table.annotators]))
    found = RULES[name].many(table)
    assert (renamed.codes == found.codes).all()
    assert np.abs(renamed.posterior - found.posterior).max() < 1e-9


@pytest.mark.parametrize("name", RULES)
def test_every_rule_believes_the_only_annotator(name):
    rng = np.random.default_rng(6)
    answers = rng.choice(3, 60, p=[0.1, 0.2, 0.7])
    zeros = np.zeros(60, dtype=np.int64)
    table = VoteTable(rng.permutation(60), zeros + 8, answers, zeros.astype(bool), 61, CHOICES)
    codes = RULES[name].many(table).codes
    assert (codes[table.items] == answers).all()
    assert codes[60] == NO_ANSWER


@pytest.mark.parametrize("name", RULES)
def test_every_rule_bears_a_single_choice(name):
    table = vote_table([[Vote("a", "Yes"), Vote("b", "Yes", staff=True)], [], [Vote("a", "Yes")]], ("Yes",))
    found = RULES[name].many(table)
    assert found.posterior.tolist() == [[1.0], [0.0], [1.0]]
    assert found.codes.tolist() == [0, NO_ANSWER, 0]


@pytest.mark.parametrize("name", RULES)
def test_every_rule_refuses_codes_that_mean_nothing(name):
    table = random_table(np.random.default_rng(0), votes=5, items=4)
    with pytest.raises(BadInput, match=r"answers: code 3 is outside of \[0, 3\)"):
        RULES[name].many(table._replace(answers=np.array([0, 1, 3, 2, 1])))
    with pytest.raises(BadInput, match="answers: code -1 "):
        RULES[name].many(table._replace(answers=np.array([0, 1, -1, 2, 1])))
    with pytest.raises(BadInput, match=r"items: code 4 is outside of \[0, 4\)"):
        RULES[name].many(table._replace(items=np.array([0, 1, 2, 3, 4])))


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if not rule.joint])
def test_rules_that_are_not_joint_say_the_same_one_by_one_and_all_at_once(name):
    items = {str(i): votes_of(answers) for i, answers in enumerate(itertools.islice(all_small_multisets(), 0, 400, 9))}
    items["nobody"] = []
    together = aggregate_many(name, items, CHOICES)
    assert list(together) == list(items)
    assert together == {item: RULES[name](votes, CHOICES) for item, votes in items.items()}


def test_policy_rule_is_the_rule_in_words_on_all_small_multisets():
    items = {str(i): votes_of(answers) for i, answers in enumerate(all_small_multisets())}
    assert len(items) == 461
    assert aggregate_many("policy_rule", items, CHOICES) == {item: by_hand(votes) for item, votes in items.items()}


def test_policy_rule_by_example():
    rule = RULES["policy_rule"]
    assert rule([Vote("a", "Yes"), Vote("b", "Yes"), Vote("s", "No", staff=True)], CHOICES) == "No"
    assert rule([Vote("s", "No", staff=True), Vote("t", "Yes", staff=True), Vote("a", "No")], CHOICES) == "Yes"
    assert rule([Vote("a", "Yes"), Vote("b", "Unsure"), Vote("c", "No")], CHOICES) == "Yes"


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.joint])
def test_joint_rules_learn_from_other_items_whom_to_believe(name):
    """Three who agree everywhere and two who answer at random: of one item the one is believed against the two."""
    rng = np.random.default_rng(8)
    items = {}
    for i in range(60):
        truth = CHOICES[i % 3]
        items[str(i)] = [Vote(who, truth) for who in "abc"] + [Vote(who, CHOICES[rng.integers(3)]) for who in "xy"]
    disputed = [Vote("a", "Unsure"), Vote("x", "Yes"), Vote("y", "Yes")]
    assert aggregate_many("majority", {**items, "disputed": disputed}, CHOICES)["disputed"] == "Yes"
    found = aggregate_many(name, {**items, "disputed": disputed}, CHOICES)
    assert found["disputed"] == "Unsure"
    assert [found[str(i)] for i in range(60)] == [CHOICES[i % 3] for i in range(60)]


def test_shares_of_votes_are_the_posterior_of_rules_that_count():
    votes = [[Vote("a", "Yes"), Vote("b", "Yes"), Vote("c", "Unsure"), Vote("s", "No", staff=True)]]
    assert RULES["policy_rule"].many(vote_table(votes, CHOICES)).posterior.tolist() == [[0, 0, 1]]
    assert RULES["majority"].many(vote_table(votes, CHOICES)).posterior.tolist() == [[0.5, 0.25, 0.25]]


def test_majority_does_not_know_staff():
    votes = [Vote("a", "Yes"), Vote("b", "Yes"), Vote("s", "No", staff=True)]
    assert RULES["majority"](votes, CHOICES) == "Yes"


def test_unknown_rule_lists_the_known_ones():
    known = "dawid_skene, glad, mace, majority, one_coin, policy_rule"
    with pytest.raises(UnknownName, match=f"unknown aggregation rule 'wawa'; known: {known}"):
        rule_named("wawa")


def test_vote_table_codes_votes_in_order():
    table = vote_table(
        {"x": [Vote("bob", "No"), Vote("alice", "Yes", staff=True)], "y": [], "z": [Vote("bob", "No")]}, CHOICES
    )
    assert table.items.tolist() == [0, 0, 2]
    assert table.annotators.tolist() == [0, 1, 0]
    assert table.answers.tolist() == [2, 0, 2]
    assert table.staff.tolist() == [False, True, False]
    assert table.counts().tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 1]]


def test_annotators_who_are_known_keep_their_codes():
    votes = [[Vote("dora", "No"), Vote("alice", "No"), Vote("erin", "No")]]
    table = vote_table(votes, CHOICES, annotators=["bob", "alice", "carol"])
    assert table.annotators.tolist() == [3, 1, 4]


@pytest.mark.parametrize("name", RULES)
def test_a_million_votes_take_seconds(name):
    table = random_table(np.random.default_rng(0), votes=1_000_000, items=300_000)
    RULES[name].many(random_table(np.random.default_rng(0), votes=10, items=5))
    start = time.process_time()
    found = RULES[name].many(table)
    # Noise is the worst case: the joint rules use up their steps.
    assert time.process_time() - start < (20 if RULES[name].joint else 5)
    assert found.codes.size == 300_000


@pytest.mark.parametrize("name", RULES)
def test_every_rule_bears_nothing(name):
    nothing = RULES[name].many(random_table(np.random.default_rng(0), votes=0, items=3))
    assert nothing.codes.tolist() == [NO_ANSWER] * 3
    assert nothing.posterior.tolist() == [[0.0] * 3] * 3
    none = RULES[name].many(random_table(np.random.default_rng(0), votes=0, items=0))
    assert none.codes.size == 0
    assert none.posterior.shape == (0, 3)


def random_table(rng, *, votes, items):
    return VoteTable(
        items=rng.integers(0, max(items, 1), votes),
        annotators=rng.integers(0, 30, votes),
        answers=rng.integers(0, 3, votes),
        staff=rng.random(votes) < 0.1,
        n_items=items,
        choices=CHOICES,
    )
