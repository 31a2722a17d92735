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
    codes = RULES[name].many(table)
    order = rng.permutation(200)
    shuffled = VoteTable(*(column[order] for column in table[:4]), table.n_items, table.choices)
    assert codes.shape == (90,)
    assert (RULES[name].many(shuffled) == codes).all()
    assert all((now == then).all() for now, then in zip(table[:4], before, strict=True))
    silent = np.setdiff1d(np.arange(90), table.items)
    assert silent.size
    assert (codes[silent] == NO_ANSWER).all()


@pytest.mark.parametrize("name", RULES)
def test_every_rule_says_the_same_one_by_one_and_all_at_once(name):
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


def test_majority_does_not_know_staff():
    votes = [Vote("a", "Yes"), Vote("b", "Yes"), Vote("s", "No", staff=True)]
    assert RULES["majority"](votes, CHOICES) == "Yes"


def test_unknown_rule_lists_the_known_ones():
    with pytest.raises(UnknownName, match="unknown aggregation rule 'mace'; known: majority, policy_rule"):
        rule_named("mace")


def test_vote_table_codes_votes_in_order():
    table = vote_table(
        {"x": [Vote("bob", "No"), Vote("alice", "Yes", staff=True)], "y": [], "z": [Vote("bob", "No")]}, CHOICES
    )
    assert table.items.tolist() == [0, 0, 2]
    assert table.annotators.tolist() == [0, 1, 0]
    assert table.answers.tolist() == [2, 0, 2]
    assert table.staff.tolist() == [False, True, False]
    assert table.counts().tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("name", RULES)
def test_a_million_votes_take_seconds(name):
    table = random_table(np.random.default_rng(0), votes=1_000_000, items=300_000)
    RULES[name].many(random_table(np.random.default_rng(0), votes=10, items=5))
    start = time.process_time()
    codes = RULES[name].many(table)
    assert time.process_time() - start < 5
    assert codes.size == 300_000


def test_majority_of_nothing():
    assert RULES["majority"].many(random_table(np.random.default_rng(0), votes=0, items=3)).tolist() == [NO_ANSWER] * 3
    assert RULES["majority"].many(random_table(np.random.default_rng(0), votes=0, items=0)).size == 0


def random_table(rng, *, votes, items):
    return VoteTable(
        items=rng.integers(0, max(items, 1), votes),
        annotators=rng.integers(0, 30, votes),
        answers=rng.integers(0, 3, votes),
        staff=rng.random(votes) < 0.1,
        n_items=items,
        choices=CHOICES,
    )
