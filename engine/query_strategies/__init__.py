"""Query strategies: which snippets make the batch. One a file; a new one is one line in QUERY_STRATEGIES."""

from __future__ import annotations

from engine.errors import UnknownName
from engine.query_strategies.base import QueryStrategy
from engine.query_strategies.choosing import Choice, choose
from engine.query_strategies.k_center_greedy import k_center_greedy
from engine.query_strategies.random_choice import random_choice
from engine.query_strategies.top import top

__all__ = ["QUERY_STRATEGIES", "Choice", "QueryStrategy", "choose", "query_strategy"]

QUERY_STRATEGIES: dict[str, QueryStrategy] = {
    "k_center_greedy": k_center_greedy,
    "random": random_choice,
    "top": top,
}


def query_strategy(name: str) -> QueryStrategy:
    """The query strategy of that name. Raises UnknownName listing those there are."""
    if name not in QUERY_STRATEGIES:
        raise UnknownName("query strategy", name, QUERY_STRATEGIES)
    return QUERY_STRATEGIES[name]
