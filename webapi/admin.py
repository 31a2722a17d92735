"""The Django admin: people are managed here, everything else is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.db.models import Model
from django.http import HttpRequest

from webapi import models

if TYPE_CHECKING:
    RowAdmin = admin.ModelAdmin[Any]
    PeopleAdmin = UserAdmin[models.User]
else:
    RowAdmin, PeopleAdmin = admin.ModelAdmin, UserAdmin


@admin.register(models.User)
class Users(PeopleAdmin):
    """Users, with their role."""

    list_display = ("username", "role", "is_active", "last_login")
    list_filter = ("role", "is_active")
    fieldsets = (*UserAdmin.fieldsets, ("Role", {"fields": ("role",)}))  # type: ignore[misc]
    add_fieldsets = (*UserAdmin.add_fieldsets, ("Role", {"fields": ("role",)}))


class Looked(RowAdmin):
    """Rows that the loop writes: shown, never changed by hand."""

    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        """No."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """No."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """No."""
        return False


TABLES: dict[type[Model], tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    models.Policy: (("name", "version", "created_at"), ("name",), ("name",)),
    models.Corpus: (("name", "path", "simulated", "created_at"), ("simulated",), ("name",)),
    models.Story: (("name", "corpus", "characters"), ("corpus",), ("name",)),
    models.Snippet: (("completion", "source", "split", "policy"), ("source", "split", "policy"), ("content_hash",)),
    models.Round: (("name", "policy", "corpus", "state", "created_at"), ("state", "policy"), ("name",)),
    models.Stage: (("name", "round", "state", "runs", "started_at", "finished_at"), ("state", "name"), ()),
    models.Job: (("kind", "shard", "queue", "state", "done", "total", "attempts"), ("state", "queue", "kind"), ()),
    models.Batch: (("name", "round", "adapter", "state", "vendor_user"), ("state", "adapter"), ("name",)),
    models.Task: (("id", "batch", "state", "wanted", "taken", "labelled"), ("state",), ()),
    models.Lease: (("id", "annotator", "state", "expires_at"), ("state",), ()),
    models.Label: (("choice", "annotator", "revision", "seconds", "created_at"), ("choice",), ()),
    models.Consensus: (("choice", "rule", "labels", "updated_at"), ("choice", "rule"), ()),
    models.Classifier: (
        ("name", "policy", "condition", "encoder", "threshold", "promoted_at"),
        ("condition",),
        ("name",),
    ),
    models.Promotion: (("classifier", "policy", "serving", "by", "created_at", "rolled_back_at"), ("serving",), ()),
    models.Sweep: (("name", "round", "policy", "state", "created_at", "finished_at"), ("state",), ("name",)),
    models.TrainingRun: (("sweep", "position", "learning_rate", "seed", "state", "fnr"), ("state",), ()),
    models.Evaluation: (("name", "classifier", "kind", "state", "created_at"), ("kind", "state"), ()),
    models.EmbeddingIndex: (("policy", "encoder", "version", "state", "follows"), ("state",), ("encoder",)),
    models.EmbeddingShard: (("number", "index", "stream", "count", "state"), ("state",), ()),
    models.ScoreShard: (("classifier", "count", "created_at"), (), ()),
    models.Generator: (("name", "corpus", "base", "created_at"), ("corpus",), ("name",)),
    models.Artifact: (("path", "kind", "size", "created_at"), ("kind",), ("path",)),
    models.DatasetSnapshot: (("condition", "round", "size"), ("condition",), ()),
    models.ApiToken: (("name", "user", "role", "expires_at", "revoked_at", "last_used_at"), ("role",), ("name",)),
    models.Annotator: (("name", "vendor", "staff", "simulated", "user"), ("staff", "simulated"), ("name",)),
}
"""By table: columns, filters, searched fields."""

for model, (columns, filters, searched) in TABLES.items():
    parts = {"list_display": columns, "list_filter": filters, "search_fields": searched}
    admin.site.register(model, type(f"{model.__name__}Looked", (Looked,), parts))
