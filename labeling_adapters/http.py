"""JSON over HTTP as vendors speak it: bounded in time and size, and every failure an AdapterError that leaks no key."""

from __future__ import annotations

import base64
import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import httpx2

from engine.errors import BadInput
from labeling_adapters.base import AdapterError

TIMEOUT = 30.0
MAX_BYTES = 32 * 1024 * 1024
PASSING = frozenset({408, 425, 429})
"""Besides all of 5xx: refusals that may pass."""
_DETAIL = 200
_OURS = (httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError, httpx2.DecodingError)


class HttpRefusal(AdapterError):
    """A vendor answered, but not with what was asked for. `status` is that of HTTP, also a 200 with an error inside."""

    def __init__(self, message: str, *, status: int, permanent: bool, retry_after: float | None = None) -> None:
        self.status = status
        super().__init__(message, permanent=permanent, retry_after=retry_after)


def key_in(variable: str, *, where: str) -> str:
    """The key that an environment variable holds. Raises BadInput that names the variable, never what it holds."""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise BadInput(f"the environment variable {variable} is not set: it must hold the vendor's key", where=where)
    if not key.isascii() or not key.isprintable() or " " in key:
        raise BadInput(f"the environment variable {variable} does not hold a key: it has odd characters", where=where)
    return key


class JsonClient:
    """A vendor's API. Follows no redirects, so that the key goes nowhere else; tries nothing twice."""

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        basic: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
        timeout_s: float = TIMEOUT,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """`basic`: user and password; or `headers`, sent with every request. `name` begins every error.

        `secrets`: what else may stand in no error, such as a key that signs or is sent in a body.
        """
        self._name, self._timeout, self._max_bytes = name, timeout_s, max_bytes
        self._secrets = _secrets(basic, headers or {}, secrets)
        self._client = httpx2.Client(base_url=base_url, auth=basic, headers=headers, timeout=timeout_s)

    def ask(
        self,
        verb: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: object = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON that the vendor answers, None for an empty answer. `content` is sent as it is, `body` as JSON.

        Raises HttpRefusal: permanent for 3xx, 4xx, a 2xx that is no JSON (a login page, say) or has an `error` inside;
        not permanent for 408, 425, 429 and 5xx, whatever stands in them. Raises AdapterError, not permanent, where
        nobody answers in time or the connection breaks.
        """
        if body is not None:
            content = json.dumps(body, allow_nan=False).encode()
        sent = {"Accept": "application/json", **(headers or {})}
        if content is not None:
            sent = {"Content-Type": "application/json", **sent}
        place = f"{self._name}: {verb} {path}"
        with self._failures(place):
            request = self._client.build_request(verb, path, params=params, content=content, headers=sent)
            response, data = self._answer(request, place, with_key=True)
        self._check(response, data, place)
        return self._json(response, data, place)

    def download(self, url: str, *, max_bytes: int | None = None) -> bytes:
        """A file at an address that carries its own permission (presigned): asked for without the key.

        Raises as `ask` does; errors name host and path only, for the rest is the permission.
        """
        parts = urlsplit(url)
        place = f"{self._name}: GET {parts.hostname}{parts.path}"
        if parts.scheme not in {"http", "https"}:
            raise AdapterError(f"{place}: not an address of the web", permanent=True)
        with self._failures(place):
            request = httpx2.Request("GET", url)
            response, data = self._answer(request, place, with_key=False, max_bytes=max_bytes)
        self._check(response, data, place)
        return data

    def _answer(
        self, request: httpx2.Request, place: str, *, with_key: bool, max_bytes: int | None = None
    ) -> tuple[httpx2.Response, bytes]:
        """The answer and its body. A time-out of httpx is one of silence, so the whole is timed here as well."""
        deadline, limit, data = time.monotonic() + self._timeout, max_bytes or self._max_bytes, bytearray()
        auth = httpx2.USE_CLIENT_DEFAULT if with_key else None
        response = self._client.send(request, stream=True, auth=auth)
        try:
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > limit:
                    raise HttpRefusal(
                        f"{place}: answered more than {limit} bytes", status=response.status_code, permanent=True
                    )
                if time.monotonic() > deadline:
                    raise httpx2.ReadTimeout("too slow", request=request)
        finally:
            response.close()
        return response, bytes(data)

    @contextmanager
    def _failures(self, place: str) -> Iterator[None]:
        """`from None` throughout: the library's own errors hold the request, and that holds the key."""
        try:
            yield
        except httpx2.TimeoutException:
            raise AdapterError(f"{place}: no answer within {self._timeout:g} s", permanent=False) from None
        except (
            httpx2.InvalidURL,
            httpx2.UnsupportedProtocol,
            httpx2.LocalProtocolError,
            httpx2.DecodingError,
        ) as error:
            raise AdapterError(f"{place}: {self._short(str(error))}", permanent=True) from None
        except httpx2.RequestError as error:
            kind = "not reachable" if isinstance(error, httpx2.ConnectError) else "the connection broke"
            raise AdapterError(f"{place}: {kind}", permanent=False) from None

    def _check(self, response: httpx2.Response, data: bytes, place: str) -> None:
        status = response.status_code
        if 200 <= status < 300:
            return
        passing = status in PASSING or status >= 500
        raise HttpRefusal(
            f"{place}: {_status(status)}{self._detail(response, data)}",
            status=status,
            permanent=not passing,
            retry_after=_retry_after(response.headers.get("Retry-After", "")) if passing else None,
        )

    def _json(self, response: httpx2.Response, data: bytes, place: str) -> Any:
        if not data.strip():
            return None
        status = response.status_code
        try:
            answer = json.loads(data)
        except (ValueError, RecursionError):
            found = "an HTML page" if _is_html(response, data) else "broken JSON"
            message = f"{place}: {_status(status)}, but {found}; is the base URL right?"
            raise HttpRefusal(message, status=status, permanent=True) from None
        if isinstance(answer, dict) and answer.get("error"):
            message = f"{place}: {_status(status)}, but an error inside: {self._short(str(answer['error']))}"
            raise HttpRefusal(message, status=status, permanent=True)
        return answer

    def _detail(self, response: httpx2.Response, data: bytes) -> str:
        if _is_html(response, data):
            return " (an HTML page)"
        text = self._short(data[: 16 * _DETAIL].decode(errors="replace"))
        return f": {text}" if text else ""

    def _short(self, text: str) -> str:
        """Servers repeat the key in what they answer; here it is taken out."""
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        text = " ".join(text.split())
        return text if len(text) <= _DETAIL else text[: _DETAIL - 1] + "…"


def _secrets(basic: tuple[str, str] | None, headers: Mapping[str, str], others: Sequence[str]) -> list[str]:
    """What may not stand in a message, longest first: keys, passwords, and how they look on the wire."""
    found = {word for value in headers.values() for word in value.split()} | set(basic or ()) | set(others)
    if basic:
        found.add(base64.b64encode(":".join(basic).encode()).decode())
    return sorted((secret for secret in found if len(secret) >= 8), key=len, reverse=True)


def _status(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _is_html(response: httpx2.Response, data: bytes) -> bool:
    kind = response.headers.get("Content-Type", "")
    return "html" in kind.lower() or data.lstrip()[:15].lower().startswith((b"<!doctype", b"<html"))


def _retry_after(value: str) -> float | None:
    """Seconds from now: the header holds seconds or a date (RFC 9110, 10.2.3). None for what is neither."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            return None
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        seconds = (when - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
