"""Commands that nobody told where to look find the service that runs here, or say where they looked."""

import os
import sqlite3
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import pytest
from click.testing import CliRunner

from service.cli import main
from service.commands import running
from tests import preloaded
from tests.serving import PATH
from tests.serving import running as service_running

INSTALLED = ("/opt/sitbone/bin/python", "/opt/sitbone/bin/sitbone", "serve")
CALL = (Path(__file__).parents[1] / "fixtures" / "requests" / "sudden-pop-with-bruising.json").read_bytes()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing runs yet, with its folder for temporary files; `process` has something run there."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(running, "PROCESSES", tmp_path / "proc")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    for name in list(os.environ):
        if name == "PORT" or name.startswith("SITBONE_"):
            monkeypatch.delenv(name)
    return tmp_path


def process(machine: Path, number: int, words: Sequence[str], environ: Mapping[str, str], *, parent: int = 1) -> None:
    """A process of this user that was started in the folder of the machine."""
    folder = machine / "proc" / str(number)
    folder.mkdir()
    (folder / "cmdline").write_bytes(b"\0".join(word.encode() for word in (*words, "")))
    (folder / "environ").write_bytes(b"\0".join(f"{name}={value}".encode() for name, value in environ.items()))
    (folder / "stat").write_text(f"{number} (a (b) c) S {parent} 1 1")
    (folder / "cwd").symlink_to(machine)


def trail(folder: Path) -> Path:
    """An audit trail in this folder."""
    folder.mkdir(mode=0o700, exist_ok=True)
    made = CliRunner().invoke(main, ["db", "upgrade"], env={"SITBONE_AUDIT": str(folder)})
    assert made.exit_code == 0, made.output
    return folder / "record.sqlite"


def told(*command: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    done = CliRunner().invoke(main, command, env=env)
    return done.exit_code, done.output


@pytest.mark.parametrize(
    "words",
    [
        INSTALLED,
        (sys.executable, "-c", "from service.cli import main; main()", "serve"),
    ],
    ids=["installed", "line"],
)
@pytest.mark.parametrize("setting", ["SITBONE_STORE", "SITBONE_AUDIT"])
def test_the_audit_trail_of_the_service_that_runs_here_is_found_also_by_a_relative_path(
    setting: str, words: tuple[str, ...], machine: Path
) -> None:
    file = trail(machine / "store")
    process(machine, 100, words, {"PATH": "/bin", setting: "store"})
    # Its workers look like it.
    process(machine, 101, words, {setting: "store"}, parent=100)
    process(machine, 102, ("/usr/bin/python3", "-m", "http.server"), {})

    code, said = told("report")
    assert (code, said.splitlines()[0]) == (0, str(file))
    assert told("db", "upgrade")[1].startswith(f"The audit trail in {file} ")
    code, said = told("db", "purge", "--days", "9")
    assert code == 0
    assert said.startswith("Removed 0 calls, 0 cards, ")
    assert said.endswith(f" 0 differences of a second knowledge from {file}.\n")


def test_without_a_store_it_is_the_folder_of_the_port_that_the_service_listens_at(machine: Path) -> None:
    file = trail(machine / "tmp" / "sitbone-9000")
    process(machine, 100, INSTALLED, {"PORT": "9000"})

    assert told("report")[1].startswith(str(file))


def test_after_the_service_has_ended_its_folder_is_still_found(machine: Path) -> None:
    file = trail(machine / "tmp" / "sitbone-8080")

    assert told("report")[1].startswith(str(file))


def test_what_the_environment_says_goes_before_what_runs(machine: Path) -> None:
    process(machine, 100, INSTALLED, {"SITBONE_AUDIT": str(trail(machine / "other").parent)})
    file = trail(machine / "mine")

    assert told("report", env={"SITBONE_AUDIT": str(file.parent)})[1].startswith(str(file))


@pytest.mark.parametrize("command", [("report",), ("db", "upgrade"), ("db", "purge", "--days", "9")])
@pytest.mark.parametrize("port", [None, "9000"])
def test_where_nothing_is_found_each_place_is_named_with_the_setting_that_would_tell(
    command: tuple[str, ...], port: str | None, machine: Path
) -> None:
    code, said = told(*command, env={"SITBONE_PORT": port} if port else None)

    assert code == 2
    assert str(machine / "tmp" / f"sitbone-{port or 8080}" / "record.sqlite") in said
    assert "/proc" in said
    for setting in ("SITBONE_PORT", "SITBONE_AUDIT", "SITBONE_STORE", "SITBONE_AUDIT_URL"):
        assert setting in said
    assert said.count("\n") == 1
    assert list((machine / "tmp").iterdir()) == []


def test_what_is_suspended_is_so_where_it_is_answered(machine: Path) -> None:
    (machine / "store").mkdir(mode=0o700)
    process(machine, 100, INSTALLED, {"SITBONE_STORE": "store"})
    code, said = told("suspend", "rl11-no-imaging-yet", "--by", "A. Example", "--reason", "too much")
    assert (code, said) == (0, "Suspended: rl11-no-imaging-yet.\n")
    assert "rl11-no-imaging-yet" in (machine / "store" / "suspensions.jsonl").read_text("utf-8")
    code, said = told("suspended", "--json")
    assert (code, "rl11-no-imaging-yet" in said) == (1, True)


def test_of_several_services_the_port_says_which(machine: Path) -> None:
    one, two = trail(machine / "one"), trail(machine / "two")
    process(machine, 100, INSTALLED, {"SITBONE_STORE": str(one.parent)})
    process(machine, 200, INSTALLED, {"SITBONE_STORE": str(two.parent), "SITBONE_PORT": "9000"})

    code, said = told("report")
    assert (code, "8080, 9000, in SITBONE_PORT" in said) == (2, True)
    assert told("report", env={"SITBONE_PORT": "9000"})[1].startswith(str(two))
    assert told("check") == (code, said)
    assert "127.0.0.1:9000" in told("check", env={"SITBONE_PORT": "9000"})[1]


def test_a_process_that_cannot_be_read_or_has_other_settings_is_passed_over(machine: Path) -> None:
    process(machine, 100, INSTALLED, {"SITBONE_OF_ANOTHER_VERSION": "1"})
    process(machine, 200, INSTALLED, {})
    (machine / "proc" / "200" / "environ").unlink()

    assert running.services() == []


def test_the_password_of_the_database_that_was_found_is_not_shown(machine: Path) -> None:
    url = "postgresql+psycopg://user:opensesame@/db?host=/nowhere/at/all"
    process(machine, 100, INSTALLED, {"SITBONE_AUDIT_URL": url})

    code, said = told("report")
    assert (code, "SITBONE_AUDIT_URL" in said, "sesame" in said) == (2, True, False)


def test_check_finds_the_service_or_says_where_it_looked(machine: Path) -> None:
    code, said = told("check")
    assert code == 2
    assert said == (
        "Name the URL of a service: none runs on this machine, looked for in the processes of this user in /proc.\n"
    )
    process(machine, 100, INSTALLED, {"SITBONE_HOST": "0.0.0.0", "SITBONE_PORT": "9"})  # noqa: S104
    assert "127.0.0.1:9" in told("check")[1]


def test_the_running_service_is_found_by_a_command_beside_it(
    repository: Path, tmp_path: Path, leave_out: Callable[[str], NoReturn]
) -> None:
    if not Path("/proc/self/environ").exists():
        leave_out("this system tells of no processes in /proc")
    (tmp_path / "store").mkdir(mode=0o700)
    with service_running(repository, True, SITBONE_STORE=str(tmp_path / "store")) as (base, _stop):
        headers = {"Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(base + PATH, CALL, headers), timeout=20).close()
        file = tmp_path / "store" / "record.sqlite"
        end = time.monotonic() + 20
        while sqlite3.connect(file).execute("SELECT count(*) FROM audit_calls").fetchone() == (0,):
            assert time.monotonic() < end, "the audit trail has no call"
            time.sleep(0.05)
        environ = {name: value for name, value in os.environ.items() if not name.startswith("SITBONE_")}
        # Other services of this user may run here.
        environ["SITBONE_PORT"] = base.rpartition(":")[2]
        found = preloaded.run("report", "--json", cwd=tmp_path, env=environ)

    assert (found.returncode, str(file) in found.stdout) == (0, True), found.stderr
