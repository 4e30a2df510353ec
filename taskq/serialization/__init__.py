"""From values to bytes and back: serializers, typed values and compression."""

from taskq.serialization.compression import compress, decompress
from taskq.serialization.registry import Encoded, SerializerRegistry
from taskq.serialization.types import TypeTable

__all__ = ["Encoded", "SerializerRegistry", "TypeTable", "compress", "decompress"]
