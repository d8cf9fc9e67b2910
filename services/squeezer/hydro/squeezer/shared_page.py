"""A page of 64-bit words in a file that two processes map, and that says which life it belongs to.

A page outlives a killed process. So its header carries what a reader needs to refuse it: what it is (magic), its layout
(version), the boot whose monotonic clock its stamps are of, and the life (epoch) of the process that made it.
Each word has one writer; words are aligned, so a read sees a whole value.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import secrets
import sys
from functools import lru_cache
from pathlib import Path
from typing import Final

from hydro.squeezer import futex

VERSION: Final = 2
HEADER_WORDS: Final = 8
_MAGIC, _VERSION, _BOOT, _EPOCH, _CREATOR = range(5)
_WORD_BYTES: Final = 8


class PageRejected(Exception):
    """The file is not a page that this process can use: missing, damaged, of another layout or of another boot."""


@lru_cache(maxsize=1)
def boot_number() -> int:
    """Gives the number of this boot: stamps of the monotonic clock mean nothing after a restart of the machine."""
    text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return int(text.replace("-", ""), 16) & (2**64 - 1)


class SharedPage:
    """The words of one mapped file.

    `words` is public because the data plane reads it at every bubble, where each attribute look-up costs.
    """

    def __init__(self, path: Path, descriptor: int, word_count: int) -> None:
        self.path = path
        self._map = mmap.mmap(descriptor, word_count * _WORD_BYTES)
        self.words = (ctypes.c_uint64 * word_count).from_buffer(self._map)
        self._address = ctypes.addressof(self.words)

    @classmethod
    def create(cls, path: Path, *, magic: int, word_count: int) -> SharedPage:
        """Makes a page of zeros with a new epoch, in place of any older file of that name.

        The file appears under its name only when its header stands, so nobody attaches to half a page.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o660)
        try:
            os.ftruncate(descriptor, word_count * _WORD_BYTES)
            page = cls(path, descriptor, word_count)
        finally:
            os.close(descriptor)
        header = (magic, VERSION, boot_number(), secrets.randbits(63) | 1, os.getpid())
        for index, value in enumerate(header):
            page.words[index] = value
        unfinished.replace(path)
        return page

    @classmethod
    def attach(cls, path: Path, *, magic: int, word_count: int) -> SharedPage:
        """Maps a page that another process made.

        Raises:
            PageRejected: the file is missing, too short, of another kind, layout or boot.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise PageRejected(f"shared page {path} cannot be opened: {error.strerror}") from error
        try:
            size = os.fstat(descriptor).st_size
            if size != word_count * _WORD_BYTES:
                raise PageRejected(f"shared page {path} has {size} bytes, not {word_count * _WORD_BYTES}")
            page = cls(path, descriptor, word_count)
        finally:
            os.close(descriptor)
        page._check_header(magic)
        return page

    def _check_header(self, magic: int) -> None:
        for index, name, wanted in (
            (_MAGIC, "magic", magic),
            (_VERSION, "version", VERSION),
            (_BOOT, "boot", boot_number()),
        ):
            found = self.words[index]
            if found != wanted:
                raise PageRejected(f"shared page {self.path} has {name} {found:#x}, not {wanted:#x}: do not use it")

    @property
    def epoch(self) -> int:
        """The life of the page: another number each time a page is made."""
        return self.words[_EPOCH]

    @property
    def creator_pid(self) -> int:
        """Process that made the page, in its own process namespace."""
        return self.words[_CREATOR]

    def write_text(self, first_word: int, word_count: int, text: str) -> None:
        """Writes a text, padded with zeros, over some words.

        Raises:
            ValueError: it is too long.
        """
        encoded = text.encode()
        if len(encoded) > word_count * _WORD_BYTES:
            raise ValueError(f"text: {text!r} has more than {word_count * _WORD_BYTES} bytes; shorten it")
        padded = encoded.ljust(word_count * _WORD_BYTES, b"\0")
        ctypes.memmove(self._address + first_word * _WORD_BYTES, padded, len(padded))

    def read_text(self, first_word: int, word_count: int) -> str:
        """Reads what `write_text` wrote; what is no text has replacement characters."""
        content = ctypes.string_at(self._address + first_word * _WORD_BYTES, word_count * _WORD_BYTES)
        return content.rstrip(b"\0").decode(errors="replace")

    def wait(self, word: int, expected: int, timeout_ns: int) -> None:
        """Sleeps while the low 32 bits of a word are `expected`, at most `timeout_ns`."""
        futex.wait(self._low_half(word), expected & 0xFFFFFFFF, timeout_ns)

    def wake(self, word: int) -> None:
        """Wakes whoever waits on a word."""
        futex.wake(self._low_half(word))

    def _low_half(self, word: int) -> int:
        return self._address + word * _WORD_BYTES + (0 if sys.byteorder == "little" else 4)

    def is_mapped_by(self, pid: int) -> bool:
        """A process of that number, in our own process namespace, has this page mapped."""
        try:
            maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        return f"/{self.path.name}" in maps

    def unlink(self) -> None:
        """Takes the file's name away; who has it mapped keeps the page."""
        self.path.unlink(missing_ok=True)
