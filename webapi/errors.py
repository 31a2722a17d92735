"""One shape for everything that goes wrong: RFC 9457 problems, with a stable code for programs.

`ERROR_CODES` lists every code a problem can carry and `FIELD_CODES` every code of an entry in its `errors`; the API's
description shows both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

PROBLEM_TYPE = "application/problem+json"


class Meaning(NamedTuple):
    """The HTTP status that a code usually comes with, its title, and what a client should make of it."""

    status: int
    title: str
    meaning: str


ERROR_CODES: Mapping[str, Meaning] = {
    # The request itself
    "malformed": Meaning(400, "Malformed request", "The body is not what its content type says, or cannot be read."),
    "invalid": Meaning(400, "Invalid request", "Fields are wrong or missing; `errors` names each."),
    "bad_input": Meaning(400, "Bad input", "A file, line or field is wrong; the detail names it."),
    "unknown_name": Meaning(400, "Unknown name", "A registry has no such entry; the detail lists those it has."),
    "invalid_cursor": Meaning(400, "Invalid cursor", "Follow `next` and `previous` as they were given."),
    "not_authenticated": Meaning(401, "Not authenticated", "Send `Authorization: Bearer <token>`."),
    "invalid_token": Meaning(401, "Invalid token", "The token is unknown, expired or revoked."),
    "csrf_failed": Meaning(403, "CSRF check failed", "A session must send its CSRF token with a changing request."),
    "forbidden": Meaning(403, "Forbidden", "Your role may see this but not do that."),
    "not_found": Meaning(404, "Not found", "There is no such thing, or it is not yours to see."),
    "method_not_allowed": Meaning(405, "Method not allowed", "See the `Allow` header."),
    "not_acceptable": Meaning(406, "Not acceptable", "The answer cannot be had in the type that `Accept` asks for."),
    "conflict": Meaning(409, "Conflict", "Another request changed the same thing; read it again."),
    "idempotency_key_reused": Meaning(
        409, "Idempotency key reused", "The `Idempotency-Key` came before with another request; use a new one."
    ),
    "precondition_failed": Meaning(412, "Precondition failed", "What `If-Match` names is not what is there now."),
    "body_too_large": Meaning(413, "Body too large", "Send less at once, or upload a file to `/imports`."),
    "unsupported_media_type": Meaning(415, "Unsupported media type", "Send `application/json`."),
    "range_not_satisfiable": Meaning(416, "Range not satisfiable", "The file is shorter; see `Content-Range`."),
    "rate_limited": Meaning(429, "Too many requests", "Wait as long as `Retry-After` says."),
    # This server
    "internal_error": Meaning(500, "Internal error", "A fault of this server; its log knows the `instance`."),
    "engine_error": Meaning(500, "Engine error", "The engine could not do it; the detail says why."),
    "generator_error": Meaning(502, "Generator error", "A generator or paraphraser did not answer as it should."),
    "budget_spent": Meaning(409, "Budget spent", "A request would cost more than is left of an attack's budget."),
    "missing_model": Meaning(503, "Missing model", "Weights are not on this machine; the detail says how to get them."),
    "damaged": Meaning(
        500, "Damaged file", "A file in the store is not what it was; the detail names it and both hashes."
    ),
    "store_error": Meaning(503, "Store unavailable", "The artifact store did not give or take a file; try again soon."),
    "out_of_memory": Meaning(503, "Out of memory", "Work in a process of its own needed more than there was."),
    "crashed": Meaning(500, "Crashed", "Work in a process of its own ended without a result; the detail says how."),
    "unavailable": Meaning(503, "Unavailable", "The database or broker cannot be reached; try again soon."),
    "storage_full": Meaning(507, "Storage full", "The disk is full. Nothing was half-written."),
    # Labeling
    "unknown_choice": Meaning(400, "Unknown choice", "The choice is not one of the policy's."),
    "lease_not_found": Meaning(404, "Lease not found", "No lease of yours on that task has this token."),
    "not_an_annotator": Meaning(409, "Not an annotator", "Only vendors name the worker they lease for."),
    "annotator_paused": Meaning(
        403, "Annotator paused", "The annotator's answers to gold were below the policy's bar."
    ),
    "annotator_not_paused": Meaning(409, "Annotator not paused", "Only a paused annotator can be resumed."),
    "no_fresh_gold": Meaning(409, "No fresh gold", "The annotator has answered all there is; add gold first."),
    "too_many_leases": Meaning(409, "Too many leases", "Answer or release some of the tasks that you hold first."),
    "batch_finished": Meaning(409, "Batch finished", "The batch is done or cancelled; it cannot be moved any more."),
    "batch_not_launched": Meaning(409, "Batch not launched", "Launch the batch first."),
    # Vendors' callbacks
    "forged_callback": Meaning(401, "Forged callback", "The signature or secret is missing, wrong or too old."),
    "callback_refused": Meaning(400, "Callback refused", "It says nothing about this batch that can be taken."),
    "vendor_unavailable": Meaning(
        503, "Vendor unavailable", "The vendor could not be asked back; make the same callback again."
    ),
    "webhook_inactive": Meaning(409, "Webhook inactive", "Switch the endpoint on first."),
    # Rounds, classifiers, jobs
    "round_not_running": Meaning(409, "Round not running", "Only a running round can be paused."),
    "round_not_paused": Meaning(409, "Round not paused", "Only a paused round can be resumed."),
    "round_not_failed": Meaning(409, "Round not failed", "Only a failed round can be retried."),
    "round_finished": Meaning(409, "Round finished", "The round has ended; it cannot be cancelled."),
    "selection_not_ready": Meaning(404, "Selection not ready", "The round's select stage has not run yet."),
    "corrupt_shard": Meaning(500, "Corrupt shard", "Files of the index were damaged; the detail says which."),
    "report_not_ready": Meaning(404, "Report not ready", "The round's report stage has not run yet."),
    "classifier_not_calibrated": Meaning(409, "Classifier not calibrated", "It has no threshold yet."),
    "not_serving": Meaning(409, "Not serving", "Another classifier serves than the request says; look again."),
    "nothing_before": Meaning(409, "Nothing before", "No classifier was promoted before the one that serves."),
    "policy_is_blind": Meaning(403, "Policy is blind", "Labelers may not see what a classifier says."),
    "classifier_not_trained": Meaning(409, "Classifier not trained", "It has no weights yet."),
    "no_serving_classifier": Meaning(409, "No serving classifier", "The policy has none; promote one, or name one."),
    "generator_not_tuned": Meaning(409, "Generator not tuned", "Its job has not succeeded (yet): it has no weights."),
    "artifact_gone": Meaning(404, "Artifact gone", "The file is no longer in the store."),
    "snapshot_immutable": Meaning(409, "Snapshot immutable", "Make another snapshot instead."),
    "job_finished": Meaning(409, "Job finished", "The job has ended; it cannot be cancelled."),
    "job_of_a_round": Meaning(409, "Job of a round", "Cancel or pause the round instead."),
    "job_of_an_attack": Meaning(409, "Job of an attack", "Cancel the attack instead."),
    "attack_finished": Meaning(409, "Attack finished", "The attack has ended; it cannot be cancelled."),
    "attack_of_a_round": Meaning(409, "Attack of a round", "Cancel or pause the round instead."),
    "job_of_a_sweep": Meaning(409, "Job of a sweep", "Cancel the sweep instead."),
    "job_of_an_evaluation": Meaning(409, "Job of an evaluation", "Cancel the evaluation instead."),
    "evaluation_finished": Meaning(409, "Evaluation finished", "The evaluation has ended; it cannot be cancelled."),
    "evaluation_not_planned": Meaning(409, "Evaluation not planned", "Only one whose plan waits can begin to buy."),
    "evaluation_not_stopped": Meaning(
        409, "Evaluation not stopped", "Only an evaluation that failed or was cancelled can be retried."
    ),
    "evaluation_not_reported": Meaning(404, "Evaluation not reported", "It has no report: it has not succeeded (yet)."),
    "sweep_finished": Meaning(409, "Sweep finished", "The sweep has ended; it cannot be cancelled."),
    "sweep_not_stopped": Meaning(409, "Sweep not stopped", "Only a sweep that failed or was cancelled can be retried."),
    "export_not_ready": Meaning(409, "Export not ready", "Its job has not succeeded (yet)."),
    "export_gone": Meaning(404, "Export gone", "The file was cleared away; ask for a new export."),
    "link_expired": Meaning(403, "Link expired", "Read the export again: it comes with a new link."),
    "token_revoked": Meaning(409, "Token revoked", "The token had been revoked before."),
    # Making things
    "snippet_refused": Meaning(400, "Snippet refused", "It breaks the policy's snippet rules; `errors` gives each."),
    "name_taken": Meaning(409, "Name taken", "Another thing of this kind has the name."),
    "path_not_allowed": Meaning(400, "Path not allowed", "The server reads only under its data roots."),
    "role_not_allowed": Meaning(403, "Role not allowed", "A token may not do more than the one who makes it."),
}

FIELD_CODES: Mapping[str, str] = {
    "required": "The field is missing.",
    "null": "The field may not be null.",
    "blank": "The field may not be empty.",
    "invalid": "The value is not of the right kind; the message says what is.",
    "invalid_choice": "The value is not one of those allowed.",
    "unknown_field": "There is no such field or parameter.",
    "does_not_exist": "It refers to something that is not there.",
    "min_value": "The number is too small.",
    "max_value": "The number is too large.",
    "min_length": "There are too few items or characters.",
    "max_length": "There are too many items or characters.",
    "null_byte": "The text contains a null byte.",
    "lone_surrogate": "The text contains half of a surrogate pair.",
    "prompt_sentences": "The prompt has another number of sentences than the policy wants.",
    "prompt_tail": "The prompt has text after its last full stop.",
    "empty_completion": "The completion is empty.",
    "short_completion": "The completion is shorter than the policy wants.",
    "completion_stop": "The completion does not end at its first full stop.",
    "too_long": "Prompt and completion are longer than the policy allows.",
    "few_letters": "There are fewer letters than the policy wants.",
    "too_many_tokens": "There are more tokens than the policy allows.",
    "wrong_language": "The text is not in the policy's language.",
    "malformed_line": "The line cannot be read in the format that was named.",
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field or batch item. `loc` leads to it: names of fields and numbers of items."""

    loc: tuple[str | int, ...]
    code: str
    message: str

    def as_dict(self) -> dict[str, object]:
        """As it stands in a problem."""
        return {"loc": list(self.loc), "code": self.code, "message": self.message}


class DomainError(Exception):
    """A service's refusal: a code of `ERROR_CODES`, a message for people, and nothing changed.

    `retry_after`: seconds after which it is worth another try. `headers` go with the answer.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        errors: Sequence[FieldError] = (),
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.code = code
        self.message = message
        self.status = status or (ERROR_CODES[code].status if code in ERROR_CODES else 400)
        self.errors = tuple(errors)
        self.retry_after = retry_after
        self.headers = dict(headers or {})
        super().__init__(message)


def problem(
    code: str, detail: str, *, status: int | None = None, errors: Iterable[FieldError] = (), instance: str = ""
) -> dict[str, object]:
    """An RFC 9457 problem. `type` leads to the code's own description."""
    known = ERROR_CODES.get(code, ERROR_CODES["invalid"])
    body: dict[str, object] = {
        "type": f"/api/v1/errors/{code}",
        "title": known.title,
        "status": status or known.status,
        "detail": detail,
        "code": code,
        "errors": [error.as_dict() for error in errors],
    }
    return {**body, "instance": instance} if instance else body
