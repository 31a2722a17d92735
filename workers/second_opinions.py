"""The other classifiers whose opinions selection asks: by key, or the one before this round's."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from engine.errors import BadInput
from webapi.models import Classifier, Policy, Round
from workers.round_settings import PREVIOUS, round_settings

WHERE = "settings.selection.second_opinions"


def check_second_opinions(policy: Policy, wanted: Sequence[str]) -> None:
    """Raises BadInput where one of the classifiers asked for cannot give an opinion under this policy now."""
    for name in wanted:
        _found(policy, name, before=None)


def second_opinions(round_: Round) -> list[Classifier]:
    """The round's, in the order asked for: the same each time. Raises BadInput for one that is not to be had."""
    wanted = round_settings(round_.config).selection.second_opinions
    return [_found(round_.policy, name, before=round_) for name in wanted]


def _found(policy: Policy, name: str, *, before: Round | None) -> Classifier:
    rows = Classifier.objects.select_related("artifact", "policy").filter(policy=policy)
    rows = rows.exclude(threshold=None).exclude(artifact=None)
    if name != PREVIOUS:
        row = rows.filter(pk=uuid.UUID(name)).first()
        if row is None:
            raise BadInput(f"the policy has no calibrated classifier {name}", where=WHERE)
        return row
    # By key, which tells the time: what another round trains meanwhile changes nothing.
    earlier = rows if before is None else rows.filter(pk__lt=before.pk).exclude(round=before)
    row = earlier.order_by("-pk").first()
    if row is None:
        raise BadInput("the policy has no earlier classifier that is calibrated", where=WHERE)
    return row
