"""Which classifier serves a policy: promoted, and rolled back to the one before."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.db.models import Max

from webapi.errors import DomainError
from webapi.models import Classifier, Policy, Promotion, User
from webapi.selectors.classifiers import serving_promotion
from workers.artifacts import verified

AT_ONCE = "Somebody else promoted or rolled back at this moment; look who serves now."


def classifier_promote(*, classifier: Classifier, by: User | None = None, note: str = "") -> Classifier:
    """Makes it its policy's serving classifier. Promoting the one that serves changes nothing.

    Raises DomainError `classifier_not_calibrated`, or `conflict` where another moved at the same moment, and NotStored
    or Damaged for weights that are not what was trained.
    """
    if classifier.threshold is None:
        raise DomainError("classifier_not_calibrated", f"{classifier.name} has no threshold yet.")
    serving = serving_promotion(classifier.policy_id)
    if serving is not None and serving.classifier_id == classifier.pk:
        return classifier
    if classifier.artifact is not None:
        verified(classifier.artifact)  # damaged, it would refuse whatever the filter is asked
    try:
        with transaction.atomic():
            if serving is not None and not serving.follow():
                raise DomainError("conflict", AT_ONCE)
            Promotion.objects.create(policy_id=classifier.policy_id, classifier=classifier, by=by, note=note)
            _note_time(classifier)
    except IntegrityError as error:
        raise DomainError("conflict", AT_ONCE) from error
    classifier.refresh_from_db()
    return classifier


def policy_roll_back(*, policy: Policy, by: User | None = None, wanted: Classifier | None = None) -> Promotion:
    """Takes the serving classifier back; the one promoted before serves again. Answers its promotion.

    `wanted` is the classifier that is thought to serve. Raises DomainError `not_serving` where another one does,
    `nothing_before` where none was promoted before, and `conflict` where another moved at the same moment; then
    nothing is changed.
    """
    serving = serving_promotion(policy.pk)
    if wanted is not None and (serving is None or serving.classifier_id != wanted.pk):
        now = "nothing" if serving is None else serving.classifier.name
        raise DomainError("not_serving", f"{wanted.name} does not serve {policy}; {now} does.")
    if serving is None or (before := _before(serving)) is None:
        raise DomainError("nothing_before", f"Nothing was promoted for {policy} before what serves now.")
    try:
        with transaction.atomic():
            if not serving.roll_back(by) or not before.serve_again():
                raise DomainError("conflict", AT_ONCE)
            _note_time(serving.classifier)
    except IntegrityError as error:
        raise DomainError("conflict", AT_ONCE) from error
    before.refresh_from_db()
    return before


def _before(serving: Promotion) -> Promotion | None:
    rows = Promotion.objects.filter(policy=serving.policy_id, rolled_back_at=None, pk__lt=serving.pk)
    return rows.select_related("classifier").order_by("-pk").first()


def _note_time(classifier: Classifier) -> None:
    """`promoted_at` is the time of its last promotion that stands: of a policy's the latest is the one that serves."""
    standing = Promotion.objects.filter(classifier=classifier, rolled_back_at=None)
    Classifier.objects.filter(pk=classifier.pk).update(promoted_at=standing.aggregate(at=Max("created_at"))["at"])
