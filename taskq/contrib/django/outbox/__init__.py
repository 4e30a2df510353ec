"""The transactional outbox: messages are written with the data that they are about."""

from taskq.contrib.django.outbox.relay import Relay
from taskq.contrib.django.outbox.service import RelayService
from taskq.contrib.django.outbox.writing import Outbox

__all__ = ["Outbox", "Relay", "RelayService"]
