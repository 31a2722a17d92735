"""What vendors bring to the callback address of a batch."""

from __future__ import annotations

import hmac
import logging
import uuid

from engine.errors import BadInput
from labeling_adapters.base import AdapterError, Delivery, Forged, NoCallbacks
from labeling_adapters.http import HttpRefusal
from webapi.errors import DomainError
from webapi.models import Batch
from workers.vendor_answers import Taken
from workers.vendors import callback_secret, take_callback

logger = logging.getLogger(__name__)
NOTHING = "There is nothing at this address."
_GONE = frozenset({404, 410})
"""Refusals of a vendor asked back that speak against the callback: it names what the vendor does not have."""


def callback_batch(*, address: str) -> Batch:
    """The batch of a callback address: its id, a slash and its secret.

    Raises DomainError `not_found` for a wrong secret as for no batch.
    """
    key, _, secret = address.partition("/")
    try:
        batch_id = uuid.UUID(key)
    except ValueError:
        raise DomainError("not_found", NOTHING) from None
    right = hmac.compare_digest(callback_secret(batch_id).encode(), secret.encode(errors="replace"))
    batch = Batch.objects.select_related("policy", "round").filter(pk=batch_id).first()
    if not right or batch is None:
        raise DomainError("not_found", NOTHING)
    return batch


def callback_take(*, batch: Batch, delivery: Delivery) -> Taken:
    """Records the labels that a vendor brings, each once however often it comes.

    The vendor is asked back at once where it signs nothing: then neither its word nor its secret has to be kept for a
    job. Raises DomainError `not_found` where the batch's vendor never calls, `forged_callback`, `callback_refused`, or
    `vendor_unavailable` where the callback may be as good as any but could not be looked into: then the same callback
    is welcome again, and polling finds what never comes again.
    """
    try:
        return take_callback(batch, delivery)
    except NoCallbacks as error:
        raise DomainError("not_found", NOTHING) from error
    except Forged as error:
        raise DomainError("forged_callback", str(error)) from error
    except HttpRefusal as error:
        if error.status in _GONE:
            raise DomainError("callback_refused", str(error)) from error
        raise _unavailable(batch, error) from error
    except AdapterError as error:
        if error.permanent:
            raise DomainError("callback_refused", str(error)) from error
        raise _unavailable(batch, error) from error
    except BadInput as error:  # the batch's settings, or a key that this process lacks
        raise _unavailable(batch, error) from error


def _unavailable(batch: Batch, error: BadInput | AdapterError) -> DomainError:
    """Not the sender's to mend, so the log is told why; the sender only, when to come back."""
    logger.warning("%s, batch %s: a callback could not be looked into: %s", batch.adapter, batch.pk, error)
    wait = error.retry_after if isinstance(error, AdapterError) else None
    return DomainError("vendor_unavailable", "The callback could not be looked into; call again.", retry_after=wait)
