"""Around a query strategy: near-duplicates dropped before it, and what it did explained after it."""

from engine.selection.distinct import among, first_of_groups
from engine.selection.why import Reason, Why, explain

__all__ = ["Reason", "Why", "among", "explain", "first_of_groups"]
