"""What brokers and result stores read from a URL."""

from __future__ import annotations

from taskq.exceptions import ImproperlyConfigured


def scheme_of(url: str) -> str:
    """The part before ``://``.

    Raises:
        ImproperlyConfigured: there is none.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or not scheme:
        raise ImproperlyConfigured(
            f"{url!r} is no URL: write for example sqlite:///taskq.db or memory://"
        )
    return scheme.lower()


def hide_password(url: str) -> str:
    """The URL as it may be shown."""
    scheme, separator, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    return f"{scheme}{separator}{user}{colon}{'***' if colon else ''}{at}{place}"
