"""Bulk imports and exports: asked for here, done by jobs."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.signing import BadSignature, SignatureExpired, TimestampSigner
from django.db import transaction
from django.db.models import Model
from django.http import Http404
from django.shortcuts import get_object_or_404

from engine.errors import BadInput
from webapi.errors import DomainError
from webapi.models import Classifier, Job, JobState, Policy, User
from webapi.services.corpora import server_path
from workers.artifacts import at_hand, shared, writing
from workers.export_tables import export_of
from workers.jobs import enqueue

IMPORT, EXPORT, EXPORT_CLASSIFIER = "import_snippets", "export_rows", "export_classifier"
"""Kinds of job."""
EXPORTED = (EXPORT, EXPORT_CLASSIFIER)
"""Those that leave a file to be fetched."""
_SIGNER = TimestampSigner(salt="export")


def import_create(
    *,
    policy: Policy,
    file_format: str,
    on_error: str,
    source: str,
    created_by: User,
    upload: IO[bytes] | None = None,
    name: str = "",
    path: str = "",
) -> Job:
    """A job that reads snippets from an uploaded file, which is kept in the store, or from a file on the server."""
    if (upload is None) == (not path):
        raise BadInput("give either a file or the path of one on the server", where="file")
    stored = _store(upload, file_format) if upload is not None else str(server_path(path, folder=False))
    args = {
        "path": stored,
        "name": name or Path(stored).name,
        "format": file_format,
        "on_error": on_error,
        "policy": str(policy.pk),
        "source": source,
    }
    return _enqueue(IMPORT, args, created_by)


def export_create(
    *, what: str, filters: Mapping[str, Any], file_format: str, created_by: User, spreadsheet_safe: bool = False
) -> Job:
    """A job that writes rows to a file. Raises UnknownName or BadInput for what cannot be exported so."""
    if spreadsheet_safe and file_format != "csv":
        raise BadInput("only CSV is opened by spreadsheets as text", where="spreadsheet_safe")
    plain = {name: _plain(value) for name, value in filters.items()}
    export_of(what, plain)
    args = {"what": what, "filters": plain, "format": file_format, "spreadsheet_safe": spreadsheet_safe}
    return _enqueue(EXPORT, args, created_by)


def classifier_export(*, classifier: Classifier, least_equal: float, created_by: User) -> Job:
    """A job that writes a classifier's int8 graph and what belongs to it to one file.

    Raises DomainError `classifier_not_trained` or `classifier_not_calibrated`.
    """
    if classifier.artifact_id is None:
        raise DomainError("classifier_not_trained", f"{classifier.name} has no weights yet.")
    if classifier.threshold is None:
        raise DomainError("classifier_not_calibrated", f"{classifier.name} has no threshold yet.")
    args = {"what": "classifier", "format": "zip", "classifier": str(classifier.pk), "least_equal": least_equal}
    with transaction.atomic():
        return enqueue(EXPORT_CLASSIFIER, args, queue="scoring", created_by=created_by)


def export_file(job: Job) -> Path:
    """The finished file of an export. Raises DomainError `export_not_ready` or `export_gone`."""
    if job.state != JobState.SUCCEEDED:
        raise DomainError("export_not_ready", f"The export is {job.state}.")
    path = at_hand(Path(settings.GAUNTLET_HOME) / str(job.result["path"]))
    if not path.is_file():
        raise DomainError("export_gone", "The file is no longer in the store.")
    return path


def export_signature(job: Job) -> str:
    """What opens the export's file without a token, for `EXPORT_LINK_SECONDS`."""
    return _SIGNER.sign(str(job.pk)).removeprefix(f"{job.pk}:")


def export_signed(*, key: uuid.UUID, signature: str) -> Job:
    """The export that the signature opens. Raises Http404, and DomainError `link_expired` for what was right once."""
    try:
        _SIGNER.unsign(f"{key}:{signature}", max_age=settings.EXPORT_LINK_SECONDS)
    except SignatureExpired as error:
        raise DomainError("link_expired", "The link has expired; read the export again for a new one.") from error
    except BadSignature as error:
        raise Http404 from error
    return get_object_or_404(Job, pk=key, kind__in=EXPORTED)


def _plain(value: Any) -> Any:
    """As a job's arguments hold it: rows by key, times as ISO 8601."""
    if isinstance(value, Model):
        return str(value.pk)
    if isinstance(value, uuid.UUID):
        return str(value)
    return value.isoformat() if isinstance(value, datetime) else value


def _store(upload: IO[bytes], file_format: str) -> str:
    name = f"imports/{uuid.uuid4().hex}.{file_format}"
    path = Path(settings.GAUNTLET_HOME) / name
    with writing(path) as temporary, temporary.open("wb") as stream:
        shutil.copyfileobj(upload, stream, 1 << 20)
    shared(path, "import")
    return name


def _enqueue(kind: str, args: Mapping[str, Any], created_by: User) -> Job:
    with transaction.atomic():
        return enqueue(kind, args, created_by=created_by)
