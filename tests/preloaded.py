"""Processes of the product that begin where it is loaded already.

To import it and to read its knowledge takes almost a second of a processor, and tests start it a hundred times. So each
process of tests has one more in which that is done; whatever is started is a copy of it (fork) that takes over the
environment, the folder and the streams of who asks, and runs the command from there. What is about a start itself, or
about what the system shows of a service (its command, its environment), is started by its command instead.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NoReturn

# In bytes: more than any environment of the tests, and less than the system takes as one message.
_LARGEST = 100_000


class Process:
    """A command of the product, started where that is loaded: what tests need of subprocess.Popen. `streams` are its
    input, its output and where it complains; `first` is a program that is run there before it."""

    def __init__(
        self,
        address: str,
        *arguments: str,
        cwd: Path,
        env: Mapping[str, str],
        streams: tuple[int, int, int],
        first: str = "",
    ) -> None:
        asked = json.dumps({"arguments": arguments, "cwd": str(cwd), "env": dict(env), "first": first}).encode()
        self.returncode: int | None = None
        self._says = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._says.connect(address)
        socket.send_fds(self._says, [asked], streams)
        self.pid = int(self._says.recv(_LARGEST))

    def poll(self) -> int | None:
        """How it has ended; None while it runs."""
        if self.returncode is None and select.select([self._says], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """How it ends, as Popen says it. Raises TimeoutError where it has not ended after so many seconds."""
        if self.returncode is None:
            self._says.settimeout(timeout)
            with self._says:
                self.returncode = int(self._says.recv(_LARGEST))
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Tell it something, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Tell it to stop."""
        self.send_signal(signal.SIGTERM)


def run(*arguments: str, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """How a command of the product ends, started where that is loaded."""
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complained:
        with Path(os.devnull).open("rb") as nothing:
            streams = nothing.fileno(), said.fileno(), complained.fileno()
            code = Process(loaded(), *arguments, cwd=cwd, env=env, streams=streams).wait(60)
        for each in (said, complained):
            each.seek(0)
        return subprocess.CompletedProcess(arguments, code, said.read(), complained.read())


@cache
def loaded() -> str:
    """The address of the process in which the product is loaded, one for this process, with which it ends."""
    address = str(Path(tempfile.mkdtemp(), "asked"))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SITBONE_")}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen()
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.preloaded", str(listener.fileno())],
            cwd=Path(__file__).parents[1],
            env=environ,
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
        )
    # Its input ends with this process, however that ends.
    atexit.register(process.communicate)
    return address


def script(file: Path) -> None:
    """Write a program that is the command `sitbone`, begun where the product is loaded."""
    file.write_text(f'#!/bin/sh\nexec {sys.executable} -S -m tests.preloaded {loaded()} "$@"\n')
    file.chmod(0o755)


def main(listener: socket.socket) -> None:
    """Load the product, and start what is asked for, until the input ends."""
    from service.app import create_app  # noqa: PLC0415
    from service.audit import open_audit  # noqa: PLC0415
    from service.release import reload, suspension  # noqa: F401, PLC0415
    from service.server import serve, tracing  # noqa: F401, PLC0415
    from service.settings import Settings  # noqa: PLC0415
    from tests import once  # noqa: PLC0415

    with once.made_once(), once.read_once():
        create_app(Settings())
        with tempfile.TemporaryDirectory() as folder:
            if audit := open_audit(Settings(audit=Path(folder))):
                audit.engine.dispose()
        gc.collect()
        gc.freeze()
        # Nobody waits for who waits for what was started.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            asked, _address = listener.accept()
            with asked:
                if os.fork() == 0:
                    listener.close()
                    _start(asked)


def _start(asked: socket.socket) -> NoReturn:
    """Start what is asked for, wait for its end and tell it; or be what is started."""
    message, streams, _flags, _from = socket.recv_fds(asked, _LARGEST, 3)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if process := os.fork():
        asked.send(str(process).encode())
        asked.send(str(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])).encode())
        os._exit(0)
    asked.close()
    # What it starts can be told from what others started here.
    os.setsid()
    given = json.loads(message)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(given["cwd"])
    os.environ.clear()
    os.environ.update(given["env"])
    tempfile.tempdir = None
    exec(given["first"], {})  # noqa: S102 - it is of a test
    command = importlib.import_module("service.cli").main
    command(given["arguments"], prog_name="sitbone")
    sys.exit()


if __name__ == "__main__":
    if sys.argv[1].isdecimal():
        main(socket.socket(fileno=int(sys.argv[1])))
    else:
        sys.exit(Process(*sys.argv[1:], cwd=Path.cwd(), env=os.environ, streams=(0, 1, 2)).wait())
