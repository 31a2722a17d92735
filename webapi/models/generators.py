"""Generators fine-tuned here: one a row, with the corpus it learned from and what it gained."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from webapi.models.artifacts import Artifact
from webapi.models.base import Row
from webapi.models.corpora import Corpus
from webapi.models.jobs import Job, JobState

TUNE_GENERATOR = "tune_generator"
"""Kind of the job that tunes one."""


class Generator(Row):
    """A causal LM tuned on a corpus' stories. It belongs to no policy: any round may ask it for completions."""

    name = models.CharField(max_length=100, unique=True)
    corpus = models.ForeignKey(Corpus, on_delete=models.PROTECT, related_name="generators")
    base = models.CharField(max_length=1000, blank=True)
    """The model that it went on from; empty: it was trained from nothing."""
    recipe = models.JSONField(default=dict)
    """`engine.generation.tuning.TuningRecipe`."""
    environment = models.JSONField(default=dict, blank=True)
    """What it was tuned with: versions, device."""
    metrics = models.JSONField(default=dict, blank=True)
    """`engine.generation.tuning.TuningResult`, once it is there."""
    artifact = models.ForeignKey(Artifact, null=True, blank=True, on_delete=models.PROTECT, related_name="generators")
    job = models.ForeignKey(Job, on_delete=models.PROTECT, related_name="generators")
    """The one that tunes it, or did; its state is the generator's."""
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)

    def __str__(self) -> str:
        return self.name

    @property
    def state(self) -> str:
        """A `JobState`."""
        return self.job.state

    @property
    def ready(self) -> bool:
        """Whether its weights are there."""
        return self.artifact_id is not None and self.job.state == JobState.SUCCEEDED

    def finish(self, artifact: Artifact, metrics: dict[str, object], environment: dict[str, object]) -> None:
        """Notes what the tuning made; noting it again changes nothing."""
        Generator.objects.filter(pk=self.pk).update(artifact=artifact, metrics=metrics, environment=environment)
