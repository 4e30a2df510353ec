"""What an exchange does with a message, for brokers that have no exchanges of their own."""

from collections.abc import Iterable

from taskq.exceptions import ImproperlyConfigured


def matching_queues(bindings: Iterable[tuple[str, str, str]], routing_key: str) -> list[str]:
    """Return the queues that a message to an exchange goes to.

    Args:
        bindings: what is bound to that one exchange: the exchange's type (``direct``,
            ``topic`` or ``fanout``), the binding's routing key, and the queue's name.
        routing_key: the message's.

    Returns:
        Each queue once, in the order of the bindings.

    Raises:
        ImproperlyConfigured: the exchange is of another type.
    """
    found: dict[str, None] = {}
    for kind, key, queue in bindings:
        if _matches(kind, key, routing_key):
            found[queue] = None
    return list(found)


def _matches(kind: str, key: str, routing_key: str) -> bool:
    match kind:
        case "direct":
            return key == routing_key
        case "topic":
            return topic_matches(key, routing_key)
        case "fanout":
            return True
    raise ImproperlyConfigured(
        f"exchange type {kind!r} needs an AMQP broker such as RabbitMQ: "
        "elsewhere there are direct, topic and fanout"
    )


def topic_matches(pattern: str, routing_key: str) -> bool:
    """Tell whether a topic binding takes a message.

    Keys are words between dots. In a pattern, ``*`` stands for one word and ``#`` for any
    number of them, none included (AMQP 0-9-1, section 3.1.3.3).
    """
    if pattern == "#" or pattern == routing_key:
        return True
    words, wanted = routing_key.split("."), pattern.split(".")
    at = want = 0
    # Where to go on if the words taken by the last # were too few.
    retry_at = retry_want = -1
    while at < len(words):
        if want < len(wanted) and wanted[want] == "#":
            want += 1
            retry_at, retry_want = at, want
        elif want < len(wanted) and wanted[want] in ("*", words[at]):
            at, want = at + 1, want + 1
        elif retry_want >= 0:
            retry_at += 1
            at, want = retry_at, retry_want
        else:
            return False
    return all(word == "#" for word in wanted[want:])
