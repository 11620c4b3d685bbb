"""The guides say what is so: their commands print what they show, their links lead somewhere, their settings exist.

Blocks marked `sh` are run, one after the other, and the block marked `text` behind one must be what it prints; `…`
stands for whatever is left out. A block marked `console` needs what a test has not, such as Docker.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import time
import unicodedata
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.audit.database import open_database
from service.commands.replay import PUBLISHED_KEY
from service.settings import _FIELDS, _FILES, FORMER_NAMES, Settings
from tests import preloaded
from tests.recording import Clock, Site
from tests.serving import SERVE

if TYPE_CHECKING:
    from tests.postgresql import Postgresql

pytest_plugins = ["tests.postgresql"]
REPOSITORY = Path(__file__).parents[1]
PAGES = [
    page
    for page in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("*/*.md"), *REPOSITORY.glob("service/*/*.md")]
    if not page.relative_to(REPOSITORY).parts[0].startswith((".", "build", "node_modules"))
]
# A mistake that the guide shows, and a variable of the tests.
NO_SETTINGS = {"guide-operator.md": {"SITBONE_WORKER"}, "README.md": {"SITBONE_SHARED"}}


def page_name(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


@dataclass(frozen=True)
class Terminal:
    """The folder that the reader stands in, and the service that runs there."""

    folder: Path
    port: int
    environ: dict[str, str]
    shell: subprocess.Popen[bytes]

    def run(self, command: str) -> str:
        """What the command of a guide prints, errors too."""
        done = subprocess.run(
            ["bash", "-ec", command.replace("8080", str(self.port))],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    def stop(self) -> None:
        if self.shell.poll() is None:
            os.killpg(self.shell.pid, signal.SIGTERM)
            self.shell.wait(20)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    (tmp_path / "bin").mkdir()
    sitbone = tmp_path / "bin" / "sitbone"
    preloaded.script(sitbone)
    for folder in ("fixtures", "service"):
        (tmp_path / folder).symlink_to(REPOSITORY / folder)
    (tmp_path / "store").mkdir(mode=0o700)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SITBONE_")} | {
        "PATH": f"{sitbone.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "SITBONE_PORT": str(port),
    }
    serving = environ | {
        "SITBONE_STORE": "store",
        "SITBONE_LOG_KEY": "a-key-for-this-test-alone",
        "SITBONE_ADAPTIVE_FORM": "on",
    }
    # The ids of the guide are those of the fixtures.
    serving["SITBONE_CARD_KEY"] = PUBLISHED_KEY
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            # Other commands look for it among all that run.
            SERVE,
            cwd=tmp_path,
            env=serving,
            start_new_session=True,
            stdout=log,
            stderr=log,
        ) as shell,
    ):
        terminal = Terminal(tmp_path, port, environ, shell)
        try:
            wait_for(port)
            yield terminal
        finally:
            terminal.stop()


def wait_for(port: int) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1).close()
        except OSError:
            assert time.monotonic() < end, "the service did not start"
            time.sleep(0.05)
        else:
            return


def blocks(guide: str) -> list[tuple[str, str]]:
    """Each command of a guide, and what it is to print; nothing where the guide does not show it."""
    text = (REPOSITORY / "docs" / guide).read_text("utf-8")
    found = re.findall(r"```sh\n(.*?)```\n(?:\n```text\n(.*?)```)?", text, re.DOTALL)
    assert len(found) == text.count("```sh\n")
    return found


def holds(shown: str, printed: str) -> bool:
    """Whether the parts of what is shown are in what was printed, in their order."""
    parts = [re.escape(part.strip("\n")) for part in shown.split("…")]
    return re.search(r"(?s:.*?)".join(parts), printed) is not None


@pytest.mark.needs_system("bash", "the commands are for a shell")
@pytest.mark.needs_system("curl", "the guide calls the service with it")
def test_the_commands_of_the_guide_for_integrators_print_what_it_shows(terminal: Terminal) -> None:
    for command, shown in blocks("guide-integrator.md"):
        printed = terminal.run(command)
        assert holds(shown.replace("8080", str(terminal.port)), printed), f"{command}\n{shown}\n{printed}"


@pytest.mark.needs_system("bash", "the commands are for a shell")
@pytest.mark.needs_system("curl", "the guide calls the service with it")
def test_the_commands_of_the_guide_for_operators_print_what_it_shows(terminal: Terminal) -> None:
    for command, _ in blocks("guide-integrator.md")[1:3]:
        terminal.run(command)
    wait_for_calls(terminal.folder / "store" / "record.sqlite")
    for command, shown in blocks("guide-operator.md"):
        if command.startswith("rm "):
            terminal.stop()
            (terminal.folder / "store" / "record.sqlite").unlink()
        printed = terminal.run(command)
        assert holds(shown, printed), f"{command}\n{shown}\n{printed}"


def wait_for_calls(database: Path) -> None:
    """The rows of a call are written within a second of it."""
    end = time.monotonic() + 20
    while sqlite3.connect(database).execute("SELECT count(*) FROM audit_calls").fetchone() == (0,):
        assert time.monotonic() < end, "the audit trail has no call"
        time.sleep(0.05)


@pytest.mark.needs_system("bash", "the commands are for a shell")
def test_the_commands_that_the_guide_has_for_postgresql_bring_the_record_back(
    postgresql: Postgresql, tmp_path: Path
) -> None:
    guide = (REPOSITORY / "docs" / "guide-operator.md").read_text("utf-8")
    dump, restore = re.findall(r"^((?:pg_dump|psql) .*) sitbone$", guide, re.MULTILINE)

    def run(command: str) -> None:
        path = f"{postgresql.programs}:{os.environ['PATH']}"
        environ = os.environ | postgresql.environ | {"PATH": path}
        done = subprocess.run(
            ["bash", "-ec", command], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"

    def held() -> list[list[object]]:
        tables = ("audit_calls", "audit_cards", "audit_feedback", "audit_pages", "record_version")
        return [postgresql.execute(f"TABLE {table} ORDER BY 1") for table in tables]

    settings = Settings(audit_url=postgresql.url)
    open_database(settings, upgrading=True).dispose()
    site = Site(settings, Clock())
    site.call()
    site.audit.close()
    before = held()
    assert all(before[place] for place in (0, 1, 4))
    run(dump)
    later = Site(settings, Clock())
    later.call()
    later.audit.close()
    assert len(held()[0]) == 2
    run(restore)
    assert held() == before
    again = Site(settings, Clock())
    again.call()
    again.audit.close()
    assert len(held()[0]) == 2


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"(?s)```.*?```", "", page.read_text("utf-8")), re.MULTILINE)
    return {
        "".join(letter for letter in heading.lower() if letter in "-_ " or unicodedata.category(letter)[0] in "LN")
        .strip()
        .replace(" ", "-")
        for heading in headings
    }


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"(?s)```.*?```", "", page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_setting_that_a_page_names_is_one(page: Path) -> None:
    named = set(re.findall(r"SITBONE_[A-Z_]*[A-Z]", page.read_text("utf-8")))
    former = set(FORMER_NAMES) if page.name in ("CHANGELOG.md", "decisions.md") else set[str]()
    assert named - set(_FIELDS) - set(_FILES) <= NO_SETTINGS.get(page.name, set()) | former


def test_the_table_of_settings_has_each_of_them_with_its_default() -> None:
    table = (REPOSITORY / "README.md").read_text("utf-8").partition("## Settings")[2].partition("\n## ")[0]
    said: dict[str, str] = {}
    for variables, defaults in re.findall(r"^\| (`.+?`) \| (.+?) \|", table, re.MULTILINE):
        names = [name for name in re.findall(r"`(\w+)`", variables) if name != "PORT"]
        values = [value.strip() for value in defaults.split(",")]
        said |= dict(zip(names, values if len(values) == len(names) else values * len(names), strict=True))
    settings = Settings()
    expected = {}
    for variable in _FIELDS:
        default = getattr(settings, variable.removeprefix("SITBONE_").lower())
        expected[variable] = (
            "-" if default in (None, ()) else ",".join(default) if isinstance(default, tuple) else str(default)
        )
    # What is done without them takes words.
    in_words = {name for name, value in said.items() if expected.get(name) == "-" and value != "-"}
    assert in_words == {
        "SITBONE_CARD_KEY",
        "SITBONE_LOG_KEY",
        "SITBONE_STORE",
        "SITBONE_STORE_URL",
        "SITBONE_AUDIT",
        "SITBONE_AUDIT_URL",
    }
    assert {name: value for name, value in said.items() if name not in in_words} == {
        name: value for name, value in expected.items() if name not in in_words
    }


def test_every_room_of_the_product_is_in_the_plan() -> None:
    plan = (REPOSITORY / "README.md").read_text("utf-8").partition("## The rooms")[2].partition("\n## ")[0]
    rooms = {
        path.stem
        for path in (REPOSITORY / "service").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file() or path.name == "knowledge"
    } - {"__init__"}
    assert {room for room in rooms if not re.search(rf"\b{room}\b", plan)} == set()


def test_every_page_of_the_documentation_can_be_reached_from_the_readme() -> None:
    reached, ahead = set(), [REPOSITORY / "README.md"]
    while ahead:
        page = ahead.pop()
        reached.add(page)
        for link in re.findall(r"\]\(([^)#\s:]+\.md)", page.read_text("utf-8")):
            target = (page.parent / link).resolve()
            if target.exists() and target not in reached:
                ahead.append(target)
    assert {page_name(page) for page in (REPOSITORY / "docs").glob("*.md") if page not in reached} == set()
