"""Policies: checked, then kept as numbered versions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max

from engine.errors import BadInput, UnknownName
from engine.policies import Policy as PolicySpec
from engine.policies import policy_from_dict
from engine.simulation import JUDGES
from webapi.models import Gold, Policy, Source
from workers.snippet_rows import SnippetInput, prepare, write

ATTEMPTS = 5


def policy_create(*, spec: Mapping[str, Any] | PolicySpec) -> Policy:
    """The policy with this content: the row that is there, or a new one with the name's next version.

    Its gold examples become snippets and gold. Raises BadInput naming each wrong field (and gold that breaks the
    policy's own snippet rules), or UnknownName for that of the simulated judge. Of two who add versions at
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
                row = Policy.objects.create(name=checked.name, version=newest + 1, spec=data, digest=digest)
                _write_gold(row, checked)
                return row
        except IntegrityError:
            continue
    raise IntegrityError(f"policy {checked.name}: too many versions are being added at once")


def _write_gold(row: Policy, spec: PolicySpec) -> None:
    inputs = [SnippetInput(prompt=one.prompt, completion=one.completion) for one in spec.gold]
    found = prepare(row, inputs, source=Source.MANUAL)
    for number, one in enumerate(found, 1):
        if one.reasons:
            raise BadInput("; ".join(reason.detail for reason in one.reasons), where=f"gold {number}")
    written = write(row, [one.row for one in found if one.row]) if found else []
    Gold.objects.bulk_create(
        [
            Gold(policy=row, snippet=one.row, choice=example.choice, explanation=example.explanation)
            for one, example in zip(written, spec.gold, strict=True)
        ],
        ignore_conflicts=True,  # the same text twice is one piece of gold
    )
