"""The one Django app."""

from django.apps import AppConfig


class WebapiConfig(AppConfig):
    """Tables, API and pages."""

    name = "webapi"
    default_auto_field = "django.db.models.BigAutoField"
