"""What keeps a rewriting of a failure a failure. One factory a constraint; the registries are at the end.

None of them is proof (Morris et al., 2004.14174): whatever passes goes to people, and the yield is what they say.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from engine.attacks.rewrite.base import Ask, Check, Constraint, State
from engine.attacks.rewrite.fluency import FluencySettings, drop
from engine.attacks.substitution.words import words
from engine.policies import Policy
from engine.policies.word_rules import fits_any
from engine.snippets import Snippet


def edited_share(policy: Policy, value: float) -> Check:
    """At most this share of the seed's words is edited; one word always may be. Clauses and fillers count none."""

    def allows(seed: Snippet, state: State) -> bool:
        edited = sum(max(1, len(words(edit.after))) for edit in state.edits if edit.kind not in ("clause", "filler"))
        return edited <= max(1, int(value * len(words(seed.completion))))

    return allows


def keeps_words(policy: Policy, value: bool) -> Check:
    """A seed that has the words by which the policy looks for failures still has some of them."""

    def allows(seed: Snippet, state: State) -> bool:
        return not value or not fits_any(policy.enrichment, seed) or fits_any(policy.enrichment, state.snippet)

    return allows


def similarity(policy: Policy, value: float) -> Constraint:
    """Cosine of the completions' sentence embeddings, rewriting and seed, at least `value`."""

    def room(seed: Snippet, states: Sequence[State]) -> Generator[Ask, Any, list[float]]:
        vectors = yield Ask("vectors", [seed, *(state.snippet for state in states)])
        return [float(cosine) - value for cosine in vectors[1:] @ vectors[0]]

    return room


def fluency(policy: Policy, value: FluencySettings) -> Constraint:
    """To a language model that reads the prompt too, at most `most_drop` nats an edited token below the seed (`drop`).

    Loads the model before anything is asked; raises MissingModel or BadInput.
    """
    from engine.attacks.language_models import language_model  # torch loads with it

    language_model(value.model)

    def room(seed: Snippet, states: Sequence[State]) -> Generator[Ask, Any, list[float]]:
        first, *others = yield Ask("likelihoods", [seed, *(state.snippet for state in states)], value.model)
        return [value.most_drop - drop(first, other) for other in others]

    return room


CHECKS: dict[str, Callable[[Policy, Any], Check]] = {
    "edited_share": edited_share,
    "keeps_words": keeps_words,
}
"""Name -> factory of policy and value. They cost nothing, so every proposal is checked before it is scored. That it is
valid by the policy is no choice: the search sees to it.
"""
CONSTRAINTS: dict[str, Callable[[Policy, Any], Constraint]] = {"fluency": fluency, "similarity": similarity}
"""Name -> factory of policy and value. They ask a model of the completion, before the classifier is asked.

A new constraint is a field of `recipes.Limits` as well.
"""
