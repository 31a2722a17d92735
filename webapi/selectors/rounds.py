"""Reads of rounds: lists, and the files of the report."""

from __future__ import annotations

import json
import uuid
from functools import reduce
from pathlib import Path
from typing import Any

from django.db.models import QuerySet

from engine.endpoints.ledger import Spending
from webapi.errors import DomainError
from webapi.models import Artifact, Pool, Round

REPORT_JSON, REPORT_HTML = "report_json", "report_html"
"""Kinds of artifact."""
REPORT_FILES = {REPORT_JSON: "report.json", REPORT_HTML: "report.html"}


def rounds_listed() -> QuerySet[Round]:
    """Rounds with what a list shows of them."""
    return Round.objects.select_related("policy", "corpus")


def known_failures(round_: Round, *pools: Pool) -> list[uuid.UUID]:
    """Ids of the snippets in these pools whose consensus is the failure, in the order of their hashes: at random."""
    members = round_.members.filter(pool__in=pools, snippet__consensus__choice=round_.policy.rules.failure)
    return list(members.order_by("snippet__content_hash").values_list("snippet_id", flat=True))


def round_spending(round_: Round) -> dict[str, dict[str, Any]] | None:
    """What the round's finished stages paid to endpoints, by model, as `engine.endpoints.ledger` counts it; None where
    none was asked. One query.
    """
    paid = round_.stages.filter(result__has_key="spending").values_list("result", flat=True)
    found = [Spending.from_dict(result["spending"]) for result in paid]
    return reduce(Spending.plus, found).as_dict() if found else None


def report_file(round_: Round, kind: str) -> Path:
    """The report of that kind. Raises DomainError `report_not_ready`."""
    path = f"rounds/{round_.pk}/{REPORT_FILES[kind]}"
    artifact = Artifact.objects.filter(kind=kind, path=path).first()
    if artifact is None or not artifact.file.is_file():
        raise DomainError("report_not_ready", f"{round_.name} has no report yet.")
    return artifact.file


def report_data(round_: Round) -> dict[str, Any]:
    """The report's figures. Raises DomainError `report_not_ready`."""
    data: dict[str, Any] = json.loads(report_file(round_, REPORT_JSON).read_text(encoding="utf-8"))
    return data
