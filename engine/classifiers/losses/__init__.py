"""What training makes small. A new loss is one file and one line here; a contract test runs over all."""

from __future__ import annotations

from collections.abc import Mapping

from engine.classifiers.losses.base import Loss
from engine.classifiers.losses.cross_entropy import CrossEntropy
from engine.classifiers.losses.focal import Focal
from engine.classifiers.losses.mse import MeanSquaredError
from engine.classifiers.losses.threshold_centred import ThresholdCentred
from engine.config import checked
from engine.errors import UnknownName

LOSSES: dict[str, type[Loss]] = {
    "cross_entropy": CrossEntropy,
    "focal": Focal,
    "mse": MeanSquaredError,
    "threshold_centred": ThresholdCentred,
}

__all__ = ["LOSSES", "Loss", "loss"]


def loss(name: str, parameters: Mapping[str, float]) -> Loss:
    """The loss of that name. Raises UnknownName, or BadInput that names each wrong parameter."""
    if name not in LOSSES:
        raise UnknownName("loss", name, LOSSES)
    return checked(LOSSES[name], parameters, where=f"loss {name}")
