"""Snippets: prompt and completion with where they come from, and the classifiers' scores of them."""

from __future__ import annotations

from django.db import models

from engine.snippets import Snippet as SnippetText
from webapi.models.accounts import Annotator
from webapi.models.base import Row
from webapi.models.corpora import Story
from webapi.models.policies import Policy


class Source(models.TextChoices):
    """How a snippet came to be."""

    CORPUS = "corpus"
    GENERATED = "generated"
    MANUAL = "manual"
    PARAPHRASE = "paraphrase"
    REWRITE = "rewrite"
    ADVERSARY = "adversary"


class SplitName(models.TextChoices):
    """Train, validation or test: fixed by the root's hash, so that what derives from a snippet stays in its split."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class Snippet(Row):
    """A prompt and a completion under a policy."""

    policy = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="snippets")
    prompt = models.TextField(blank=True)
    completion = models.TextField()
    content_hash = models.CharField(max_length=64)
    source = models.CharField(max_length=16, choices=Source)
    split = models.CharField(max_length=16, choices=SplitName)
    story = models.ForeignKey(Story, null=True, blank=True, on_delete=models.PROTECT, related_name="snippets")
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="children")
    root_hash = models.CharField(max_length=64, db_index=True)
    """Content hash of the first ancestor; decides the split."""
    author = models.ForeignKey(Annotator, null=True, blank=True, on_delete=models.SET_NULL, related_name="written")
    external_id = models.CharField(max_length=200, blank=True)
    """The importer's own id. Rows with different ids stay apart even where their text is the same."""
    details = models.JSONField(default=dict, blank=True)
    """What only the source knows: the enrichment rule that fitted, the attack's settings."""

    class Meta(Row.Meta):
        constraints = [
            models.UniqueConstraint(fields=["policy", "content_hash", "external_id"], name="snippet_once_per_policy")
        ]
        indexes = [
            models.Index(fields=["policy", "source", "split"], name="snippet_by_source"),
            models.Index(fields=["policy", "external_id"], name="snippet_by_external_id"),
        ]

    def __str__(self) -> str:
        return self.completion[:60]

    @property
    def text(self) -> SnippetText:
        """The snippet as the engine takes it."""
        return SnippetText(self.prompt, self.completion)


class Pool(models.TextChoices):
    """What a snippet is for in a round."""

    INITIAL = "initial"
    """Labelled first, trains the baseline."""
    CANDIDATE = "candidate"
    """Unlabelled; selection chooses from these."""
    TEST = "test"
    """Held-out in-distribution snippets."""
    SEED = "seed"
    """Held-out enriched snippets, labelled to find failures whose re-tellings make the held-out adversarial set."""
    ATTACK = "attack"
    """What an attack found; selection chooses from these too."""
    ATTACK_TEST = "attack_test"
    """Re-tellings of held-out failures, kept whichever classifier accepts them."""
    MEASURED = "measured"
    """What attacks on held-out failures found; it tells their yields, and nothing is trained on it."""


class RoundSnippet(Row):
    """A snippet's place in a round."""

    round = models.ForeignKey("Round", on_delete=models.CASCADE, related_name="members")
    snippet = models.ForeignKey(Snippet, on_delete=models.CASCADE, related_name="memberships")
    pool = models.CharField(max_length=16, choices=Pool)
    selected = models.BooleanField(default=False)
    details = models.JSONField(default=dict, blank=True)
    """Why it is here: acquisition value, logit at the time of the attack, the prompt's number."""

    class Meta(Row.Meta):
        constraints = [models.UniqueConstraint(fields=["round", "snippet"], name="snippet_once_per_round")]
        indexes = [models.Index(fields=["round", "pool"], name="round_snippet_by_pool")]

    def __str__(self) -> str:
        return f"{self.pool}: {self.snippet_id}"


class Score(Row):
    """One classifier's logit margin for one snippet."""

    classifier = models.ForeignKey("Classifier", on_delete=models.CASCADE, related_name="scores")
    snippet = models.ForeignKey(Snippet, on_delete=models.CASCADE, related_name="scores")
    logit = models.FloatField()

    class Meta(Row.Meta):
        constraints = [models.UniqueConstraint(fields=["classifier", "snippet"], name="score_once")]

    def __str__(self) -> str:
        return f"{self.logit:.3f}"
