"""What vendors bring to the callback address of a batch."""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Mapping

from labeling_adapters.base import AdapterError, Delivery, Forged
from webapi.errors import DomainError
from webapi.models import Batch
from workers.vendors import callback_secret, take_callback


def callback_take(*, batch_id: uuid.UUID, secret: str, delivery: Delivery) -> Mapping[str, int]:
    """Records the labels that a vendor brings, each once however often it comes, and counts them by outcome.

    The vendor is asked back at once where it signs nothing: then neither its word nor its secret has to be kept for a
    job. Raises DomainError `not_found` for a wrong secret as for no batch, `forged_callback`, `callback_refused`, or
    `vendor_unavailable`: then the same callback is welcome again, and polling finds what never comes again.
    """
    right = hmac.compare_digest(callback_secret(batch_id).encode(), secret.encode())
    batch = Batch.objects.select_related("policy", "round").filter(pk=batch_id).first()
    if not right or batch is None:
        raise DomainError("not_found", "There is nothing at this address.")
    try:
        return take_callback(batch, delivery)
    except Forged as error:
        raise DomainError("forged_callback", str(error)) from error
    except AdapterError as error:
        if error.permanent:
            raise DomainError("callback_refused", str(error)) from error
        raise DomainError("vendor_unavailable", str(error)) from error
