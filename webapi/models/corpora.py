"""Corpora: the texts that snippets are drawn from, and the stories in them."""

from __future__ import annotations

from django.db import models

from webapi.models.base import Row


class Corpus(Row):
    """A named collection of stories, read from a folder on the server."""

    name = models.CharField(max_length=200, unique=True)
    path = models.CharField(max_length=1000, blank=True)
    simulated = models.BooleanField(default=False)
    """Stories of a simulated world, said wherever a person sees them."""
    counts = models.JSONField(default=dict)
    """What ingestion kept and refused, by reason."""

    class Meta(Row.Meta):
        verbose_name_plural = "corpora"

    def __str__(self) -> str:
        return self.name


class Story(Row):
    """One text of a corpus. Its words stay in the file; the row is what snippets point back to."""

    corpus = models.ForeignKey(Corpus, on_delete=models.CASCADE, related_name="stories")
    name = models.CharField(max_length=500)
    characters = models.PositiveIntegerField(default=0)

    class Meta(Row.Meta):
        verbose_name_plural = "stories"
        constraints = [models.UniqueConstraint(fields=["corpus", "name"], name="story_once_per_corpus")]

    def __str__(self) -> str:
        return self.name
