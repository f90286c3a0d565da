"""The worker's process: JSON objects, one a line, over its standard input and output, each with a deadline.

The protocol itself is in `process.py`.
"""

import json
import os
import select
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from interp.errors import InterpError

TAIL = 12
"""Lines of the process's standard error that an error quotes."""


class Child:
    """A running process in a group of its own; it ends with this object, and after every failure."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        self._unread = b""
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self.process = subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            start_new_session=True,
        )
        self._end = weakref.finalize(self, _end, self.process, self.errors)

    @property
    def alive(self) -> bool:
        """Whether it was neither closed nor failed."""
        return self._end.alive

    def close(self) -> None:
        """Kill the process and whatever it started; a second time does nothing."""
        self._end()

    def send(self, request: Mapping[str, Any], timeout: float, parameter: str) -> None:
        """Write one object; `timeout` is in seconds, `parameter` the setting that gives more."""
        assert self.process.stdin is not None
        pipe, deadline = self.process.stdin.fileno(), time.monotonic() + timeout
        data = json.dumps(request).encode() + b"\n"
        os.set_blocking(pipe, False)
        while data:
            if not _wait(pipe, select.POLLOUT, deadline):
                raise self._late(timeout, "the request to be read", parameter)
            try:
                data = data[os.write(pipe, data) :]
            except BrokenPipeError as error:
                raise self._died() from error

    def receive(self, waiting: str, timeout: float, parameter: str) -> dict[str, Any]:
        """The next object; `waiting` says for what."""
        assert self.process.stdout is not None
        pipe, deadline = self.process.stdout.fileno(), time.monotonic() + timeout
        while b"\n" not in self._unread:
            if not _wait(pipe, select.POLLIN, deadline):
                raise self._late(timeout, waiting, parameter)
            data = os.read(pipe, 1 << 16)
            if not data:
                raise self._died()
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        try:
            reply = json.loads(line)
        except ValueError:
            reply = None
        if not isinstance(reply, dict):
            raise self.failed(f"a line of its worker is no JSON object: {line.decode(errors='replace')[:200]!r}")
        return reply

    def failed(self, what: str) -> InterpError:
        """The error for a process that is of no more use; ends it."""
        kill(self.process)
        lines = tail(self.errors)
        self.close()
        heard = "its last lines on standard error:\n" + "\n".join(lines) if lines else "nothing on standard error"
        return InterpError(f"Show-o2: {what}; {heard}")

    def _late(self, timeout: float, waiting: str, parameter: str) -> InterpError:
        return self.failed(f"waited {timeout:g} s for {waiting}; give a longer {parameter} if it only is slow")

    def _died(self) -> InterpError:
        """The error for a pipe that closed: its process is ending, with a code that killing it does not change."""
        kill(self.process)
        code = self.process.returncode
        if code >= 0:
            return self.failed(f"its process ended with exit code {code}")
        memory = "; was memory short?" if code == -signal.SIGKILL else ""
        return self.failed(f"its process was killed by signal {-code}{memory}")


def tail(errors: IO[bytes]) -> list[str]:
    """The last lines of a file that a process writes, read without moving the position it writes at."""
    size = os.fstat(errors.fileno()).st_size
    text = os.pread(errors.fileno(), 8192, max(0, size - 8192)).decode(errors="replace")
    return [line.rstrip() for line in text.splitlines() if line.strip()][-TAIL:]


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process's group and reap the process; nothing once it is reaped."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(pipe: int, event: int, deadline: float) -> bool:
    """Whether a pipe can be read or written before the deadline; a closed one can."""
    poll = select.poll()
    poll.register(pipe, event)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


def _end(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    kill(process)
    for stream in (process.stdin, process.stdout, errors):
        if stream is not None:
            stream.close()
