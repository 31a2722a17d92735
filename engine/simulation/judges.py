"""Judges that stand in for people: each says which of a policy's choices is right for a snippet. All simulated."""

from __future__ import annotations

from collections.abc import Callable

from engine.errors import BadInput, UnknownName
from engine.policies import Policy
from engine.policies.word_rules import fits_any
from engine.simulation.reading import truth
from engine.snippets import Snippet

Judge = Callable[[Snippet], str]
"""Snippet -> one of the policy's choices."""


def lexicon_judge(policy: Policy) -> Judge:
    """The policy's first choice for a completion that fits any rule of `policy.simulation.lexicon`, else the last.

    For any English text; as good as its word lists. Raises BadInput when the policy has none.
    """
    rules = policy.simulation.lexicon
    if not rules:
        raise BadInput("the lexicon judge needs at least one rule", where=f"policy {policy.name}: simulation.lexicon")

    def judge(snippet: Snippet) -> str:
        return policy.failure if fits_any(rules, snippet) else policy.harmless

    return judge


def story_world_judge(policy: Policy) -> Judge:
    """The exact truth of the story world's text; for any other text what the lexicon judge says, or the last choice
    when the policy has no lexicon. A truth of Unsure is the policy's second choice.
    """
    unsure = policy.choices[1] if len(policy.choices) > 2 else policy.failure
    choices = {"Yes": policy.failure, "Unsure": unsure, "No": policy.harmless}
    rules = policy.simulation.lexicon

    def judge(snippet: Snippet) -> str:
        known = truth(snippet)
        if known is not None:
            return choices[known]
        return policy.failure if fits_any(rules, snippet) else policy.harmless

    return judge


JUDGES: dict[str, Callable[[Policy], Judge]] = {
    "lexicon": lexicon_judge,
    "story_world": story_world_judge,
}


def judge_of(policy: Policy) -> Judge:
    """The judge that `policy.simulation.judge` names. Raises UnknownName listing the known ones."""
    name = policy.simulation.judge
    if name not in JUDGES:
        raise UnknownName("judge", name, JUDGES)
    return JUDGES[name](policy)
