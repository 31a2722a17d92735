"""Every path of the site."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from webapi.api.health import healthz, readyz
from webapi.api.prometheus import metrics

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
    path("api/v1/", include("webapi.api.urls")),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
    path("", include("webapi.pages.urls")),
]

handler400 = "webapi.api.problems.bad_request"
handler403 = "webapi.api.problems.permission_denied"
handler404 = "webapi.api.problems.not_found"
handler500 = "webapi.api.problems.server_error"
