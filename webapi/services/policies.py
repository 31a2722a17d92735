"""Policies: checked, then kept as numbered versions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max

from engine.errors import UnknownName
from engine.policies import Policy as PolicySpec
from engine.policies import policy_from_dict
from engine.simulation import JUDGES
from webapi.models import Policy

ATTEMPTS = 5


def policy_create(*, spec: Mapping[str, Any] | PolicySpec) -> Policy:
    """The policy with this content: the row that is there, or a new one with the name's next version.

    Raises BadInput naming each wrong field, or UnknownName for that of the simulated judge. Of two who add versions at
    once, each gets their own number.
    """
    checked = spec if isinstance(spec, PolicySpec) else policy_from_dict(spec)
    if checked.simulation.judge not in JUDGES:
        raise UnknownName("judge", checked.simulation.judge, JUDGES)
    data = checked.model_dump(mode="json")
    digest = hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    for _ in range(ATTEMPTS):
        there = Policy.objects.filter(name=checked.name, digest=digest).first()
        if there:
            return there
        newest = Policy.objects.filter(name=checked.name).aggregate(newest=Max("version"))["newest"] or 0
        try:
            with transaction.atomic():
                return Policy.objects.create(name=checked.name, version=newest + 1, spec=data, digest=digest)
        except IntegrityError:
            continue
    raise IntegrityError(f"policy {checked.name}: too many versions are being added at once")
