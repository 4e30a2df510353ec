"""Hiding passwords and keys in settings that are shown to people."""

import re
from collections.abc import Mapping

MASK = "********"

_SECRET_NAME = re.compile(
    r"(^|_)(password|passwd|passphrase|secret|token)(_|$)|(?<!routing)_key(_|$)|^key$"
)
# The name before the colon is no secret; without a colon the whole part is shown.
_PASSWORD_IN_URL = re.compile(r"(://[^/?#\s:@]*):[^/?#\s]*@")
_SECRET_IN_QUERY = re.compile(r"([?&][^=&]*(?:password|secret|token|key)[^=&]*)=[^&]*", re.I)


def masked(name: str, value: object) -> object:
    """Return the value with its secrets masked, at any depth.

    Args:
        name: what the value is called; ``..._password`` is masked whole.
        value: a setting, or something inside of one.
    """
    if value is not None and value != "" and _SECRET_NAME.search(name.lower()):
        return MASK
    match value:
        case str():
            hidden = _PASSWORD_IN_URL.sub(rf"\1:{MASK}@", value)
            return _SECRET_IN_QUERY.sub(rf"\1={MASK}", hidden) if "://" in value else hidden
        case Mapping():
            return {key: masked(str(key), item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(masked("", item) for item in value) if _is_plain(value) else value
    return value


def _is_plain(value: object) -> bool:
    # A named tuple takes its items one by one.
    return type(value) in (list, tuple)
