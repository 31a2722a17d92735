"""The API's resources, by path."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path, re_path
from rest_framework.routers import SimpleRouter

from webapi.api.annotators import Annotators
from webapi.api.attacks import Attacks
from webapi.api.batches import Batches
from webapi.api.callbacks import Callbacks
from webapi.api.classifiers import Classifiers
from webapi.api.corpora import Corpora
from webapi.api.evaluations import Evaluations
from webapi.api.exports import ExportFile, Exports
from webapi.api.filter import FilterTexts
from webapi.api.generators import Generators
from webapi.api.gold import GoldResource
from webapi.api.imports import Imports
from webapi.api.indexes import Indexes
from webapi.api.jobs import Jobs
from webapi.api.labels import Labels
from webapi.api.me import ErrorCodes, Me, Nothing
from webapi.api.metrics import Metrics
from webapi.api.ml_backend import MlBackend
from webapi.api.policies import Policies
from webapi.api.rounds import Rounds
from webapi.api.samplings import Samplings
from webapi.api.snapshots import SnapshotFile, Snapshots
from webapi.api.snippets import Snippets
from webapi.api.sweeps import Sweeps
from webapi.api.tasks import Tasks
from webapi.api.tokens import Tokens
from webapi.api.webhooks import Webhooks

router = SimpleRouter(trailing_slash=False)
router.register("policies", Policies, "policies")
router.register("corpora", Corpora, "corpora")
router.register("snippets", Snippets, "snippets")
router.register("gold", GoldResource, "gold")
router.register("batches", Batches, "batches")
router.register("attacks", Attacks, "attacks")
router.register("annotators", Annotators, "annotators")
router.register("tasks", Tasks, "tasks")
router.register("labels", Labels, "labels")
router.register("rounds", Rounds, "rounds")
router.register("classifiers", Classifiers, "classifiers")
router.register("generators", Generators, "generators")
router.register("filter", FilterTexts, "filter")
router.register("samplings", Samplings, "samplings")
router.register("evaluations", Evaluations, "evaluations")
router.register("snapshots", Snapshots, "snapshots")
router.register("sweeps", Sweeps, "sweeps")
router.register("indexes", Indexes, "indexes")
router.register("jobs", Jobs, "jobs")
router.register("imports", Imports, "imports")
router.register("exports", Exports, "exports")
router.register("metrics", Metrics, "metrics")
router.register("webhooks", Webhooks, "webhooks")
router.register("tokens", Tokens, "tokens")
router.register("me", Me, "me")
router.register("errors", ErrorCodes, "errors")

urlpatterns: list[URLPattern | URLResolver] = [
    *router.urls,
    path("exports/<uuid:key>/file", ExportFile.as_view(), name="exports-file"),
    path("snapshots/<uuid:key>/file", SnapshotFile.as_view(), name="snapshots-file"),
    path("callbacks/<path:address>", Callbacks.as_view(), name="callback"),
    path("ml/<uuid:key>/<str:asked>", MlBackend.as_view(), name="ml-backend"),
    re_path("", Nothing.as_view(), name="nothing"),
]
