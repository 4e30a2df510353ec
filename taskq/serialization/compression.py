"""Compression of message bodies and results, under the content types that kombu uses.

Decompression stops at a limit: a few kilobytes can stand for gigabytes.
"""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple, Protocol

from taskq.exceptions import DecodeError, ImproperlyConfigured, TaskQError

#: Bytes that one body may unfold to, if nothing else is said.
MAX_SIZE = 1 << 30
#: How a compressed result begins, as Celery marks it; the content type and a zero byte follow.
COMPRESSED = b"\0celery-compressed\0"


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Method(NamedTuple):
    content_type: str
    names: tuple[str, ...]
    # The modules are loaded on first use: few apps compress.
    modules: tuple[str, ...]
    install: str
    decompressor: Callable[[Any], _Decompressor]


class _Brotli:
    """brotli's decompressor with the method names of the others."""

    def __init__(self, module: Any) -> None:
        self._inner = module.Decompressor()

    @property
    def eof(self) -> bool:
        return bool(self._inner.is_finished())

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        # It may give less than it could: ask until there is nothing left.
        parts = [self._inner.process(data, output_buffer_limit=max_length)]
        size = len(parts[0])
        while parts[-1] and size < max_length and not self.eof:
            parts.append(self._inner.process(b"", output_buffer_limit=max_length - size))
            size += len(parts[-1])
        return b"".join(parts)


_METHODS = (
    _Method(
        "application/x-gzip",
        ("gzip", "zlib"),
        ("zlib",),
        "a Python with zlib",
        # 32 more: read the headers of zlib and of gzip.
        lambda zlib: zlib.decompressobj(zlib.MAX_WBITS | 32),
    ),
    _Method(
        "application/x-bz2",
        ("bzip2", "bzip"),
        ("bz2",),
        "a Python with bz2",
        lambda bz2: bz2.BZ2Decompressor(),
    ),
    _Method(
        "application/x-lzma",
        ("lzma", "xz"),
        ("lzma",),
        "a Python with lzma",
        lambda lzma: lzma.LZMADecompressor(),
    ),
    _Method(
        "application/x-brotli",
        ("brotli",),
        ("brotli",),
        "pip install taskq[brotli]",
        _Brotli,
    ),
    _Method(
        "application/zstd",
        ("zstd", "zstandard"),
        ("compression.zstd", "backports.zstd"),
        "pip install taskq[zstd]",
        lambda zstd: zstd.ZstdDecompressor(),
    ),
)


def compress(body: bytes, name: str) -> tuple[bytes, str]:
    """Compress bytes.

    Args:
        body: the bytes.
        name: gzip, bzip2, lzma, brotli, zstd, or a content type.

    Returns:
        The compressed bytes and the method's content type, for the message's header
        ``compression``.

    Raises:
        ImproperlyConfigured: the method is not known, or its module is not installed.
    """
    method = _method(name)
    if method is None:
        known = ", ".join(method.names[0] for method in _METHODS)
        raise ImproperlyConfigured(f"unknown compression {name!r}: the known ones are {known}")
    compressed: bytes = _module(method).compress(body)
    return compressed, method.content_type


def decompress(body: bytes, content_type: str, max_size: int = MAX_SIZE) -> bytes:
    """Undo ``compress``.

    Args:
        body: the compressed bytes.
        content_type: the method's content type, or its name.
        max_size: bytes that the result may have.

    Raises:
        DecodeError: the method is not known, the bytes are not right or unfold to more
            than allowed.
        ImproperlyConfigured: the method's module is not installed.
    """
    method = _method(content_type)
    if method is None:
        known = ", ".join(method.content_type for method in _METHODS)
        raise DecodeError(f"unknown compression {content_type!r}: the known ones are {known}")
    try:
        decompressor = method.decompressor(_module(method))
        result = decompressor.decompress(body, max_size + 1)
    except TaskQError:
        raise
    except Exception as exc:
        # Each module has an error of its own.
        raise DecodeError(
            f"data is not valid {content_type}: {exc}; it begins with {body[:20]!r}"
        ) from exc
    if len(result) > max_size:
        raise DecodeError(
            f"{len(body)} bytes of {content_type} unfold to more than {max_size} bytes: "
            "send less, or keep the data elsewhere and send where it is"
        )
    if not decompressor.eof:
        raise DecodeError(f"data of type {content_type} is cut off after {len(body)} bytes")
    return result


def compress_result(document: bytes, name: str) -> bytes:
    """A result document, compressed and marked as such; see ``compress``."""
    compressed, content_type = compress(document, name)
    return COMPRESSED + content_type.encode() + b"\0" + compressed


def decompress_result(payload: bytes) -> bytes:
    """Undo ``compress_result``; what is not compressed is returned as it is.

    Raises:
        DecodeError: see ``decompress``.
        ImproperlyConfigured: likewise.
    """
    if not payload.startswith(COMPRESSED):
        return payload
    content_type, _, compressed = payload[len(COMPRESSED) :].partition(b"\0")
    return decompress(compressed, content_type.decode(errors="replace"))


def _method(name: str) -> _Method | None:
    for method in _METHODS:
        if name == method.content_type or name in method.names:
            return method
    return None


def _module(method: _Method) -> ModuleType:
    for name in method.modules:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise ImproperlyConfigured(f"compression {method.names[0]!r} needs {method.install}")
