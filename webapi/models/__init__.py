"""The tables, one tight family a file, and their state moves."""

from webapi.models.accounts import Annotator, ApiToken, IssuedToken, Role, User
from webapi.models.artifacts import Artifact, DatasetSnapshot
from webapi.models.attacks import Attack, AttackCandidate, AttackRole, AttackSeed, AttackState
from webapi.models.classifiers import Classifier, Evaluation
from webapi.models.corpora import Corpus, Story
from webapi.models.generators import Generator
from webapi.models.jobs import Job, JobState
from webapi.models.labels import AnnotatorModel, Consensus, ConsensusChange, Label, Preference, Preferred
from webapi.models.policies import Policy
from webapi.models.quality import Gold, Standing, StandingState
from webapi.models.queue import Batch, BatchKind, BatchState, Lease, LeaseState, Task, TaskState
from webapi.models.requests import IdempotentRequest
from webapi.models.rounds import Round, RoundState, Stage, StageState
from webapi.models.snippets import Pool, RoundSnippet, Score, Snippet, Source, SplitName
from webapi.models.webhooks import DeliveryState, WebhookDelivery, WebhookEndpoint

__all__ = [
    "Annotator",
    "AnnotatorModel",
    "ApiToken",
    "Artifact",
    "Attack",
    "AttackCandidate",
    "AttackRole",
    "AttackSeed",
    "AttackState",
    "Batch",
    "BatchKind",
    "BatchState",
    "Classifier",
    "Consensus",
    "ConsensusChange",
    "Corpus",
    "DatasetSnapshot",
    "DeliveryState",
    "Evaluation",
    "Generator",
    "Gold",
    "IdempotentRequest",
    "IssuedToken",
    "Job",
    "JobState",
    "Label",
    "Lease",
    "LeaseState",
    "Policy",
    "Pool",
    "Preference",
    "Preferred",
    "Role",
    "Round",
    "RoundSnippet",
    "RoundState",
    "Score",
    "Snippet",
    "Source",
    "SplitName",
    "Stage",
    "StageState",
    "Standing",
    "StandingState",
    "Story",
    "Task",
    "TaskState",
    "User",
    "WebhookDelivery",
    "WebhookEndpoint",
]
