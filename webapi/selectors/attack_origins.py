"""What of attacks is simulated: their stories, their labels, their paraphraser."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import NamedTuple

from django.db.models import Exists, OuterRef, Q

from webapi.models import Attack, AttackCandidate, AttackSeed, Label


class SimulatedParts(NamedTuple):
    """Keys of the attacks, by what of them a program made."""

    stories: frozenset[uuid.UUID] = frozenset()
    """Their seeds come from a simulated corpus."""
    labels: frozenset[uuid.UUID] = frozenset()
    """Simulated annotators labelled their finds."""
    paraphrases: frozenset[uuid.UUID] = frozenset()
    """Their paraphraser knows the simulated world's grammar."""

    def any(self) -> frozenset[uuid.UUID]:
        """Attacks of which something is simulated."""
        return self.stories | self.labels | self.paraphrases


def simulated_parts(attacks: Collection[Attack]) -> SimulatedParts:
    """What of these attacks is simulated. Two queries."""
    stories = Exists(AttackSeed.objects.filter(attack=OuterRef("pk"), snippet__story__corpus__simulated=True))
    by_program = Label.objects.filter(counted=True, annotator__simulated=True, snippet=OuterRef("snippet"))
    labels = Exists(AttackCandidate.objects.filter(Exists(by_program), attack=OuterRef("pk")))
    rows = Attack.objects.filter(pk__in=[row.pk for row in attacks])
    return SimulatedParts(
        stories=_keys(rows.filter(Q(stories))),
        labels=_keys(rows.filter(Q(labels))),
        paraphrases=frozenset(row.pk for row in attacks if _paraphraser(row) == "story_world"),
    )


def simulated_words(row: Attack, parts: SimulatedParts) -> str:
    """What of the attack is simulated, in a sentence; empty if nothing is."""
    made = {"stories": parts.stories, "labels": parts.labels, "paraphrases": parts.paraphrases}
    names = [name for name, keys in made.items() if row.pk in keys]
    if not names:
        return ""
    listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    return f"The {listed} of this attack are made by a program."


def _keys(rows: object) -> frozenset[uuid.UUID]:
    return frozenset(rows.values_list("pk", flat=True))  # type: ignore[attr-defined]


def _paraphraser(row: Attack) -> str:
    told = row.config.get("paraphraser") if row.name == "paraphrase" else None
    return str(told.get("name", "")) if isinstance(told, dict) else ""
