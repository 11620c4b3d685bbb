"""The server process: gunicorn, with the settings that were measured for long charts.

The one way the service starts, on one machine and in a container: ``sitbone serve``.
"""

import errno
import gc
import logging
import os
import resource
import shlex
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from wsgiref.types import WSGIApplication

import click
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger

from service.server import log
from service.server.handover import Handover
from service.server.memory import keep_freed_memory, set_aside_what_is_loaded
from service.server.worker import PageWorker, Worker, forget
from service.settings import Settings, SettingsError

_SPARE_THREADS = 4
# What tells a worker to end.
_ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def serve(
    settings: Settings,
    app: WSGIApplication,
    *,
    example: Path | None = None,
    renew: Callable[[], WSGIApplication | None] = lambda: None,
    has_pages: Callable[[], bool] = lambda: False,
    at_the_beginning: Callable[[bool], None] | None = None,
    at_the_end: Callable[[], None] | None = None,
    at_death: Callable[[int], None] | None = None,
) -> None:
    """Serve ``app`` until SIGTERM or SIGINT, which let running calls end and then end the process with code 0.

    The workers share ``app``, which is why it must have no thread and no connection of its own yet. Once the service
    listens, its address is printed, and, with an ``example`` (a file that holds a request), the command that sends it.
    A worker that begins calls ``at_the_beginning``, with whether it answers hooks, and one that stops ``at_the_end``;
    the process that started it then calls ``at_death`` with its id. SIGHUP has workers begin anew, with what ``renew``
    gives if it gives anything. Where the application ``has_pages`` of the second opinion, one process more works on
    those alone.
    """
    log.configure(settings.log_level)
    if settings.clients is not None and settings.public_base_url is None:
        # Another CDS service that the same client calls could pass its tokens on, with its own host in the header.
        logging.getLogger("sitbone").warning(
            "SITBONE_PUBLIC_BASE_URL is not set: the audience of a token is compared with the host that a caller names"
        )
    keep_freed_memory()
    leave_no_memory_behind()
    _Server(
        settings,
        app,
        example,
        renew=renew,
        has_pages=has_pages,
        at_the_beginning=at_the_beginning,
        at_the_end=at_the_end,
        at_death=at_death,
    ).run()


def leave_no_memory_behind() -> None:
    """Have no process of the service write a core file when it dies: tokens and charts are in its memory."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def is_handed_over(environ: Mapping[str, str]) -> bool:
    """Whether the process was given a socket that listens already: socket activation of systemd, or SIGUSR2."""
    by_systemd = environ.get("LISTEN_PID") == str(os.getpid()) and environ.get("LISTEN_FDS", "0") != "0"
    return by_systemd or "GUNICORN_FD" in environ


def require_free_address(settings: Settings) -> None:
    """See that nobody listens where the service is to: gunicorn would try for five seconds and leave ten lines of log.

    Somebody else does where a socket is handed over, by systemd or by the service that this one replaces.

    Raises SettingsError.
    """
    if is_handed_over(os.environ):
        return
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.socket(family) as listener:
            # As gunicorn has it: the connections of a service that has just ended do not keep the port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((settings.host, settings.port))
    except OSError as problem:
        if problem.errno == errno.EADDRINUSE:
            raise SettingsError(
                f"Port {settings.port} is taken: name another in SITBONE_PORT, or as in make run PORT=9000."
            ) from None
        raise SettingsError(
            f"SITBONE_HOST and SITBONE_PORT must name an address to listen on: {problem.strerror}."
        ) from None


def gunicorn_settings(settings: Settings) -> dict[str, Any]:
    """What gunicorn is told; its own defaults hold for everything else. Times are in seconds."""
    return {
        "bind": _address(settings),
        "workers": settings.workers,
        "worker_class": Worker if settings.worker_class == "gthread" else "sync",
        # Each call in flight has a thread, most of them waiting; the spare ones say no to whoever comes beyond, and
        # answer those who ask whether the process is alive. gunicorn takes sync with threads for gthread.
        "threads": settings.max_in_flight + _SPARE_THREADS if settings.worker_class == "gthread" else 1,
        "logger_class": _ServerLog,
        "keepalive": settings.keep_alive,
        # An answer takes milliseconds; a worker that is silent for so long is stuck.
        "timeout": 30,
        # Container engines kill ten seconds after they have asked.
        "graceful_timeout": 8,
        # The longest line is the callback of an authorization server, with its code and our sealed state: 8190 is
        # gunicorn's most. A client's token is the longest header, and refused with a reason.
        "limit_request_line": 8190,
        "limit_request_fields": 64,
        "limit_request_field_size": 16_380,
        # Which proxies are believed is for the application to say; gunicorn would believe any on this machine.
        "forwarded_allow_ips": "",
        "preload_app": True,
        # The service logs calls itself, without addresses; gunicorn's log costs a sixth of a short call's time.
        "accesslog": None,
        # Start and stop of each worker are of interest to nobody while all is well.
        "loglevel": "warning" if settings.log_level == "info" else settings.log_level,
        # Neither a control socket in the home folder nor heartbeat files on disk: the file system may be read-only.
        "control_socket_disable": True,
        "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else None,  # noqa: S108
    }


def _address(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{settings.port}"


class _ServerLog(Logger):  # type: ignore[misc]
    """gunicorn's own lines go where all others go."""

    def setup(self, cfg: Config) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


class _Arbiter(Arbiter):  # type: ignore[misc]
    """Sees to it that of the workers that were started together one works on pages, where there is one for them."""

    # The age of the last worker of those that are to end.
    _before = 0

    def reload(self) -> None:
        """Have workers begin anew."""
        self._before = self.worker_age
        super().reload()

    def spawn_worker(self) -> int:
        """Start a worker."""
        if self.app.has_page_worker:
            now = (each for each in self.WORKERS.values() if each.age > self._before)
            self.worker_class = Worker if any(isinstance(each, PageWorker) for each in now) else PageWorker
        # A worker has this process's handlers until it has its own, and would not end of what it is told before that.
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
        try:
            pid: int = super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)
        return pid


class _Server(BaseApplication):  # type: ignore[misc]
    def __init__(
        self,
        settings: Settings,
        app: WSGIApplication,
        example: Path | None,
        *,
        renew: Callable[[], WSGIApplication | None],
        has_pages: Callable[[], bool],
        at_the_beginning: Callable[[bool], None] | None,
        at_the_end: Callable[[], None] | None,
        at_death: Callable[[int], None] | None,
    ) -> None:
        self._settings = settings
        self._app = app
        self._example = example
        self._renew = renew
        self._has_pages = has_pages
        self._at_the_beginning = at_the_beginning
        self._at_the_end = at_the_end
        self._at_death = at_death
        super().__init__()

    def load_config(self) -> None:
        for name, value in gunicorn_settings(self._settings).items():
            self.cfg.set(name, value)
        self._provide_for_pages()
        self.cfg.set("when_ready", self._when_ready)
        self.cfg.set("post_worker_init", self._worker_begins)
        self.cfg.set("worker_exit", self._worker_exit)
        self.cfg.set("child_exit", self._child_exit)

    def load(self) -> WSGIApplication:
        return self._app

    def reload(self) -> None:
        """Renew the application before new workers are forked. Settings are those of the environment, and stay."""
        if app := self._renew():
            self.callable = self._app = app
            # What the old one held is let go of, and what the new one holds set aside.
            gc.unfreeze()
            set_aside_what_is_loaded()
            self._provide_for_pages()

    def run(self) -> None:
        """Serve, until it is told to stop."""
        _Arbiter(self).run()

    def _provide_for_pages(self) -> None:
        """Have a process more for pages where there are any, and hooks can be worked on beside them at all."""
        self.has_page_worker = self._settings.worker_class == "gthread" and self._has_pages()
        if self.has_page_worker and Worker.handover is None:
            Worker.handover = Handover()
        self.cfg.set("workers", self._settings.workers + self.has_page_worker)

    def _worker_begins(self, worker: Worker) -> None:
        if self._at_the_beginning is not None:
            self._at_the_beginning(not isinstance(worker, PageWorker))
        # Not before: a thread that is only just being started could not be waited for at the end.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)

    def _worker_exit(self, _arbiter: Arbiter, _worker: object) -> None:
        if self._at_the_end is not None:
            self._at_the_end()

    def _child_exit(self, _arbiter: Arbiter, worker: Any) -> None:
        forget(worker.age)
        if Worker.handover is not None:
            Worker.handover.shut(worker.age)
        if self._at_death is not None:
            self._at_death(worker.pid)

    def _when_ready(self, _arbiter: Arbiter) -> None:
        set_aside_what_is_loaded()
        base = f"http://{_address(self._settings)}"
        click.echo(f"Sitbone listens at {base}")
        if self._example is not None:
            send = ["curl", "-s", "-H", "Content-Type: application/json", "--data", f"@{self._example}"]
            click.echo(f"Try: {shlex.join([*send, f'{base}/cds-services/gluteal-hamstring-pain'])}")
