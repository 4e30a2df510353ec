"""What brokers and result stores read from a URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from taskq.exceptions import ImproperlyConfigured

REDIS_SCHEMES = frozenset(
    {
        *("redis", "rediss", "unix", "redis+socket"),
        *("sentinel", "sentinels", "rediscluster", "redisclusters"),
    }
)

AMQP_SCHEMES = frozenset({"amqp", "amqps", "pyamqp", "pika", "pikas"})


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


@contextmanager
def driver(packages: tuple[str, ...], extra: str, scheme: str) -> Iterator[None]:
    """Import a driver within this block.

    Args:
        packages: what is imported.
        extra: the extra of taskq that installs it.
        scheme: the URL's scheme that needs it.

    Raises:
        ImproperlyConfigured: it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        package = (exc.name or "").partition(".")[0]
        if package not in packages:
            raise
        raise ImproperlyConfigured(
            f"{scheme}:// needs the package {package}: pip install 'taskq[{extra}]'"
        ) from exc
