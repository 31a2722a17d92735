"""Samplings: completions that a classifier accepts, for any number of prompts, as a job."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from pydantic import Field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from webapi.api.base import Resource
from webapi.api.fields import ClassifierField, PolicyField
from webapi.api.jobs import ROW, JobFilter, JobSerializer
from webapi.api.schema import EXAMPLE_ID, example
from webapi.models import Job
from webapi.services.generators import sampling_create
from workers.sample import SAMPLE_COMPLETIONS, Sampling


class SamplingRequest(Sampling):
    """What to sample, and through which filter."""

    policy: str = Field(description="Key of a policy, or its name (then its newest version).")
    classifier: str | None = Field(None, description="Key of a classifier, or its name; the policy's serving one.")


class SamplingTarget(serializers.Serializer[Any]):
    """Whose rules, and which filter."""

    policy = PolicyField()
    classifier = ClassifierField(required=False, allow_null=True, default=None)


ASKED: dict[str, Any] = {
    "policy": "injury",
    "generator": {"name": "causal_lm", "config": {"model": "generator:fairy tales"}},
    "prompts": {"round": EXAMPLE_ID, "split": "test", "limit": 5000},
    "tries": 100,
}
RATE = {"level": 0.95, "method": "Clopper-Pearson on effective n…"}
RESULT: dict[str, Any] = {
    "prompts": 5000,
    "samples": 5000,
    "accepted": 4996,
    "proposals": 10950,
    "rejected": {"estimate": 0.54, "low": 0.52, "high": 0.56, **RATE, "failures": 5954, "n": 10950},
    "without": {"estimate": 0.0008, "low": 0.0002, "high": 0.002, **RATE, "failures": 4, "n": 5000},
    "path": f"samples/{EXAMPLE_ID}",
    "left_out": 120,
    "generator": EXAMPLE_ID,
}
QUEUED = {**ROW, "kind": SAMPLE_COMPLETIONS, "queue": "generation"}
DONE = {**QUEUED, "state": "succeeded", "done": 5000, "total": 5000, "result": RESULT}


@extend_schema_view(
    list=extend_schema(examples=example(DONE, status=200)), retrieve=extend_schema(examples=example(DONE, status=200))
)
class Samplings(Resource[Job]):
    """Samplings, each a job."""

    resource = "samplings"
    queryset = Job.objects.select_related("stage").filter(kind=SAMPLE_COMPLETIONS)
    filterset_class = JobFilter
    serializer_class = JobSerializer

    def list(self, request: Request) -> Response:
        """Samplings, a page at a time."""
        return self.listed(self.get_queryset())

    def retrieve(self, request: Request, pk: str) -> Response:
        """One sampling: a job whose result tells the share of proposals rejected and of samples without a completion.
        `path` is the folder of its decisions in the store, as Parquet."""
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(
        request=SamplingRequest,
        responses={202: JobSerializer},
        examples=[*example(ASKED), *example(QUEUED, status=202)],
    )
    def create(self, request: Request) -> Response:
        """Completes prompts by rejection sampling: for each the first of at most `tries` proposals that the classifier
        accepts at its threshold. Of a round's prompts, those from stories that a tuned generator was trained on are
        left out."""
        data = dict(request.data) if isinstance(request.data, dict) else {}
        target = {name: data.pop(name) for name in map(str, SamplingTarget().fields) if name in data}
        about = self.input(SamplingTarget, target)
        job = sampling_create(sampling=Sampling.model_validate(data), created_by=self.user, **about)
        return Response(self.get_serializer(job).data, status=202)
