"""Query strategies: which snippets make the batch. One a file; a new one is one line in QUERY_STRATEGIES."""

from __future__ import annotations

from engine.errors import UnknownName
from engine.query_strategies.badge import badge
from engine.query_strategies.base import QueryStrategy
from engine.query_strategies.choosing import Choice, choose
from engine.query_strategies.covering import Covering, covering
from engine.query_strategies.facility_location import facility_location
from engine.query_strategies.hybrid import hybrid
from engine.query_strategies.k_center_batched import k_center_batched
from engine.query_strategies.k_center_greedy import k_center_greedy
from engine.query_strategies.k_means_pp import k_means_pp
from engine.query_strategies.random_choice import random_choice
from engine.query_strategies.top import top

__all__ = ["QUERY_STRATEGIES", "Choice", "Covering", "QueryStrategy", "choose", "covering", "query_strategy"]

QUERY_STRATEGIES: dict[str, QueryStrategy] = {
    "badge": badge,
    "facility_location": facility_location,
    "hybrid": hybrid,
    "k_center_batched": k_center_batched,
    "k_center_greedy": k_center_greedy,
    "k_means_pp": k_means_pp,
    "random": random_choice,
    "top": top,
}


def query_strategy(name: str) -> QueryStrategy:
    """The query strategy of that name. Raises UnknownName listing those there are."""
    if name not in QUERY_STRATEGIES:
        raise UnknownName("query strategy", name, QUERY_STRATEGIES)
    return QUERY_STRATEGIES[name]
