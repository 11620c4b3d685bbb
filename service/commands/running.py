"""The services that run on this machine, for commands that nobody told where to look.

Read from /proc, where the system has it: a service of the same user lets its environment be read, and that is its
settings. What is secret among them is used and never printed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cds_hooks.text_forms import is_loopback
from service.settings import Settings, SettingsError

PROCESSES = Path("/proc")
LOOKED = "the processes of this user in /proc"


@dataclass(frozen=True, slots=True)
class Running:
    """A service that runs, with its settings; folders in them are absolute."""

    process: int
    settings: Settings

    @property
    def url(self) -> str:
        """Where this machine reaches it."""
        host = self.settings.host if is_loopback(self.settings.host) else "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{self.settings.port}"


def services(port: int | None = None) -> list[Running]:
    """The services of this user that run on this machine, by port; with a `port`, those that listen there."""
    serving = {int(each.name): each for each in PROCESSES.glob("[0-9]*") if _serves(each)}
    # The workers of a service look like it, and are its children.
    first = [process for process, folder in serving.items() if _parent(folder) not in serving]
    found = [running for process in first if (running := _running(process, serving[process]))]
    listening = (each for each in found if port in (None, each.settings.port))
    return sorted(listening, key=lambda each: (each.settings.port, each.process))


def port_of(environ: Mapping[str, str]) -> int | None:
    """The port that the environment names; None where it names none. Raises SettingsError where that is no port."""
    named = {name: value for name in ("SITBONE_PORT", "PORT") if (value := environ.get(name))}
    return Settings.from_environment(named).port if named else None


def running_here(port: int | None) -> Running | None:
    """The service that runs here, at this port where there is one; None where none runs. Raises SettingsError where
    several do.
    """
    found = services(port)
    if len(found) > 1:
        ports = ", ".join(str(each.settings.port) for each in found)
        raise SettingsError(
            f"Several services of this user run on this machine: name one of their ports, {ports}, in SITBONE_PORT."
        )
    return found[0] if found else None


def _serves(folder: Path) -> bool:
    try:
        if folder.stat().st_uid != os.geteuid():
            return False
        words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return False
    # As it is installed, and as a line of Python.
    return "serve" in words and any(Path(word).name == "sitbone" or "service.cli" in word for word in words)


def _parent(folder: Path) -> int | None:
    try:
        # The second field, the name of the command, may hold spaces.
        return int((folder / "stat").read_text("utf-8").rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None


def _running(process: int, folder: Path) -> Running | None:
    """None where it has just ended, or its settings are those of another version."""
    try:
        pairs = (folder / "environ").read_bytes().decode("utf-8", "replace").split("\0")
        environ = {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
        ours = {name: value for name, value in environ.items() if name == "PORT" or name.startswith("SITBONE_")}
        with contextlib.chdir(folder / "cwd"):
            settings = Settings.from_environment(ours)
            audit = settings.audit.absolute() if isinstance(settings.audit, Path) else settings.audit
            store = settings.store.absolute() if settings.store else None
            return Running(process, replace(settings, audit=audit, store=store))
    except (OSError, SettingsError):
        return None
