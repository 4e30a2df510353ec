"""From values to bytes and back: serializers, typed values and compression."""

from taskq.serialization.compression import (
    COMPRESSED,
    compress,
    compress_result,
    decompress,
    decompress_result,
)
from taskq.serialization.registry import Encoded, SerializerRegistry
from taskq.serialization.types import TypeTable

__all__ = [
    "COMPRESSED",
    "Encoded",
    "SerializerRegistry",
    "TypeTable",
    "compress",
    "compress_result",
    "decompress",
    "decompress_result",
]
