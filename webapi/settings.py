"""Settings. Everything that differs between a laptop and a cluster comes from environment variables.

With none set: SQLite and an in-process worker under `GAUNTLET_HOME` (default `var/`). With `DATABASE_URL` and
`BROKER_URL` set: PostgreSQL and RabbitMQ, and any number of workers.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from importlib.util import find_spec
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


def env_seconds(name: str, default: float) -> float:
    """A number of seconds, more than none."""
    try:
        seconds = float(os.environ.get(name) or default)
    except ValueError:
        seconds = 0
    if not 0 < seconds < float("inf"):
        raise ImproperlyConfigured(f"{name}={os.environ[name]!r} is not a number of seconds")
    return seconds


def env_list(name: str, default: str) -> list[str]:
    """Comma-separated."""
    return [part.strip() for part in os.environ.get(name, default).split(",") if part.strip()]


def _home() -> Path:
    """The folder for all that is kept; made if need be."""
    home = Path(os.environ.get("GAUNTLET_HOME") or BASE_DIR / "var")
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "this user may not read and write there")
    except OSError as error:
        problem = "not a folder" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror
        raise ImproperlyConfigured(
            f"GAUNTLET_HOME={str(home)!r}: {problem}; set GAUNTLET_HOME to a folder that can be written to"
        ) from error
    return home


def _store() -> str:
    """`s3://bucket/prefix`, or nothing: artifacts stay under `GAUNTLET_HOME`."""
    address = os.environ.get("GAUNTLET_STORE", "").strip()
    if address and not re.fullmatch(r"s3://[^/@:?#\s]+(/[^?#\s]*)?", address):
        raise ImproperlyConfigured(
            "GAUNTLET_STORE must be s3://bucket or s3://bucket/prefix; keys and the endpoint's address have variables "
            "of their own (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL)"
        )
    return address


def _local_secret(home: Path) -> str:
    """A key kept beside the embedded database, so that sessions survive a restart on a laptop."""
    file = home / "secret_key"
    try:
        if not file.exists() or not file.stat().st_size:
            fresh = home / f".secret_key.{os.getpid()}"
            fresh.touch(mode=0o600)
            fresh.write_text(secrets.token_urlsafe(50))
            fresh.replace(file)
        return file.read_text().strip()
    except OSError as error:
        raise ImproperlyConfigured(f"{file} (or set SECRET_KEY): {error.strerror}") from error


GAUNTLET_HOME = _home()
GAUNTLET_STORE = _store()
"""Where machines that share no disk share artifacts; `GAUNTLET_HOME` is then each one's copy of what it works with."""
DATABASE_URL = os.environ.get("DATABASE_URL", "")
BROKER_URL = os.environ.get("BROKER_URL", "")
QUEUE_PREFIX = os.environ.get("QUEUE_PREFIX") or "gauntlet"
"""Before the names of queues and exchange: several installations may share a broker."""
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
SWEEP_SECONDS = env_seconds("SWEEP_SECONDS", 1)
TASK_LEASE_SECONDS = env_int("TASK_LEASE_SECONDS", 1800)
LEASES_PER_ANNOTATOR = env_int("LEASES_PER_ANNOTATOR", 100)
LEASES_PER_VENDOR = env_int("LEASES_PER_VENDOR", 10_000)
LABELING_CONTACT = os.environ.get("LABELING_CONTACT") or "the researchers who run this project"
"""Whom labelers are told to ask, e.g. a name and an address."""
AGREEMENT_LABELS = env_int("AGREEMENT_LABELS", 5_000_000)
"""How many labels a process holds in memory for the figures of agreement, the newest; about 80 bytes each."""
WEBHOOKS_TO_PRIVATE = env_bool("WEBHOOKS_TO_PRIVATE", False)
"""Whether webhooks may go to addresses of this network where other people's rounds run too."""
PUBLIC_URL = os.environ.get("PUBLIC_URL", "").rstrip("/")
"""Where the world reaches this server: vendors call back there. Empty: they are polled."""
KEY_VARIABLES = env_list("KEY_VARIABLES", "")
"""Variables, besides those that end in `_API_KEY` or `_SECRET`, that rounds and batches may name as keys."""
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
            "libraries": {"gauntlet": "webapi.pages.tags"},
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]


def _database() -> dict[str, object]:
    if DATABASE_URL:
        found = dj_database_url.parse(DATABASE_URL, conn_max_age=60, conn_health_checks=True)
        # Only the queries of `webapi.models.compiled` are prepared, once a connection has asked them so often.
        prepared = {"prepare_threshold": 5} if env_bool("PREPARE_STATEMENTS", True) else {}
        return {**found, "OPTIONS": {**found.get("OPTIONS", {}), **prepared}}
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
_PLOTLY = find_spec("plotly")
STATICFILES_DIRS: list[Path | tuple[str, Path]] = [BASE_DIR / "webapi" / "pages" / "static"]
if _PLOTLY and _PLOTLY.origin:
    # The charts' script comes with the Python package: found without importing it, served from where it lies.
    STATICFILES_DIRS.append(("vendor/plotly", Path(_PLOTLY.origin).parent / "package_data"))
WHITENOISE_USE_FINDERS = True  # one command, no collectstatic on a laptop

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": os.environ.get("LOG_LEVEL", "WARNING")},
}

# The API
MAX_UPLOAD_BYTES = env_int("MAX_UPLOAD_BYTES", 2_000_000_000)
"""Largest file that `POST /imports` takes."""
DATA_ROOTS = env_list("DATA_ROOTS", "")
"""Folders that requests may name paths in, besides `GAUNTLET_HOME`. Embedded and empty: all the server can read."""
EXPORT_LINK_SECONDS = env_int("EXPORT_LINK_SECONDS", 3600)
"""How long the link to an export's file works without a token."""
EVENTS_SECONDS = env_int("EVENTS_SECONDS", 300)
"""How long one stream of events stays open; clients come back by themselves."""
MIDDLEWARE.insert(0, "webapi.api.prometheus.TimeRequests")
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "webapi.authentication.BearerAuthentication",
        "webapi.authentication.PageSession",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["webapi.api.access.ByTable"],
    "DEFAULT_THROTTLE_CLASSES": ["webapi.api.throttling.PerUser"],
    "DEFAULT_RENDERER_CLASSES": ["webapi.api.rendering.AnyText"],
    "DEFAULT_PARSER_CLASSES": ["webapi.api.parsing.JsonBody"],
    "DEFAULT_PAGINATION_CLASS": "webapi.api.pagination.ByCursor",
    "DEFAULT_FILTER_BACKENDS": ["webapi.api.filters.ByField", "webapi.api.pagination.ByTime"],
    "DEFAULT_SCHEMA_CLASS": "webapi.api.schema.Described",
    "EXCEPTION_HANDLER": "webapi.api.problems.answer_problem",
    "URL_FORMAT_OVERRIDE": None,
    "COERCE_DECIMAL_TO_STRING": False,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Gauntlet",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SORT_OPERATION_PARAMETERS": False,
    "ENUM_NAME_OVERRIDES": {
        "RoleEnum": "webapi.models.Role",
        "AttackRoleEnum": "webapi.models.AttackRole",
        "AttackStateEnum": "webapi.models.AttackState",
        "RoundStateEnum": "webapi.models.RoundState",
        "ScoringPrecisionEnum": ["int8", "fp32", "bf16"],
        "JobStateEnum": "webapi.models.JobState",
        "BatchStateEnum": "webapi.models.BatchState",
        "LabelOutcomeOutcomeEnum": "webapi.api.labels.OUTCOMES",
        "BatchKindEnum": "webapi.models.BatchKind",
        "StandingStateEnum": "webapi.models.StandingState",
        "SourceEnum": "webapi.models.Source",
        "TaskKindEnum": ["label", "compare"],
        "TrainingPrecisionEnum": ["fp32", "bf16"],
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "webapi.api.schema.add_problems",
    ],
}
