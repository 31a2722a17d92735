"""The start: where each role begins; signing in and out."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import redirect

from webapi.pages.access import guard, is_open_to

START_PAGES = (("rounds", "rounds", ""), ("label", "tasks", "lease"), ("tokens", "tokens", ""))
"""(url name, resource, action): the first that is open to somebody is where they begin."""


class SignIn(LoginView):
    """The login page."""

    template_name = "pages/login.html"
    redirect_authenticated_user = True

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """With the headers of every page."""
        return guard(super().dispatch(request, *args, **kwargs))


sign_in = SignIn.as_view()
sign_out = LogoutView.as_view()


@login_required
def home(request: HttpRequest) -> HttpResponseRedirect:
    """To the first page that the reader's role has."""
    assert request.user.is_authenticated
    return redirect(next(name for name, what, action in START_PAGES if is_open_to(request.user, what, action)))
