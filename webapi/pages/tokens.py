"""API tokens: made, shown once, revoked."""

from __future__ import annotations

from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST

from webapi.errors import DomainError
from webapi.models import ApiToken, IssuedToken, Role
from webapi.pages.access import PageRequest, page
from webapi.permissions import TOKEN_ROLES, role_of
from webapi.services.tokens import MAX_DAYS, token_create, token_revoke


class TokenForm(forms.Form):
    """What a new token is called, what it may do and how long."""

    name = forms.CharField(max_length=100, error_messages={"required": "Say what the token is for."})
    role = forms.ChoiceField()
    days = forms.IntegerField(
        min_value=1,
        max_value=MAX_DAYS,
        initial=90,
        error_messages={
            "min_value": "A token lives for a day at least.",
            "max_value": f"A token lives for {MAX_DAYS} days at most.",
            "invalid": "Give a whole number of days.",
        },
    )

    def __init__(self, data: dict[str, str] | None, *, role: str) -> None:
        super().__init__(data, initial={"role": role})
        allowed = [(value, str(words)) for value, words in Role.choices if value in TOKEN_ROLES[role]]
        self.fields["role"] = forms.ChoiceField(choices=allowed)


@page("tokens")
def tokens(request: PageRequest) -> HttpResponse:
    """The reader's tokens, and a form that makes one. The secret is in the answer to the form, and nowhere after."""
    role = role_of(request.user)
    form = TokenForm(request.POST.dict() if request.method == "POST" else None, role=role)
    issued: IssuedToken | None = None
    if form.is_valid():
        asked = form.cleaned_data
        issued = token_create(
            user=request.user, role=role, name=asked["name"], wanted_role=asked["role"], days=asked["days"]
        )
        form = TokenForm(None, role=role)
    context = {"tokens": request.user.api_tokens.order_by("-id"), "form": form, "issued": issued, "now": timezone.now()}
    return render(request, "pages/tokens.html", context, status=400 if form.errors else 200)


@page("tokens")
@require_POST
def revoke(request: PageRequest, key: UUID) -> HttpResponse:
    """Ends one of the reader's tokens."""
    token = get_object_or_404(ApiToken, pk=key, user=request.user)
    try:
        token_revoke(token=token)
        messages.success(request, f"“{token.name}” is revoked: requests with it are refused from now on.")
    except DomainError as error:
        messages.warning(request, error.message)
    return redirect("tokens")
