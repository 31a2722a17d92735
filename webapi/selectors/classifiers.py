"""Reads of classifiers: who serves, and the history of promotions."""

from __future__ import annotations

import uuid

from django.db.models import QuerySet

from webapi.models import Classifier, Promotion


def serving_promotion(policy_id: uuid.UUID) -> Promotion | None:
    """The promotion that stands for a policy; None while nothing was promoted."""
    return Promotion.objects.filter(policy=policy_id, serving=True).select_related("classifier__artifact").first()


def serving_classifier(policy_id: uuid.UUID) -> Classifier | None:
    """The classifier that serves a policy."""
    promotion = serving_promotion(policy_id)
    return None if promotion is None else promotion.classifier


def promotions_listed() -> QuerySet[Promotion]:
    """Promotions with what a list shows of them."""
    return Promotion.objects.select_related("policy", "classifier", "by", "rolled_back_by")
