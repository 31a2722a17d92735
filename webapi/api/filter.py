"""The filter: a text judged, or a prompt completed, by a policy's promoted classifier at its threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from engine.snippets import Snippet as SnippetText
from webapi.api.base import Resource, StrictSerializer
from webapi.api.fields import ClassifierField, GeneratorField, PolicyField
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example, one_of
from webapi.models import Classifier
from webapi.services.filtering import MAX_TEXTS, Decision, Filter, Reason, filter_at_work, prompts_complete, texts_judge
from webapi.services.generators import MAX_PROMPTS, MAX_TRIES

LONGEST = 100_000
"""Characters of a text; the classifier reads as many tokens as it was trained to."""


class FilterText(StrictSerializer):
    """A prompt, and the completion to judge; without one, `generator` completes the prompt."""

    prompt = serializers.CharField(allow_blank=True, default="", max_length=LONGEST, trim_whitespace=False)
    completion = serializers.CharField(
        allow_blank=True, allow_null=True, default=None, max_length=LONGEST, trim_whitespace=False
    )


class FilterInput(FilterText):
    """One text, or several in `texts`; all of them with a completion, or none."""

    texts = FilterText(many=True, required=False, min_length=1, max_length=MAX_TEXTS)  # type: ignore[call-arg]
    policy = PolicyField(required=False, help_text="As the classifier's unless given.")
    classifier = ClassifierField(required=False, help_text="The policy's promoted one unless given.")
    generator = GeneratorField(required=False, help_text="Proposes completions where none is given.")
    tries = serializers.IntegerField(
        min_value=1, max_value=MAX_TRIES, default=MAX_TRIES, help_text="Proposals for a prompt, at most."
    )
    seed = serializers.IntegerField(min_value=0, max_value=2**31 - 1, default=0, help_text="Of the proposals.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """A policy is known, and it is clear what is to be judged or completed."""
        if "policy" not in attrs and "classifier" not in attrs:
            raise _wrong("policy", "Give a policy, or a classifier.", "required")
        attrs.setdefault("policy", attrs["classifier"].policy if "classifier" in attrs else None)
        several = "texts" in attrs
        if several and (attrs["prompt"] or attrs["completion"] is not None):
            raise _wrong("texts", "Give one text, or several in `texts`, not both.", "invalid")
        attrs["several"] = several
        if not several:
            attrs["texts"] = [{"prompt": attrs["prompt"], "completion": attrs["completion"]}]
        _check_texts(attrs["texts"], with_generator="generator" in attrs)
        return attrs


def _check_texts(texts: Sequence[Mapping[str, Any]], *, with_generator: bool) -> None:
    given = [one["completion"] is not None for one in texts]
    if any(given) != all(given):
        raise _wrong("texts", "Either all texts have a completion, or none has.", "invalid")
    if all(given):
        if with_generator:
            raise _wrong("generator", "The completion is given: there is nothing to generate.", "invalid")
        return
    if not with_generator:
        raise _wrong("completion", "Give the completion to judge, or a generator that makes one.", "required")
    if len(texts) > MAX_PROMPTS:
        raise _wrong("texts", f"At most {MAX_PROMPTS} prompts are completed in one request.", "max_length")
    if not all(one["prompt"].strip() for one in texts):
        raise _wrong("prompt", "There is no prompt to complete.", "blank")


def _wrong(field: str, message: str, code: str) -> serializers.ValidationError:
    return serializers.ValidationError({field: serializers.ErrorDetail(message, code)})


class DecisionSerializer(serializers.Serializer[Any]):
    """What the filter says of one text. Accepted: its score is below the threshold, compared as fp32 logits."""

    accepted = serializers.BooleanField()
    completion = serializers.CharField(allow_null=True, help_text="Null where no proposal was accepted.")
    score = serializers.FloatField(
        allow_null=True, help_text="Null of an empty completion, which is rejected, and where nothing was accepted."
    )
    logit = serializers.FloatField(allow_null=True)
    tries = serializers.IntegerField(help_text="Proposals up to and including it; 1 of a text that was given.")
    reason = serializers.ChoiceField(
        [one.value for one in Reason],
        allow_null=True,
        help_text="Why it is rejected: its `score`; it is `empty`; the classifier's answer is `not_a_number`; "
        "`none_accepted` of the proposals. Null of what is accepted.",
    )


class FilterClassifierSerializer(serializers.Serializer[Any]):
    """Who decided."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    precision = serializers.CharField()
    sha256 = serializers.CharField(source="artifact.sha256", help_text="Of its weights.")


class LineageOfDecision(serializers.Serializer[Any]):
    """By what was decided."""

    policy = serializers.UUIDField(source="classifier.policy_id")
    classifier = FilterClassifierSerializer()
    threshold = serializers.FloatField()
    threshold_logit = serializers.FloatField(
        allow_null=True, help_text="What a logit must stay below, exact in fp32; null at thresholds 0 and 1."
    )
    serving = serializers.BooleanField(help_text="Whether the classifier is the policy's promoted one.")
    promoted_at = serializers.DateTimeField(source="classifier.promoted_at", allow_null=True)


class OneDecided(DecisionSerializer, LineageOfDecision):
    """One text's decision."""


class ManyDecided(LineageOfDecision):
    """Decisions in the order of `texts`."""

    results = DecisionSerializer(many=True)


PROMPT = "The rain fell. Ada ran to the gate. It was locked."
ASKED: dict[str, Any] = {"policy": "injury", "prompt": PROMPT, "completion": "She climbed over it and went home."}
COMPLETE: dict[str, Any] = {"policy": "injury", "prompt": PROMPT, "generator": "fairy tales", "tries": 100, "seed": 7}
SEVERAL: dict[str, Any] = {"policy": "injury", "texts": [{"prompt": PROMPT, "completion": "She waited."}]}
DECIDED: dict[str, Any] = {
    "accepted": True,
    "completion": ASKED["completion"],
    "score": 0.0004,
    "logit": -7.82,
    "tries": 1,
    "reason": None,
}
LINEAGE: dict[str, Any] = {
    "policy": EXAMPLE_ID,
    "classifier": {"id": EXAMPLE_ID, "name": "Round 4, retrained", "precision": "int8", "sha256": "9f2c…"},
    "threshold": 0.0017,
    "threshold_logit": -6.3754,
    "serving": True,
    "promoted_at": EXAMPLE_TIME,
}


class FilterTexts(Resource[Classifier]):
    """The filter of each policy."""

    resource = "filter"
    queryset = Classifier.objects.none()
    unchanging = frozenset({"create"})

    @extend_schema(
        request=FilterInput,
        responses={200: one_of("Filtered", OneDecided, ManyDecided)},
        examples=[
            *example(ASKED, name="A text"),
            *example(COMPLETE, name="A prompt to complete"),
            *example(SEVERAL, name="Several texts"),
            *example({**DECIDED, **LINEAGE}, name="One", status=200),
            *example({**LINEAGE, "results": [DECIDED]}, name="Several", status=200),
        ],
    )
    def create(self, request: Request) -> Response:
        """Judges up to 256 texts, or completes up to 16 prompts by rejection sampling, now; nothing is kept.

        Decisions are those of evaluations: the same code, classifier and threshold. Requests that come at the same
        time are scored together; 503 with `Retry-After` while more wait than the server takes.
        """
        asked = self.input(FilterInput)
        by = filter_at_work(asked["policy"], asked.get("classifier"))
        found = _decided(by, asked)
        if asked["several"]:
            return Response(ManyDecided({**by._asdict(), **_cutoff(by), "results": found}).data)
        return Response(OneDecided({**by._asdict(), **_cutoff(by), **found[0]._asdict()}).data)


def _decided(by: Filter, asked: Mapping[str, Any]) -> list[Decision]:
    texts = asked["texts"]
    if "generator" not in asked:
        return texts_judge(by=by, snippets=[SnippetText(one["prompt"], one["completion"]) for one in texts])
    return prompts_complete(
        by=by,
        policy=asked["policy"],
        generator=asked["generator"],
        prompts=[one["prompt"] for one in texts],
        tries=asked["tries"],
        seed=asked["seed"],
    )


def _cutoff(by: Filter) -> dict[str, float | None]:
    return {"threshold_logit": by.threshold_logit}
