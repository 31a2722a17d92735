"""Designs of buying labels for the failure rate of a filter. One a file; a new one is one line in DESIGNS."""

from __future__ import annotations

from engine.errors import UnknownName
from engine.evaluation.designs import simple_random, stratified, until_failures
from engine.evaluation.designs.base import Answers, Design, LabelPlan, OutputPool, Stratum, Tiers, Wanted

__all__ = ["DESIGNS", "Answers", "Design", "LabelPlan", "OutputPool", "Stratum", "Tiers", "Wanted", "design"]

DESIGNS: dict[str, Design] = {
    "simple_random": simple_random.DESIGN,
    "stratified": stratified.DESIGN,
    "until_failures": until_failures.DESIGN,
}


def design(name: str) -> Design:
    """The design of that name. Raises UnknownName listing those there are."""
    if name not in DESIGNS:
        raise UnknownName("label design", name, DESIGNS)
    return DESIGNS[name]
