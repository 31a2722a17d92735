"""What new snippets are kept apart from: what is labelled already, and what is in flight."""

from __future__ import annotations

import uuid

from django.db.models import Exists, OuterRef

from webapi.models import Consensus, Pool, Round, Snippet, SplitName, Task, TaskState

MOST = 50_000
"""Snippets kept apart from: the nearest of them are found for 50,000 candidates in under a minute."""


def kept_apart(round_: Round) -> list[uuid.UUID]:
    """Keys of the policy's training snippets that people judge or have judged, but for what the round may choose from.

    First those in flight, then the labelled; of each the newest first; at most `MOST`. Held-out snippets are left out:
    that a text is like one of the test set is no reason not to ask about it, and to look would let the test set choose
    what is trained on.
    """
    own = round_.members.filter(snippet=OuterRef("pk"), pool__in=[Pool.CANDIDATE, Pool.ATTACK])
    rows = Snippet.objects.filter(policy=round_.policy_id, split=SplitName.TRAIN).exclude(Exists(own))
    waiting = Task.objects.filter(snippet=OuterRef("pk"), state=TaskState.OPEN)
    judged = Consensus.objects.filter(snippet=OuterRef("pk"))
    newest_first = rows.order_by("-pk").values_list("pk", flat=True)
    in_flight = list(newest_first.filter(Exists(waiting))[:MOST])
    known = set(in_flight)
    labelled = newest_first.filter(Exists(judged))[: MOST + len(in_flight)]
    return [*in_flight, *(key for key in labelled if key not in known)][:MOST]
