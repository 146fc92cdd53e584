"""Compressed files: .gz, .zst, .bz2 and .xz are read as the bytes that they hold.

Opening and reading raises one of `UNREADABLE`, which `unreadable` turns into a message that names the file.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from twostage.common.errors import UserError

_READ_BYTES = 1 << 20
# The largest window that `zstd --ultra --long=31` uses.
_MAX_ZSTD_WINDOW = 1 << 31


class _ChunkStream(io.RawIOBase):
    """A readable stream over an iterator of byte chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = next(self._chunks, b"")
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _zstd_chunks(path: Path) -> Iterator[bytes]:
    """Yield the decompressed bytes of a .zst file of one or more frames.

    Raises:
        EOFError: the file is damaged, or ends within a frame (which the library's own reader does not detect).
    """
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW)
    frame = decompressor.decompressobj()
    started = False
    with path.open("rb") as stream:
        while packed := stream.read(_READ_BYTES):
            while packed:
                try:
                    data = frame.decompress(packed)
                except zstandard.ZstdError as error:
                    raise EOFError(str(error)) from None
                started = True
                if data:
                    yield data
                packed = b""
                if frame.eof:
                    packed = frame.unused_data
                    frame, started = decompressor.decompressobj(), False
    if started:
        raise EOFError("the file ends within a frame")


_OPEN: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.GzipFile,
    ".zst": lambda path: io.BufferedReader(_ChunkStream(_zstd_chunks(path)), _READ_BYTES),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
#: What opening and reading a file may raise, because it is damaged, truncated, absent or not permitted.
UNREADABLE = (EOFError, OSError, zlib.error, lzma.LZMAError)
#: Endings of compressed files.
PACKINGS = tuple(_OPEN)


def unpacked_name(name: str) -> str:
    """`a.jsonl.gz` -> `a.jsonl`; other names stay."""
    return next((name.removesuffix(packing) for packing in PACKINGS if name.endswith(packing)), name)


def open_unpacked(path: Path) -> IO[bytes]:
    """Open a file for reading, decompressed if its ending says that it is compressed.

    Raises:
        OSError, EOFError: the file can't be opened, or has no bytes although its ending says that it is compressed. Reading
            the stream may raise any of `UNREADABLE`.
    """
    if path.suffix not in _OPEN:
        return path.open("rb")
    if not path.stat().st_size:
        raise EOFError("the file has no bytes")
    stream: IO[bytes] = _OPEN[path.suffix](path)
    return stream


def unreadable(path: Path, error: BaseException, place: str = "") -> UserError:
    """Return an error of `UNREADABLE` as a message with the fix. `place`: how far the file was read, e.g. " after line 3"."""
    if isinstance(error, OSError) and error.errno is not None:
        return UserError(
            f"{path}: can't be read{place} ({error.strerror}); correct the path or its permissions"
        )
    return UserError(
        f"{path}: truncated or damaged {path.suffix} data{place} ({error}); download or compress the file again"
    )
