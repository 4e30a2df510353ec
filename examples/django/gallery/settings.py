"""The settings of the project; those of taskq stand at the end."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

# Of an example; a real project keeps its key to itself, and DEBUG off.
SECRET_KEY = os.environ.get("SECRET_KEY", "of an example")
DEBUG = True
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "taskq.contrib.django",
    "photos",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
ROOT_URLCONF = "gallery.urls"
WSGI_APPLICATION = "gallery.wsgi.application"

# PostgreSQL if the environment names a database (PGHOST, PGUSER and PGPASSWORD say where), or a
# file. Web server, workers and beat write to that: the options let them wait for each other.
if "PGDATABASE" in os.environ:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": os.environ["PGDATABASE"],
        },
    }
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": BASE_DIR / "db.sqlite3",
            "OPTIONS": {
                "init_command": "PRAGMA journal_mode=WAL",
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
            },
        },
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

USE_TZ = True
TIME_ZONE = "Europe/Berlin"
STATIC_URL = "static/"
MEDIA_URL = "media/"
MEDIA_ROOT = BASE_DIR / "media"

# Mail is written to files, one each.
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = BASE_DIR / "mail"
DEFAULT_FROM_EMAIL = "gallery@example.com"
CURATOR = "curator@example.com"

# Messages lie in the file taskq.db, unless the environment says TASKQ_BROKER_URL=redis://localhost.
# Results and the schedule are kept in the database, where the admin shows them.
TASKQ_RESULT_BACKEND = "django-db"
TASKQ_BEAT_SCHEDULER = "django"
TASKQ_BEAT_SCHEDULE = {
    "report": {"task": "photos.tasks.report", "schedule": "0 7 * * *"},
}
