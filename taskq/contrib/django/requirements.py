"""What the stores need of Django before they can be made."""

from __future__ import annotations

from taskq.exceptions import ImproperlyConfigured


def require_django(setting: str, value: str) -> None:
    """See that Django's apps are there.

    Args:
        setting: that names a store of Django's.
        value: its value.

    Raises:
        ImproperlyConfigured: they are not.
    """
    wanted = f"{setting}={value!r}"
    try:
        from django.apps import apps
        from django.conf import settings
    except ModuleNotFoundError as exc:
        raise ImproperlyConfigured(f"{wanted} needs Django: pip install 'taskq[django]'") from exc
    if not settings.configured and not apps.ready:
        raise ImproperlyConfigured(
            f"{wanted} needs Django's settings: set DJANGO_SETTINGS_MODULE, and call "
            "django.setup() before the app is used"
        )
    if not apps.ready:
        raise ImproperlyConfigured(
            f"{wanted} is used before Django is set up: call django.setup() first"
        )
    if not apps.is_installed("taskq.contrib.django"):
        raise ImproperlyConfigured(
            f"{wanted}: add 'taskq.contrib.django' to INSTALLED_APPS, and run manage.py migrate"
        )
