"""A Surge project's report: the way to its answers where the list of its tasks cannot be had."""

from __future__ import annotations

import gzip
import io
import json
import zlib

from labeling_adapters import surge_shapes as shapes
from labeling_adapters.base import AdapterError
from labeling_adapters.http import HttpRefusal, JsonClient

WAIT = 10.0
"""Seconds until a report that is being made is asked for again."""
MAX_BYTES = 512 * 1024 * 1024
_MAKING = frozenset({"CREATING", "IN_PROGRESS", "RETRYING"})


def reported_tasks(http: JsonClient, project_id: str, why: AdapterError) -> list[shapes.Json]:
    """The project's tasks with their responses. Nothing is waited for: the next call finds the report further on.

    Raises `why`, for which the report is asked, where there is no report either; AdapterError with `retry_after` while
    it is being made.
    """
    try:
        address = _address(http, project_id)
        data = http.download(address, max_bytes=MAX_BYTES) if address else b""
    except AdapterError:
        raise why from None
    if address is None:
        raise AdapterError("surge: the report is being made", permanent=False, retry_after=WAIT)
    return shapes.tasks_of_report(_unzipped(data)) if address else []


def _address(http: JsonClient, project_id: str) -> str | None:
    """Where the report lies: empty for a project without responses, None while it is being made."""
    path = f"/projects/{project_id}/report"
    try:
        said = http.ask("POST", path, body={"report_type": "export_json"}) or {}
        if said.get("status") == "CREATING":
            said = http.ask("GET", f"{path}_status", params={"job_id": said.get("job_id", "")}) or {}
    except HttpRefusal as error:
        if error.status == 200 and "no responses" in str(error):
            return ""
        raise
    if said.get("status") in _MAKING:
        return None
    if said.get("status") not in {"READY", "COMPLETED"} or not said.get("url"):
        raise AdapterError(f"surge: a report that is {said.get('status')}", permanent=True)
    return str(said["url"])


def _unzipped(data: bytes) -> object:
    try:
        text = gzip.GzipFile(fileobj=io.BytesIO(data)).read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise AdapterError(f"surge: the report has more than {MAX_BYTES} bytes", permanent=True)
        return json.loads(text)
    except (OSError, EOFError, ValueError, RecursionError, zlib.error):
        raise AdapterError("surge: the report is no zipped JSON", permanent=True) from None
