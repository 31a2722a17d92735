"""The site as a WSGI application: `gunicorn webapi.wsgi`."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapi.settings")
application = get_wsgi_application()
