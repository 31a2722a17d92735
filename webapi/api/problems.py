"""Every error of the API as an RFC 9457 problem, whatever raised it."""

from __future__ import annotations

import errno
import logging
import math
import uuid
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, NamedTuple

from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import DataError, IntegrityError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.multipartparser import MultiPartParserError
from django.views import defaults
from pydantic import ValidationError as PydanticValidationError
from rest_framework import exceptions
from rest_framework.response import Response

from engine.config import sentence
from engine.errors import BadInput, Damaged, EngineError, GeneratorError, MissingModel, StoreError, UnknownName
from webapi.errors import FIELD_CODES, PROBLEM_TYPE, DomainError, FieldError, problem

logger = logging.getLogger(__name__)

RETRY_SOON = 1
"""Seconds after which a database or broker that could not be reached is worth another try."""


class Problem(NamedTuple):
    """What an exception is answered with."""

    code: str
    detail: str
    status: int | None = None
    errors: tuple[FieldError, ...] = ()
    headers: dict[str, str] = {}


def answer_problem(error: Exception, context: dict[str, Any]) -> Response:
    """REST framework's exception handler. What it does not know is logged whole and told to nobody."""
    found = problem_of(error)
    instance = ""
    if found.code == "internal_error":
        instance = f"urn:uuid:{uuid.uuid4()}"
        logger.error("%s %s", instance, context["view"].__class__.__name__, exc_info=error)
    body = problem(found.code, found.detail, status=found.status, errors=found.errors, instance=instance)
    return Response(body, status=int(str(body["status"])), headers=found.headers, content_type=PROBLEM_TYPE)


def problem_of(error: Exception) -> Problem:
    """The problem that an exception stands for."""
    for kind, describe in DESCRIBE.items():
        if isinstance(error, kind):
            return describe(error)
    return Problem("internal_error", "Something went wrong here; the log knows more.")


def _domain(error: DomainError) -> Problem:
    headers = {} if error.retry_after is None else {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    return Problem(error.code, error.message, error.status, error.errors, headers | error.headers)


def _fields(error: exceptions.ValidationError) -> Problem:
    errors = tuple(field_errors(error.detail))
    return Problem("invalid", _sentence(errors), error.status_code, errors)


def _sentence(errors: tuple[FieldError, ...]) -> str:
    if not errors:
        return "The request is not valid."
    first = errors[0]
    where = ".".join(map(str, first.loc))
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{where}: {first.message}{more}" if where else f"{first.message}{more}"


def field_errors(detail: Any, loc: tuple[str | int, ...] = ()) -> Iterator[FieldError]:
    """REST framework's nested details as one list. Numbers are those of items."""
    if isinstance(detail, dict):
        for key, value in detail.items():
            yield from field_errors(value, loc if key in ("non_field_errors", "__all__") else (*loc, key))
    elif isinstance(detail, list):
        for number, value in enumerate(detail):
            yield from field_errors(value, (*loc, number) if isinstance(value, dict) else loc)
    else:
        code = str(getattr(detail, "code", "invalid"))
        yield FieldError(loc, FIELD_CODE_OF.get(code, code if code in FIELD_CODES else "invalid"), str(detail))


FIELD_CODE_OF = {
    "empty": "min_length",
    "not_a_list": "invalid",
    "null_characters_not_allowed": "null_byte",
    "surrogate_characters_not_allowed": "lone_surrogate",
}
"""REST framework's code -> ours."""


def _pydantic(error: PydanticValidationError) -> Problem:
    errors = tuple(
        FieldError(tuple(one["loc"]), PYDANTIC_CODES.get(one["type"], "invalid"), sentence(one))
        for one in error.errors(include_url=False)
    )
    return Problem("invalid", _sentence(errors), errors=errors)


PYDANTIC_CODES = {
    "missing": "required",
    "extra_forbidden": "unknown_field",
    "literal_error": "invalid_choice",
    "enum": "invalid_choice",
    "greater_than": "min_value",
    "greater_than_equal": "min_value",
    "less_than": "max_value",
    "less_than_equal": "max_value",
    "too_short": "min_length",
    "string_too_short": "min_length",
    "too_long": "max_length",
    "string_too_long": "max_length",
}


def _api(error: exceptions.APIException) -> Problem:
    """REST framework's own: its codes are ours where we list them."""
    code = API_CODES.get(type(error), "invalid")
    raised = error.get_codes()
    if raised in ("invalid_token", "csrf_failed"):
        code = str(raised)
    headers = {}
    if getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = str(error.auth_header)  # type: ignore[attr-defined]
    if isinstance(error, exceptions.Throttled):
        headers["Retry-After"] = str(max(1, math.ceil(getattr(error, "wait", None) or 0)))
    return Problem(code, str(error.detail), error.status_code, headers=headers)


API_CODES: dict[type[exceptions.APIException], str] = {
    exceptions.ParseError: "malformed",
    exceptions.AuthenticationFailed: "invalid_token",
    exceptions.NotAuthenticated: "not_authenticated",
    exceptions.PermissionDenied: "forbidden",
    exceptions.NotFound: "not_found",
    exceptions.MethodNotAllowed: "method_not_allowed",
    exceptions.NotAcceptable: "not_acceptable",
    exceptions.UnsupportedMediaType: "unsupported_media_type",
    exceptions.Throttled: "rate_limited",
}


def _bad_input(error: BadInput) -> Problem:
    loc = (error.where,) if error.where else ()
    return Problem(error.code, str(error), errors=(FieldError(loc, "invalid", str(error)),))


def _conflict(error: IntegrityError) -> Problem:
    logger.warning("conflict: %s", error)
    return Problem("conflict", "Another request changed the same thing; read it again.")


def _unreachable(error: Exception) -> Problem:
    logger.warning("database not reached: %s", error)
    if "full" in str(error):
        return STORAGE_FULL
    return Problem("unavailable", "The database did not answer.", headers={"Retry-After": str(RETRY_SOON)})


STORAGE_FULL = Problem("storage_full", "The disk is full. Nothing was half-written.")


def _system(error: OSError) -> Problem:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return STORAGE_FULL
    return Problem("internal_error", "Something went wrong here; the log knows more.")


def _django_fields(error: DjangoValidationError) -> Problem:
    messages = tuple(FieldError((), "invalid", message) for message in error.messages)
    return Problem("invalid", _sentence(messages), errors=messages)


def _no_text(error: UnicodeEncodeError) -> Problem:
    """What no field of ours refuses comes as far as the database, which does."""
    message = "Half a surrogate pair is no text."
    return Problem("invalid", message, errors=(FieldError((), "lone_surrogate", message),))


DESCRIBE: dict[type[Exception], Callable[[Any], Problem]] = {
    UnicodeEncodeError: _no_text,
    DomainError: _domain,
    exceptions.ValidationError: _fields,
    PydanticValidationError: _pydantic,
    exceptions.APIException: _api,
    BadInput: _bad_input,
    UnknownName: lambda error: Problem("unknown_name", str(error)),
    MissingModel: lambda error: Problem("missing_model", str(error)),
    Damaged: lambda error: Problem("damaged", str(error)),
    StoreError: lambda error: Problem("store_error", str(error)),
    GeneratorError: lambda error: Problem("generator_error", str(error)),
    EngineError: lambda error: Problem("engine_error", str(error)),
    DjangoValidationError: _django_fields,
    Http404: lambda _: Problem("not_found", "There is no such thing, or it is not yours to see."),
    DjangoPermissionDenied: lambda error: Problem("forbidden", str(error) or "You may not do this."),
    RequestDataTooBig: lambda _: Problem("body_too_large", "The body is larger than this server takes."),
    MultiPartParserError: lambda error: Problem("malformed", f"The form cannot be read: {error}"),
    SuspiciousOperation: lambda _: Problem("malformed", "The request cannot be read."),
    DataError: lambda _: Problem("invalid", "A value is too long or cannot be stored."),
    IntegrityError: _conflict,
    OperationalError: _unreachable,
    InterfaceError: _unreachable,
    OSError: _system,
}
"""By exception, the most special first: how it is told."""


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """The site's 404: a problem for the API, a page for people."""
    if request.path.startswith("/api/"):
        return _json(Problem("not_found", f"There is nothing at {request.path}."))
    return defaults.page_not_found(request, exception)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """The site's 400."""
    if request.path.startswith("/api/"):
        return _json(problem_of(exception))
    return defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """The site's 403."""
    if request.path.startswith("/api/"):
        return _json(Problem("forbidden", "You may not do this."))
    return defaults.permission_denied(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """The site's 500."""
    if request.path.startswith("/api/"):
        return _json(Problem("internal_error", "Something went wrong here; the log knows more."))
    return defaults.server_error(request)


def _json(found: Problem) -> JsonResponse:
    body = problem(found.code, found.detail, status=found.status, errors=found.errors)
    status = HTTPStatus(int(str(body["status"])))
    return JsonResponse(body, status=status, content_type=PROBLEM_TYPE, headers=found.headers)
