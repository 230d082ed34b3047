"""Runs a piece of work in a forked process that may take so much time and so much more memory, and no more."""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Each = TypeVar("Each")
SECONDS = 10.0  # of a processor that is free: on a busier machine as many times longer as work waits for each
MEMORY = 1 << 30
ENDED = "\n"


def in_limits(cases: Sequence[Each], work: Callable[[Each], str]) -> Iterator[tuple[Each, str]]:
    """Each of ``cases`` with what ``work`` said of it, or with how it broke the limits, which begin anew for each.

    The process is forked once for all of them, and again after each that it did not survive.
    """
    left = list(cases)
    while left:
        done = 0
        for said in _forked(left, work):
            yield left[done], said
            done += 1
        left = left[done:]


def _forked(cases: Sequence[Each], work: Callable[[Each], str]) -> Iterator[str]:
    """What was said of the first of ``cases``, as far as one process gets."""
    sys.stdout.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _limit()
        with os.fdopen(writing, "w", buffering=1, encoding="utf-8", errors="replace") as pipe:
            for case in cases:
                try:
                    said = work(case)
                except BaseException as fault:  # noqa: BLE001 - whatever it is, the parent tells it
                    said = f"{type(fault).__name__} escaped: {fault}"
                pipe.write(" ".join(said.split())[:300] + ENDED)
        os._exit(0)
    os.close(writing)
    told, begun = b"", time.monotonic()
    try:
        while True:
            seconds = SECONDS * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
            ready, _, _ = select.select([reading], [], [], max(0.0, begun + seconds - time.monotonic()))
            if not ready:
                yield f"it hung for {seconds:.0f} s"
                return
            block = os.read(reading, 65536)
            if not block:
                status = os.waitpid(child, 0)[1]
                child = 0
                if status:
                    yield f"it ended the process ({os.waitstatus_to_exitcode(status)})"
                return
            told += block
            *lines, told = told.split(ENDED.encode())
            for line in lines:
                yield line.decode()
            begun = time.monotonic()
    finally:
        os.close(reading)
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _limit() -> None:
    with open("/proc/self/statm", encoding="ascii") as about:
        now = int(about.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, resource.RLIM_INFINITY))
