#!/usr/bin/env python
"""Gauntlet's commands: `python manage.py help` lists them."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line


def main() -> None:
    """Hands over to Django. A wrong setting is told in one line, an interruption in none."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapi.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Wrong setting: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
