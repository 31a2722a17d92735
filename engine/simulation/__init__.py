"""A simulated stand-in for people and for the world: stories with known truth, judges, annotators, attackers.

Nothing here is data about people. Whatever shows its output to a person shows `SIMULATED_NOTICE` too.
"""

from __future__ import annotations

from engine.simulation.annotators import SimulatedAnnotators, SimulatedAnswer, SimulatedComparison
from engine.simulation.attacker import AttackTrace, simulated_attacker
from engine.simulation.judges import JUDGES, Judge, judge_of
from engine.simulation.paraphraser import StoryWorldParaphraser
from engine.simulation.quality import liking
from engine.simulation.reading import hardness, truth
from engine.simulation.story_world import StoryWorld

SIMULATED_NOTICE = (
    "Simulated: the stories, labels and attacks marked so come from a program (engine.simulation), not from people; "
    "figures measured on them say how the method behaves in that simulation and nothing more."
)
"""A sentence for every page and report that shows simulated data."""

__all__ = [
    "JUDGES",
    "SIMULATED_NOTICE",
    "AttackTrace",
    "Judge",
    "SimulatedAnnotators",
    "SimulatedAnswer",
    "SimulatedComparison",
    "StoryWorld",
    "StoryWorldParaphraser",
    "hardness",
    "judge_of",
    "liking",
    "simulated_attacker",
    "truth",
]
