"""Makes an API token for a user and prints its secret, once."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from webapi.errors import DomainError
from webapi.models import Role, User
from webapi.permissions import role_of
from webapi.services.tokens import MAX_DAYS, token_create

ABOUT = __doc__ or ""  # inside the class that name is the class' own


class Command(BaseCommand):
    """`manage.py create_token NAME`."""

    help = ABOUT

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options."""
        parser.add_argument("username")
        parser.add_argument("--name", default="made by manage.py", help="what it is for")
        parser.add_argument("--role", choices=Role.values, default="", help="the user's own, or a lesser one")
        parser.add_argument("--days", type=int, default=90, help=f"how long it lives, at most {MAX_DAYS} (default: 90)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prints the secret on standard output and the rest on standard error."""
        user = User.objects.filter(username=options["username"]).first()
        if user is None:
            raise CommandError(f"there is no user {options['username']!r}; make one with `manage.py create_user`")
        if not 1 <= options["days"] <= MAX_DAYS:
            raise CommandError(f"--days must lie between 1 and {MAX_DAYS}")
        try:
            made = token_create(
                user=user,
                role=role_of(user),
                name=options["name"],
                wanted_role=options["role"],
                days=options["days"],
            )
        except DomainError as error:
            raise CommandError(error.message) from error
        self.stderr.write(f"{made.row.name}: {made.row.role}, until {made.row.expires_at:%Y-%m-%d}. Shown this once:")
        self.stdout.write(made.secret)
