"""Fitting a network to examples: the loop and its parts."""

from __future__ import annotations

from engine.classifiers.fitting.chance import reproducible
from engine.classifiers.fitting.loop import Data, Fitted, Surroundings, fit

__all__ = ["Data", "Fitted", "Surroundings", "fit", "reproducible"]
