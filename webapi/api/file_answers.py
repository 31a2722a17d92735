"""A stored file as an answer: the whole of it, one range of it (RFC 9110, section 14), or that it is the same still."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from django.http import FileResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag
from rest_framework.request import Request
from whitenoise.responders import SlicedFile

from webapi.errors import DomainError

_RANGE = re.compile(r"bytes[ \t]*=[ \t]*(?:(\d{1,19})-(\d{0,19})|-(\d{1,19}))[ \t]*", re.IGNORECASE | re.ASCII)


class Span(NamedTuple):
    """From one byte to another, both included."""

    first: int
    last: int


def file_answer(request: Request, path: Path, *, name: str, etag: str) -> HttpResponseBase:
    """The file, as far as the request's `Range`, `If-Range` and conditions ask for it. `etag`: a hash of its content.

    Raises DomainError `precondition_failed` or `range_not_satisfiable`, and OSError.
    """
    headers = {"ETag": quote_etag(etag), "Accept-Ranges": "bytes", "Cache-Control": "private, no-cache"}
    same = get_conditional_response(request._request, etag=headers["ETag"])
    if same is not None:
        if same.status_code == 412:
            raise DomainError("precondition_failed", "The file is another one.")
        for header, value in headers.items():
            same[header] = value
        return same
    size = path.stat().st_size
    span = _asked(request, headers["ETag"], size)
    if span is None:
        whole = FileResponse(path.open("rb"), as_attachment=True, filename=name, headers=headers)
        if request.method == "HEAD":
            whole.streaming_content = ()
        return whole
    headers |= {
        "Content-Range": f"bytes {span.first}-{span.last}/{size}",
        "Content-Length": str(span.last - span.first + 1),
    }
    part = SlicedFile(path.open("rb"), *span)
    return FileResponse(part, status=206, as_attachment=True, filename=name, headers=headers)


def _asked(request: Request, etag: str, size: int) -> Span | None:
    """The one range that is asked for. None for the whole file: what is not understood, or several, may be ignored."""
    found = _RANGE.fullmatch(request.headers.get("Range", ""))
    if found is None or request.method != "GET" or request.headers.get("If-Range", etag) != etag:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        span = Span(max(size - int(suffix), 0), size - 1)
    else:
        span = Span(int(first), min(int(last), size - 1) if last else size - 1)
        if last and int(last) < int(first):
            return None
    if span.first > span.last:
        raise DomainError(
            "range_not_satisfiable", f"The file has {size:,} bytes.", headers={"Content-Range": f"bytes */{size}"}
        )
    return span
