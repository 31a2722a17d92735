#!/usr/bin/env python
"""Gauntlet's commands: `python manage.py help` lists them."""

import os
import sys


def main() -> None:
    """Hands over to Django."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapi.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
