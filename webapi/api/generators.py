"""Generators: tuned on a corpus' stories, looked at, asked for completions that a classifier accepts."""

from __future__ import annotations

from typing import Any, cast

import django_filters as filters
from drf_spectacular.utils import extend_schema, extend_schema_view
from pydantic import BaseModel, ConfigDict, Field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from engine.generation.tuning import TuningRecipe
from webapi.api.base import Resource, StrictSerializer
from webapi.api.fields import ClassifierField, CorpusField, EstimateSerializer, PolicyField
from webapi.api.filters import ByPeriod
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example
from webapi.models import Generator, JobState
from webapi.services.generators import (
    MAX_COPIES,
    MAX_PROMPTS,
    MAX_TRIES,
    filter_of,
    generator_create,
    generator_sample,
)

LONGEST_PROMPT = 10_000
"""Characters."""


class RecipeRequest(BaseModel):
    """How it is to be tuned."""

    model_config = ConfigDict(extra="forbid")

    recipe: TuningRecipe = TuningRecipe()


class GeneratorRequest(RecipeRequest):
    """A generator to tune."""

    name: str = Field(min_length=1, max_length=100)
    corpus: str = Field(description="Key of a corpus, or its name: what it learns from.")


class GeneratorTarget(serializers.Serializer[Any]):
    """What it is called, and what it learns from."""

    name = serializers.CharField(max_length=100)
    corpus = CorpusField()


class GeneratorSerializer(serializers.ModelSerializer[Generator]):
    """A tuned generator. Perplexity is of held-out stories, by intervals that take stories as what was drawn."""

    state = serializers.CharField(
        read_only=True, help_text="Of its job: queued, running, succeeded, failed or cancelled."
    )
    error = serializers.CharField(source="job.error", read_only=True)
    seed = serializers.IntegerField(source="recipe.seed", read_only=True)
    recipe = serializers.DictField(read_only=True)
    environment = serializers.DictField(read_only=True)
    sha256 = serializers.CharField(source="artifact.sha256", default=None, read_only=True, allow_null=True)
    before = EstimateSerializer(source="metrics.before", default=None, read_only=True, allow_null=True)
    after = EstimateSerializer(source="metrics.after", default=None, read_only=True, allow_null=True)

    class Meta:
        model = Generator
        fields = [
            "id",
            "name",
            "corpus",
            "base",
            "state",
            "error",
            "job",
            "recipe",
            "seed",
            "environment",
            "before",
            "after",
            "sha256",
            "created_by",
            "created_at",
        ]
        read_only_fields = fields


class GeneratorDetailSerializer(GeneratorSerializer):
    """With all that was measured."""

    metrics = serializers.DictField(read_only=True, help_text="Among it `curve`: the validation loss by step, in nats.")

    class Meta(GeneratorSerializer.Meta):
        fields = [*GeneratorSerializer.Meta.fields, "metrics"]
        read_only_fields = fields


class SampleInput(StrictSerializer):
    """What to complete, and through which filter."""

    prompts = serializers.ListField(
        child=serializers.CharField(max_length=LONGEST_PROMPT, trim_whitespace=False),
        min_length=1,
        max_length=MAX_PROMPTS,
    )
    policy = PolicyField(required=False, help_text="Whose rules cut completions; as the classifier's unless given.")
    classifier = ClassifierField(required=False, help_text="The policy's serving one unless given.")
    filtered = serializers.BooleanField(
        default=True, help_text="False: the first proposal, whatever a classifier says of it."
    )
    n = serializers.IntegerField(min_value=1, max_value=MAX_COPIES, default=1, help_text="Samples of each prompt.")
    tries = serializers.IntegerField(
        min_value=1, max_value=MAX_TRIES, default=MAX_TRIES, help_text="Proposals for a sample, at most."
    )
    seed = serializers.IntegerField(min_value=0, max_value=2**31 - 1, default=0)

    def validate_prompts(self, value: list[str]) -> list[str]:
        """They say something."""
        blank = serializers.ErrorDetail("The prompt is empty.", "blank")
        if wrong := {place: [blank] for place, prompt in enumerate(value) if not prompt.strip()}:
            raise serializers.ValidationError(cast("dict[str, Any]", wrong))
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """A policy is known."""
        if "policy" not in attrs and "classifier" not in attrs:
            message = serializers.ErrorDetail("Give a policy, or a classifier.", "required")
            raise serializers.ValidationError({"policy": message})
        attrs.setdefault("policy", attrs["classifier"].policy if "classifier" in attrs else None)
        attrs.setdefault("classifier", None)
        return attrs


class SampledSerializer(serializers.Serializer[Any]):
    """One sample. No proposal was accepted: `completion` is null."""

    completion = serializers.CharField(allow_null=True)
    tries = serializers.IntegerField(help_text="Proposals up to and including it; all of them where there is none.")
    score = serializers.FloatField(allow_null=True)
    logit = serializers.FloatField(allow_null=True)


class SamplesOfPrompt(serializers.Serializer[Any]):
    """A prompt's samples."""

    prompt = serializers.CharField()
    samples = SampledSerializer(many=True)


class SampleAnswer(serializers.Serializer[Any]):
    """Samples in the order of the prompts. A completion is accepted where its score is below the threshold."""

    generator = serializers.UUIDField()
    classifier = serializers.UUIDField(allow_null=True)
    threshold = serializers.FloatField(allow_null=True)
    results = SamplesOfPrompt(many=True)


class GeneratorFilter(ByPeriod):
    """Filters of the list."""

    state = filters.ChoiceFilter(field_name="job__state", choices=JobState.choices)

    class Meta:
        model = Generator
        fields = ["name", "corpus", "base", "state"]


PERPLEXITY = {"estimate": 11.2, "low": 10.8, "high": 11.6, "level": 0.95, "method": "linearised ratio…", "n": 120}
ROW: dict[str, Any] = {
    "id": EXAMPLE_ID,
    "name": "fairy tales",
    "corpus": EXAMPLE_ID,
    "base": "EleutherAI/gpt-neo-2.7B",
    "state": "succeeded",
    "error": "",
    "job": EXAMPLE_ID,
    "recipe": {"base": "EleutherAI/gpt-neo-2.7B", "learning_rate": 5e-6, "block_tokens": 1024, "seed": 0},
    "seed": 0,
    "environment": {"torch": "2.13.0"},
    "before": {**PERPLEXITY, "estimate": 17.5},
    "after": PERPLEXITY,
    "sha256": "9f2c…",
    "created_by": EXAMPLE_ID,
    "created_at": EXAMPLE_TIME,
}
DETAIL = {**ROW, "metrics": {"curve": [{"step": 100, "blocks": 1600, "loss": 2.6, "validation_loss": 2.5}]}}
ASKED = {
    "name": "fairy tales",
    "corpus": "eight books",
    "recipe": {"base": "EleutherAI/gpt-neo-2.7B", "block_tokens": 1024, "batch_size": 4},
}
SAMPLE_ASKED: dict[str, Any] = {
    "prompts": ["The rain fell. Ada ran to the gate. It was locked."],
    "policy": "injury",
    "n": 2,
    "tries": 100,
}
SAMPLED = {
    "generator": EXAMPLE_ID,
    "classifier": EXAMPLE_ID,
    "threshold": 0.0017,
    "results": [
        {
            "prompt": SAMPLE_ASKED["prompts"][0],
            "samples": [
                {"completion": "She climbed over it.", "tries": 2, "score": 0.0004, "logit": -7.8},
                {"completion": None, "tries": 100, "score": None, "logit": None},
            ],
        }
    ],
}


@extend_schema_view(list=extend_schema(examples=example(ROW, status=200)))
class Generators(Resource[Generator]):
    """Generators tuned here."""

    resource = "generators"
    queryset = Generator.objects.select_related("artifact", "job", "corpus")
    filterset_class = GeneratorFilter
    serializer_class = GeneratorSerializer
    unchanging = frozenset({"sample"})

    def list(self, request: Request) -> Response:
        """Generators, a page at a time."""
        return self.listed(self.get_queryset())

    @extend_schema(responses=GeneratorDetailSerializer, examples=example(DETAIL, status=200))
    def retrieve(self, request: Request, pk: str) -> Response:
        """One generator with its curve. A round asks it as `{"name": "causal_lm", "config": {"model":
        "generator:NAME"}}`."""
        return self._shown(self.get_object())

    @extend_schema(
        request=GeneratorRequest,
        responses={202: GeneratorDetailSerializer},
        examples=[*example(ASKED), *example({**DETAIL, "state": "queued", "metrics": {}}, status=202)],
    )
    def create(self, request: Request) -> Response:
        """Tunes a causal LM on a corpus' stories, as a job. The same name, corpus and recipe again is the same
        generator; one whose job failed or was cancelled then goes on from its last checkpoint."""
        data = dict(request.data) if isinstance(request.data, dict) else {}
        target = {name: data.pop(name) for name in map(str, GeneratorTarget().fields) if name in data}
        about = self.input(GeneratorTarget, target)
        recipe = RecipeRequest.model_validate(data).recipe
        return self._shown(generator_create(recipe=recipe, created_by=self.user, **about), status=202)

    @extend_schema(
        request=SampleInput, responses=SampleAnswer, examples=[*example(SAMPLE_ASKED), *example(SAMPLED, status=200)]
    )
    @action(detail=True, methods=["post"])
    def sample(self, request: Request, pk: str) -> Response:
        """Completes a few prompts now, by rejection sampling: the first of at most `tries` proposals that the
        classifier accepts. Nothing is kept. For more, `POST /samplings`."""
        generator = self.get_object()
        asked = self.input(SampleInput)
        policy, filtered = asked["policy"], asked["filtered"]
        classifier = filter_of(policy, asked["classifier"]) if filtered else None
        found = generator_sample(
            generator=generator,
            policy=policy,
            prompts=asked["prompts"],
            classifier=classifier,
            copies=asked["n"],
            tries=asked["tries"],
            seed=asked["seed"],
        )
        results = [
            {"prompt": prompt, "samples": samples} for prompt, samples in zip(asked["prompts"], found, strict=True)
        ]
        data = {
            "generator": generator.pk,
            "classifier": classifier and classifier.pk,
            "threshold": classifier and classifier.threshold,
            "results": results,
        }
        return Response(SampleAnswer(data).data)

    def _shown(self, row: Generator, status: int = 200) -> Response:
        return Response(GeneratorDetailSerializer(row).data, status=status)
