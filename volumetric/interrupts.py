"""SIGINT and SIGTERM: one exception that no library swallows, and an end to the process where it does not arrive."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

GRACE_S = 3.5
"""From the signal to the end of the process, whatever it is doing: outputs are whole or absent at any moment."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption(BaseException):
    """SIGINT or SIGTERM.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def status(self) -> int:
        """The exit status that shells give it: 130 or 143."""
        return 128 + self.number


class _State:
    """Of this process: the signal that came, how many `held` blocks are open, and what to print in the end."""

    received: int | None = None
    depth = 0
    last_words: str | None = None


_state = _State()


@contextmanager
def interruptible(last_words: str) -> Iterator[None]:
    """Raise `Interruption` in the main thread where SIGINT or SIGTERM comes; end the process if it goes on.

    C++ code that computes for long, a destructor that swallows the exception or a thread that is waited for do not keep
    the process: `GRACE_S` after the signal, or at a second one, it ends, and its children with it.

    Args:
        last_words: printed to stderr in the end.
    """
    _state.received, _state.depth, _state.last_words = None, 0, last_words
    received, sent = socket.socketpair()
    sent.setblocking(False)
    handlers = {number: signal.signal(number, _handle) for number in _SIGNALS}
    wakeup = signal.set_wakeup_fd(sent.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(received,), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        sent.close()


@contextmanager
def held() -> Iterator[None]:
    """A block that no signal interrupts; one that came is raised at its end."""
    _state.depth += 1
    try:
        yield
    finally:
        _state.depth -= 1
    check()


def check() -> None:
    """Raise `Interruption` if a signal came and its exception was lost, as in a destructor."""
    if _state.received is not None and not _state.depth:
        raise Interruption(_state.received)


def say_last_words() -> None:
    """Print them, once."""
    if _state.last_words:
        print(_state.last_words, file=sys.stderr, flush=True)
        _state.last_words = None


def leave_last_words() -> None:
    """Print none in the end: another process speaks."""
    _state.last_words = ""


@contextmanager
def children_unsignaled() -> Iterator[None]:
    """Processes that are started in the block do not get the terminal's SIGINT: their parent decides."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def children_killed_on_error() -> Iterator[None]:
    """A block whose processes of `multiprocessing` do not finish their work where it is left by an exception."""
    try:
        yield
    except BaseException:
        kill_children()
        raise


def end_with_parent() -> None:
    """In a process of `multiprocessing`: end when the one that started it is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_after, args=(parent.join, lambda: os._exit(1)), daemon=True).start()


def _after(wait: Callable[[], None], act: Callable[[], None]) -> None:
    wait()
    act()


def _handle(number: int, _: FrameType | None) -> None:
    if _state.received is not None:
        _end(number)
    _state.received = number
    if not _state.depth:
        raise Interruption(number)


def _watch(received: socket.socket) -> None:
    """Wait for a signal's number, which the interpreter writes at once, whatever the main thread is doing."""
    with received:
        while number := received.recv(1):
            if number[0] in _SIGNALS:
                time.sleep(GRACE_S)
                _end(number[0])


def _end(number: int) -> None:
    say_last_words()
    kill_children()
    os._exit(128 + number)


def kill_children() -> None:
    """Kill the processes of `multiprocessing` that this one has started."""
    for child in multiprocessing.active_children():
        child.kill()


def _leave_to_parent() -> None:
    """In a forked child: the parent decides, and ends it."""
    if _state.last_words is not None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _state.last_words = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
