"""The files of a round's report, fetched from the store where another machine wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from webapi.errors import DomainError
from webapi.models import Artifact, Round
from workers.artifacts import at_hand

REPORT_JSON, REPORT_HTML = "report_json", "report_html"
"""Kinds of artifact."""
REPORT_FILES = {REPORT_JSON: "report.json", REPORT_HTML: "report.html"}


def report_file(round_: Round, kind: str) -> Path:
    """The report of that kind. Raises DomainError `report_not_ready`."""
    path = f"rounds/{round_.pk}/{REPORT_FILES[kind]}"
    artifact = Artifact.objects.filter(kind=kind, path=path).first()
    if artifact is None or not (file := at_hand(artifact.file)).is_file():
        raise DomainError("report_not_ready", f"{round_.name} has no report yet.")
    return file


def report_data(round_: Round) -> dict[str, Any]:
    """The report's figures. Raises DomainError `report_not_ready`."""
    data: dict[str, Any] = json.loads(report_file(round_, REPORT_JSON).read_text(encoding="utf-8"))
    return data
