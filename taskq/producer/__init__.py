"""From a call to a published message."""

from taskq.producer.building import time_zone
from taskq.producer.options import CallOptions, SendOptions, known_options
from taskq.producer.producer import Producer

__all__ = ["CallOptions", "Producer", "SendOptions", "known_options", "time_zone"]
