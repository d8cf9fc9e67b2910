"""The futex of Linux: sleep until another process wakes the word, in tens of microseconds."""

from __future__ import annotations

import ctypes
import functools
import platform

_SYSCALL_NUMBERS = {"x86_64": 202, "aarch64": 98}
_WAIT, _WAKE = 0, 1  # without FUTEX_PRIVATE_FLAG: the word is shared between processes
_EVERYONE = 2**31 - 1
_NANOSECONDS = 1_000_000_000

_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (
    *(ctypes.c_long, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32),
    *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int),
)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


@functools.cache
def syscall_number(machine: str | None = None) -> int:
    """Gives the futex system call's number.

    Raises:
        OSError: this machine is not one of those the squeezer runs on.
    """
    name = machine or platform.machine()
    if name not in _SYSCALL_NUMBERS:
        raise OSError(f"no futex system call is known for machine {name!r}: use one of {sorted(_SYSCALL_NUMBERS)}")
    return _SYSCALL_NUMBERS[name]


def wait(address: int, expected: int, timeout_ns: int) -> None:
    """Sleeps until the 32-bit word at `address` is woken, unless it already differs from `expected`.

    May return early (a signal, a spurious wake), so callers look at the word again.
    """
    timeout = _Timespec(*divmod(max(0, timeout_ns), _NANOSECONDS))
    _syscall(syscall_number(), address, _WAIT, expected, ctypes.addressof(timeout), None, 0)


def wake(address: int) -> None:
    """Wakes everyone who sleeps on the word at `address`."""
    _syscall(syscall_number(), address, _WAKE, _EVERYONE, None, None, 0)
