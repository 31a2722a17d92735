"""Settings. Everything that differs between a laptop and a cluster comes from environment variables.

With none set: SQLite and an in-process worker under `GAUNTLET_HOME` (default `var/`). With `DATABASE_URL` and
`BROKER_URL` set: PostgreSQL and RabbitMQ, and any number of workers.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent


def env_bool(name: str, default: bool) -> bool:
    """`1/true/yes/on` or `0/false/no/off`; anything else is an error, not a guess."""
    value = os.environ.get(name, "").strip().lower()
    if value in {"", "1", "true", "yes", "on", "0", "false", "no", "off"}:
        return default if not value else value in {"1", "true", "yes", "on"}
    raise ImproperlyConfigured(f"{name}={value!r} is neither true nor false")


def env_int(name: str, default: int) -> int:
    """A whole number."""
    try:
        return int(os.environ.get(name) or default)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}={os.environ[name]!r} is not a whole number") from error


def env_list(name: str, default: str) -> list[str]:
    """Comma-separated."""
    return [part.strip() for part in os.environ.get(name, default).split(",") if part.strip()]


def _local_secret(home: Path) -> str:
    """A key kept beside the embedded database, so that sessions survive a restart on a laptop."""
    file = home / "secret_key"
    if not file.exists():
        home.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(50))
    return file.read_text().strip()


GAUNTLET_HOME = Path(os.environ.get("GAUNTLET_HOME") or BASE_DIR / "var")
DATABASE_URL = os.environ.get("DATABASE_URL", "")
BROKER_URL = os.environ.get("BROKER_URL", "")
EMBEDDED = not BROKER_URL
"""Whether jobs run on a worker thread of this process, with nothing to start."""

DEBUG = env_bool("DEBUG", False)
SECRET_KEY = os.environ.get("SECRET_KEY") or _local_secret(GAUNTLET_HOME)
ALLOWED_HOSTS = env_list("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env_list("CSRF_TRUSTED_ORIGINS", "")
HTTPS = env_bool("HTTPS", False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None

JOB_LEASE_SECONDS = env_int("JOB_LEASE_SECONDS", 30)
"""How long a dead worker's job stays away. Heartbeats come at a third of it."""
JOB_MAX_ATTEMPTS = env_int("JOB_MAX_ATTEMPTS", 5)
SWEEP_SECONDS = float(os.environ.get("SWEEP_SECONDS") or 1)
TASK_LEASE_SECONDS = env_int("TASK_LEASE_SECONDS", 1800)
MAX_BODY_BYTES = env_int("MAX_BODY_BYTES", 10_000_000)
MAX_STORY_BYTES = env_int("MAX_STORY_BYTES", 50_000_000)
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
API_RATE = os.environ.get("API_RATE", "6000/min")

INSTALLED_APPS = [
    "webapi",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "webapi.urls"
WSGI_APPLICATION = "webapi.wsgi.application"
AUTH_USER_MODEL = "webapi.User"
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/login/"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "webapi" / "pages" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


def _database() -> dict[str, object]:
    if DATABASE_URL:
        return {**dj_database_url.parse(DATABASE_URL, conn_max_age=60, conn_health_checks=True)}
    GAUNTLET_HOME.mkdir(parents=True, exist_ok=True)
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": GAUNTLET_HOME / "gauntlet.sqlite3",
        "OPTIONS": {
            # Writers queue for the lock instead of failing; readers never wait for them.
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }


DATABASES = {"default": _database()}
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "webapi" / "pages" / "static"]
WHITENOISE_USE_FINDERS = True  # one command, no collectstatic on a laptop

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": os.environ.get("LOG_LEVEL", "WARNING")},
}
