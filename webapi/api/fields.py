"""Fields that several resources share."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar, Generic, TypeVar, cast

from django.db.models import Model, QuerySet
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from webapi.models import Classifier, Corpus, Generator, Policy
from webapi.permissions import Actor, actor_of, visible

RowType = TypeVar("RowType", bound=Model)


class RateSerializer(serializers.Serializer[Any]):
    """A rate with its interval and counts, never a bare number. Nothing observed: no estimate, interval [0, 1]."""

    estimate = serializers.FloatField(allow_null=True)
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)
    level = serializers.FloatField(help_text="Coverage the interval aims at, two-sided, such as 0.95.")
    method = serializers.CharField()
    failures = serializers.FloatField(help_text="Raw count of what the rate counts.")
    n = serializers.FloatField(help_text="Raw count of what was looked at.")


class EstimateSerializer(serializers.Serializer[Any]):
    """A statistic that is no rate, such as alpha; null where it is undefined."""

    estimate = serializers.FloatField(allow_null=True)
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)
    level = serializers.FloatField()
    method = serializers.CharField()
    n = serializers.IntegerField(help_text="Items it rests on.")


def policies_named(actor: Actor, text: str) -> QuerySet[Policy]:
    """The policy with this key, or all versions of this name, as far as the actor sees them, the newest first.

    Raises ValidationError where there is none.
    """
    found = _by_key_or_name(visible(Policy.objects.all(), "policies", actor), text)
    if not found.exists():
        message = serializers.ErrorDetail(f"There is no policy {text!r}.", "does_not_exist")
        raise serializers.ValidationError({"policy": message})
    return found


def _by_key_or_name(rows: QuerySet[RowType], text: str) -> QuerySet[RowType]:
    try:
        return rows.filter(pk=uuid.UUID(text))
    except ValueError:
        return rows.filter(name=text).order_by("-pk")


class _NamedField(serializers.CharField, Generic[RowType]):
    resource: ClassVar[str]
    model: ClassVar[type[Model]]

    def to_internal_value(self, data: Any) -> RowType:  # type: ignore[override]
        """The row, if the actor sees it. Raises ValidationError."""
        text = super().to_internal_value(data)
        rows = visible(self.model._default_manager.all(), self.resource, actor_of(self.context["request"]))
        found = _by_key_or_name(rows, text).first()
        if found is None:
            noun = self.model._meta.verbose_name
            raise serializers.ValidationError(f"There is no {noun} {text!r}.", "does_not_exist")
        return cast(RowType, found)


@extend_schema_field({"type": "string", "description": "Key of a policy, or its name (then its newest version)."})
class PolicyField(_NamedField[Policy]):
    """A policy by key or by name."""

    resource = "policies"
    model = Policy


@extend_schema_field({"type": "string", "description": "Key of a corpus, or its name."})
class CorpusField(_NamedField[Corpus]):
    """A corpus by key or by name."""

    resource = "corpora"
    model = Corpus


@extend_schema_field({"type": "string", "description": "Key of a classifier, or its name (then its newest version)."})
class ClassifierField(_NamedField[Classifier]):
    """A classifier by key or by name."""

    resource = "classifiers"
    model = Classifier


@extend_schema_field({"type": "string", "description": "Key of a tuned generator, or its name."})
class GeneratorField(_NamedField[Generator]):
    """A tuned generator by key or by name."""

    resource = "generators"
    model = Generator
