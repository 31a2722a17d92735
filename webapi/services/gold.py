"""Gold by hand: snippets with their right answers, written once, and retired (for a while or for good), not deleted."""

from __future__ import annotations

from typing import Literal, NamedTuple
from uuid import UUID

from django.db import transaction

from engine.snippets import Refusal
from webapi.errors import FieldError
from webapi.models import Annotator, Gold, Policy, Snippet
from webapi.services.snippets import snippets_create
from workers.snippet_rows import SnippetInput


class GoldInput(NamedTuple):
    """A snippet that is there, or the text of one, and its right answer."""

    choice: str
    explanation: str = ""
    snippet: UUID | None = None
    prompt: str = ""
    completion: str = ""


class GoldOutcome(NamedTuple):
    """What became of one input: a row, new or there before, or the reasons why it was refused."""

    outcome: Literal["created", "duplicate", "refused"]
    row: Gold | None = None
    reasons: tuple[Refusal, ...] = ()
    error: FieldError | None = None


@transaction.atomic
def gold_create(*, policy: Policy, item: GoldInput, author: Annotator) -> GoldOutcome:
    """Makes a snippet gold. Gold that is there stays as it is: another answer for it is refused.

    A new snippet is split by the hash of its text, as all are: gold gets no split of its own, for it is in no round
    unless a round takes it as it would any other. `author` wrote the new snippets.
    """
    if item.choice not in policy.rules.choices:
        known = ", ".join(policy.rules.choices)
        return _refused("choice", "invalid_choice", f"{item.choice!r} is not one of {known}.")
    if item.snippet:
        snippet = Snippet.objects.filter(pk=item.snippet, policy=policy).first()
        if snippet is None:
            return _refused("snippet", "does_not_exist", f"The policy has no snippet {item.snippet}.")
    else:
        text = SnippetInput(prompt=item.prompt, completion=item.completion)
        (written,) = snippets_create(policy=policy, inputs=[text], author=author)
        if written.snippet is None:
            return GoldOutcome("refused", reasons=written.reasons)
        snippet = written.snippet
    row, created = Gold.objects.get_or_create(
        policy=policy, snippet=snippet, defaults={"choice": item.choice, "explanation": item.explanation}
    )
    if row.choice != item.choice:
        return _refused("choice", "invalid", f"The snippet is gold with the answer {row.choice!r} already.")
    return GoldOutcome("created" if created else "duplicate", row)


def gold_retire(*, row: Gold) -> Gold:
    """Given to nobody any more; what was answered to it still counts. Retired twice is retired."""
    return _switched(row, active=False)


def gold_restore(*, row: Gold) -> Gold:
    """Given out again, to those who have not answered it. Restored twice is restored."""
    return _switched(row, active=True)


def _switched(row: Gold, *, active: bool) -> Gold:
    Gold.objects.filter(pk=row.pk).update(active=active)
    row.refresh_from_db()
    return row


def _refused(field: str, code: str, message: str) -> GoldOutcome:
    return GoldOutcome("refused", error=FieldError((field,), code, message))
