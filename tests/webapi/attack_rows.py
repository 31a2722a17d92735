"""Attacks with figures that are counted by hand."""

from __future__ import annotations

import itertools
from typing import Any

from engine.snippets import Snippet as SnippetText
from webapi.models import (
    Annotator,
    Attack,
    AttackCandidate,
    AttackSeed,
    Classifier,
    Consensus,
    Label,
    Policy,
    Snippet,
)

NUMBERS = itertools.count()


def classifier_of(policy: Policy, name: str = "baseline", **fields: Any) -> Classifier:
    """A calibrated one."""
    return Classifier.objects.create(
        **{
            "policy": policy,
            "name": name,
            "condition": "baseline",
            "encoder": "minilm",
            "threshold": 0.5,
            **fields,
        }
    )


def snippet_of(
    policy: Policy, completion: str, prompt: str = "It began.", *, parent: Snippet | None = None, **fields: Any
) -> Snippet:
    """A snippet with these words."""
    text = SnippetText(prompt, completion)
    texts = {"prompt": prompt, "completion": completion, "content_hash": text.content_hash}
    root = parent.root_hash if parent else text.content_hash
    kind = {"source": "rewrite", "split": parent.split if parent else "train", "root_hash": root, "parent": parent}
    return Snippet.objects.create(**{"policy": policy, **texts, **kind, **fields})


def label_of(snippet: Snippet, choice: str, seconds: float | None = 20.0, annotator: str = "ann") -> None:
    """One answer, which is the consensus."""
    who, _ = Annotator.objects.get_or_create(name=annotator)
    Label.objects.create(snippet=snippet, annotator=who, choice=choice, seconds=seconds)
    Consensus.objects.create(snippet=snippet, choice=choice, rule="policy_rule", labels=1)


def attack_of(classifier: Classifier, *answers: str, **fields: Any) -> Attack:
    """An attack that ended: a seed for each of `answers`, of 10 queries each, and a candidate for each letter of it:
    Y or N as it is labelled, `.` for one without a label, `A` alone for a seed accepted as it stands.

    The n-th candidate of all is n + 1 below the threshold, so that the last is the strongest.
    """
    state = {"state": "succeeded", "role": "alone", "name": "substitution", "title": "substitution"}
    row = Attack.objects.create(
        **{
            "policy": classifier.policy,
            "classifier": classifier,
            "threshold": 0.5,
            "seeds": len(answers),
            **state,
            **fields,
        }
    )
    strengths = itertools.count(1)
    for letters in answers:
        accepted = letters == "A"
        seed = seed_of(row, f"Seed {next(NUMBERS)} fell down the old stairs.", accepted=accepted)
        for letter in "" if accepted else letters:
            found = snippet_of(classifier.policy, f"Find {next(NUMBERS)} fell down the old ladder.", parent=seed)
            candidate(row, seed, found, strength=float(next(strengths)))
            if letter != ".":
                label_of(found, "Yes" if letter == "Y" else "No")
    return row


def seed_of(row: Attack, completion: str, *, accepted: bool = False, **fields: Any) -> Snippet:
    """A seed of the attack, which took 10 queries."""
    seed = snippet_of(row.policy, completion, **fields)
    stop = "accepted_already" if accepted else "searched"
    AttackSeed.objects.create(attack=row, snippet=seed, logit=-1.0 if accepted else 1.0, queries=10, stop=stop)
    return seed


def candidate(row: Attack, seed: Snippet, found: Snippet, *, strength: float = 1.0, **fields: Any) -> AttackCandidate:
    """A find of the attack, `strength` below the threshold of 0.5."""
    edits = [{"kind": "replace", "at": 0, "before": "stairs", "after": "ladder"}]
    given = {"logit": -strength, "strength": strength, "similarity": 0.875, "edits": edits, "queries": 7, **fields}
    return AttackCandidate.objects.create(attack=row, seed=seed, snippet=found, **given)
