"""The paths of the pages."""

from __future__ import annotations

from django.urls import URLPattern, path

from webapi.pages import (
    agreement,
    annotators,
    classifiers,
    compare,
    home,
    label,
    labeling,
    my_figures,
    report,
    round_page,
    rounds,
    snippet,
    snippets,
    tokens,
    webhooks,
)

urlpatterns: list[URLPattern] = [
    path("", home.home, name="home"),
    path("login/", home.sign_in, name="login"),
    path("logout/", home.sign_out, name="logout"),
    path("rounds/", rounds.rounds, name="rounds"),
    path("rounds/<uuid:key>/", round_page.round_, name="round"),
    path("rounds/<uuid:key>/progress", round_page.progress_fragment, name="round-progress"),
    path("rounds/<uuid:key>/funnel", round_page.funnel_fragment, name="round-funnel"),
    path("rounds/<uuid:key>/controls", round_page.controls_fragment, name="round-controls"),
    path("rounds/<uuid:key>/cancel/", round_page.confirm_cancel, name="round-cancel"),
    path("rounds/<uuid:key>/report/", report.report, name="round-report"),
    path("rounds/<uuid:key>/report.html", report.standalone, name="round-report-html"),
    path("rounds/<uuid:key>/<str:name>", round_page.move, name="round-move"),
    path("snippets/", snippets.snippets, name="snippets"),
    path("snippets/<uuid:key>/", snippet.snippet, name="snippet"),
    path("labeling/queue/", labeling.queue, name="queue"),
    path("labeling/agreement/", agreement.agreement, name="agreement"),
    path("labeling/agreement/figures", agreement.figures_fragment, name="agreement-figures"),
    path("labeling/agreement/disagreements", agreement.disagreements_fragment, name="agreement-disagreements"),
    path("labeling/annotators/", annotators.annotators, name="annotators"),
    path("labeling/annotators/<uuid:key>/", annotators.annotator, name="annotator"),
    path("labeling/annotators/<uuid:key>/<str:name>", annotators.move, name="annotator-move"),
    path("label/", label.label, name="label"),
    path("compare/", compare.compare, name="compare"),
    path("me/", my_figures.my_figures, name="my-figures"),
    path("classifiers/", classifiers.classifiers, name="classifiers"),
    path("classifiers/<uuid:key>/", classifiers.classifier, name="classifier"),
    path("settings/tokens/", tokens.tokens, name="tokens"),
    path("settings/tokens/<uuid:key>/revoke", tokens.revoke, name="token-revoke"),
    path("settings/webhooks/", webhooks.webhooks, name="webhooks"),
    path("settings/webhooks/<uuid:key>/", webhooks.webhook, name="webhook"),
    path("settings/webhooks/<uuid:key>/rotate", webhooks.rotate, name="webhook-rotate"),
    path("settings/webhooks/<uuid:key>/<str:name>", webhooks.move, name="webhook-move"),
    path("settings/webhooks/<uuid:key>/<uuid:delivery>/redeliver", webhooks.redeliver, name="webhook-redeliver"),
]
