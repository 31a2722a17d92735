"""The tables, one tight family a file, and their state moves."""

from webapi.models.accounts import Annotator, ApiToken, IssuedToken, Role, User
from webapi.models.artifacts import Artifact, DatasetSnapshot
from webapi.models.classifiers import Classifier, Evaluation
from webapi.models.corpora import Corpus, Story
from webapi.models.jobs import Job, JobState
from webapi.models.labels import Batch, BatchState, Consensus, Label, Lease, LeaseState, Task, TaskState
from webapi.models.policies import Policy
from webapi.models.requests import IdempotentRequest
from webapi.models.rounds import Round, RoundState, Stage, StageState
from webapi.models.snippets import Pool, RoundSnippet, Score, Snippet, Source, SplitName

__all__ = [
    "Annotator",
    "ApiToken",
    "Artifact",
    "Batch",
    "BatchState",
    "Classifier",
    "Consensus",
    "Corpus",
    "DatasetSnapshot",
    "Evaluation",
    "IdempotentRequest",
    "IssuedToken",
    "Job",
    "JobState",
    "Label",
    "Lease",
    "LeaseState",
    "Policy",
    "Pool",
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
    "Story",
    "Task",
    "TaskState",
    "User",
]
