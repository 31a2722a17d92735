"""Votes to consensus: one rule a file, listed in RULES; agreement statistics beside them.

A new rule is one new file with a function from a `VoteTable` to `Aggregated`, and one line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from engine.aggregation.aggregated import Aggregated, ConfusionModel
from engine.aggregation.dawid_skene import dawid_skene
from engine.aggregation.glad import glad
from engine.aggregation.mace import mace
from engine.aggregation.one_coin import one_coin
from engine.aggregation.policy_rule import policy_rule
from engine.aggregation.update import update_items
from engine.aggregation.votes import NO_ANSWER, Vote, VoteTable, codes_of, vote_table
from engine.errors import UnknownName

__all__ = [
    "NO_ANSWER",
    "RULES",
    "Aggregated",
    "ConfusionModel",
    "Rule",
    "Vote",
    "VoteTable",
    "aggregate_many",
    "codes_of",
    "rule_named",
    "update_items",
    "vote_table",
]


@dataclass(frozen=True)
class Rule:
    """An aggregation rule: call it with one item's votes, or give `many` a table of them."""

    fit: Callable[[VoteTable], Aggregated]
    joint: bool = False
    """Whether an item's consensus depends on the votes of others: then give it all that there are, not part by part."""

    def many(self, table: VoteTable) -> Aggregated:
        """The consensus and posterior of each item. Raises BadInput for codes that are no choice or no item."""
        table.check()
        return self.fit(table)

    def __call__(self, votes: Sequence[Vote], choices: Sequence[str]) -> str | None:
        """The consensus of one item, None without votes. `choices` as in the policy, the most severe first.

        Raises BadInput for a vote that is none of `choices`.
        """
        if not votes:
            return None
        return choices[int(self.many(vote_table([votes], choices)).codes[0])]


def _majority(table: VoteTable) -> Aggregated:
    # Crowd-Kit takes three seconds to import; who does not use it should not wait.
    from engine.aggregation.majority import majority

    return majority(table)


RULES: dict[str, Rule] = {
    "policy_rule": Rule(policy_rule),
    "majority": Rule(_majority),
    "dawid_skene": Rule(dawid_skene, joint=True),
    "one_coin": Rule(one_coin, joint=True),
    "glad": Rule(glad, joint=True),
    "mace": Rule(mace, joint=True),
}


def rule_named(name: str) -> Rule:
    """The rule of that name; raises UnknownName listing those there are."""
    if name not in RULES:
        raise UnknownName("aggregation rule", name, RULES)
    return RULES[name]


def aggregate_many(
    rule: str, votes_by_item: Mapping[str, Sequence[Vote]], choices: Sequence[str]
) -> dict[str, str | None]:
    """The consensus of every item by the rule of that name, None for an item without votes. O(votes).

    Raises UnknownName for the rule and BadInput for a vote that is none of `choices`. Callers who hold arrays already
    give a `VoteTable` to `RULES[rule].many`.
    """
    codes = rule_named(rule).many(vote_table(votes_by_item, choices)).codes
    answers = [*choices, None]
    return {item: answers[code] for item, code in zip(votes_by_item, codes, strict=True)}
