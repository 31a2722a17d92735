"""What an evaluation's labels are assumed to err: as its settings say, or as confirmations showed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from engine.errors import BadInput
from engine.evaluation.confirming import Standing
from engine.evaluation.label_error import Labeler, effect_on_difference, label_effect
from engine.evaluation.purchase_data import LabelError
from engine.evaluation.rates import Rate, clopper_pearson
from workers.evaluation_settings import EvaluationSettings


def label_error_found(
    each: Sequence[Standing], estimate: Rate, wanted: EvaluationSettings, *, difference: bool
) -> LabelError | None:
    """The label error assumed, and its effect on the estimate; None where labels that err so say nothing."""
    sound = [one for one in each if not one.failure]
    shown = clopper_pearson(sum(one.suspected for one in sound), len(sound), level=wanted.level)
    asked = wanted.label_error
    false_yes = (shown.estimate or 0.0) if asked.false_yes is None else asked.false_yes
    find = effect_on_difference if difference else label_effect
    by: Literal["all", "most"] = "all" if wanted.confirmed_by == "all" else "most"
    try:
        effect = find(estimate, Labeler(1 - asked.missed, 1 - false_yes), confirmations=wanted.confirmations, by=by)
    except BadInput:
        return None
    assumed_by: Literal["settings", "confirmations"] = "confirmations" if asked.false_yes is None else "settings"
    return LabelError(assumed_by=assumed_by, shown=shown.as_dict(), effect=effect.as_dict())
