"""Corpora: folders of stories that snippets are drawn from."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from webapi.api.base import Resource, StrictSerializer
from webapi.api.filters import Filters
from webapi.api.schema import EXAMPLE_ID, EXAMPLE_TIME, example
from webapi.models import Corpus
from webapi.services.corpora import corpus_create


class CorpusSerializer(serializers.ModelSerializer[Corpus]):
    """A corpus, and what ingestion kept and refused of it."""

    counts = serializers.DictField(read_only=True)

    class Meta:
        model = Corpus
        fields = ["id", "name", "path", "simulated", "counts", "created_at"]
        read_only_fields = fields


class CorpusInput(StrictSerializer):
    """A corpus to add."""

    name = serializers.CharField(max_length=200)
    path = serializers.CharField(max_length=1000, help_text="A folder of .txt files on the server.")


class CorpusFilter(Filters):
    """Filters of the list."""

    class Meta:
        model = Corpus
        fields = ["name", "simulated"]


ASKED = {"name": "eight books", "path": "/data/stories"}
ROW: dict[str, Any] = {
    "id": EXAMPLE_ID,
    **ASKED,
    "simulated": False,
    "counts": {"stories": 8, "kept": 6000, "refused": {"language": 12}},
    "created_at": EXAMPLE_TIME,
}


@extend_schema_view(
    list=extend_schema(examples=example(ROW, status=200)), retrieve=extend_schema(examples=example(ROW, status=200))
)
class Corpora(Resource[Corpus]):
    """Corpora. A round's first stage reads them."""

    resource = "corpora"
    queryset = Corpus.objects.all()
    filterset_class = CorpusFilter
    serializer_class = CorpusSerializer

    def list(self, request: Request) -> Response:
        """Corpora, a page at a time."""
        return self.listed(self.get_queryset())

    def retrieve(self, request: Request, pk: str) -> Response:
        """One corpus."""
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(
        request=CorpusInput,
        responses={201: CorpusSerializer},
        examples=[*example(ASKED), *example({**ROW, "counts": {}}, status=201)],
    )
    def create(self, request: Request) -> Response:
        """Adds a corpus over a folder on the server. The same name and folder again is the same corpus."""
        corpus = corpus_create(**self.input(CorpusInput))
        return Response(self.get_serializer(corpus).data, status=201)
