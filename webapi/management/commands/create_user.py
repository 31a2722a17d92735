"""Makes a user with a role, or gives an existing one another role or password."""

from __future__ import annotations

import getpass
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from webapi.models import Role, User

ABOUT = __doc__ or ""  # inside the class that name is the class' own


class Command(BaseCommand):
    """`manage.py create_user NAME --role ROLE`."""

    help = ABOUT

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options."""
        parser.add_argument("username")
        parser.add_argument("--role", choices=Role.values, default=Role.VIEWER, help="default: viewer")
        parser.add_argument("--password", help="asked for if it is not given")
        parser.add_argument("--no-password", action="store_true", help="for machines: they use tokens (create_token)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Writes the user. An admin may also use the Django admin."""
        user = User.objects.filter(username=options["username"]).first() or User(username=options["username"])
        created = user._state.adding
        user.role = options["role"]
        user.is_staff = user.is_superuser = user.role == Role.ADMIN
        if options["no_password"]:
            user.set_unusable_password()
        else:
            user.set_password(self._password(user, options["password"]))
        user.save()
        self.stdout.write(f"{user.username} is {'now' if created else 'from now on'} a {user.role}.")

    def _password(self, user: User, given: str | None) -> str:
        password = getpass.getpass() if given is None else given
        try:
            validate_password(password, user)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        return password
