"""The tables, one tight family a file, and their state moves."""

from webapi.models.accounts import Annotator, ApiToken, IssuedToken, Role, User
from webapi.models.artifacts import Artifact
from webapi.models.attacks import Attack, AttackCandidate, AttackRole, AttackSeed, AttackState
from webapi.models.classifiers import Classifier, Promotion
from webapi.models.corpora import Corpus, Story
from webapi.models.embeddings import EmbeddingIndex, EmbeddingShard, IndexState, ScoreShard, ShardState
from webapi.models.evaluations import Evaluation, EvaluationKind, EvaluationState
from webapi.models.generators import Generator
from webapi.models.jobs import Job, JobState
from webapi.models.labels import AnnotatorModel, Consensus, ConsensusChange, Label, Preference, Preferred
from webapi.models.policies import Policy
from webapi.models.quality import Gold, Standing, StandingState
from webapi.models.queue import Batch, BatchKind, BatchState, Lease, LeaseState, Task, TaskState
from webapi.models.requests import IdempotentRequest
from webapi.models.rounds import Round, RoundState, Stage, StageState
from webapi.models.snapshots import DatasetSnapshot
from webapi.models.snippets import Pool, RoundSnippet, Score, Snippet, Source, SplitName
from webapi.models.sweeps import RunState, Sweep, SweepState, TrainingRun
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
    "EmbeddingIndex",
    "EmbeddingShard",
    "Evaluation",
    "EvaluationKind",
    "EvaluationState",
    "Generator",
    "Gold",
    "IdempotentRequest",
    "IndexState",
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
    "Promotion",
    "Role",
    "Round",
    "RoundSnippet",
    "RoundState",
    "RunState",
    "Score",
    "ScoreShard",
    "ShardState",
    "Snippet",
    "Source",
    "SplitName",
    "Stage",
    "StageState",
    "Standing",
    "StandingState",
    "Story",
    "Sweep",
    "SweepState",
    "Task",
    "TaskState",
    "TrainingRun",
    "User",
    "WebhookDelivery",
    "WebhookEndpoint",
]
