"""`sitbone`: its help, its exit codes, its completion, and `sitbone check` against the running service."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from xml.etree import ElementTree as ET

import click
import pytest
from click.testing import CliRunner, Result

from service.cli import main
from service.commands import require
from tests.serving import running

ISSUER = "https://ehr.example.org/"


def sitbone(*arguments: str | Path, **options: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], **options)  # type: ignore[arg-type]


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with the words by which it is called."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands(main))
# They do something, and have nothing to tell that a program would ask for: what is signed or restored is a file.
SILENT = {("serve",), ("completion",), *(("knowledge", name) for name in ("sign", "revoke", "restore"))}
# What they print is JSON for whoever asks.
ALWAYS_JSON = {("features",)}


def test_the_commands_are_those_that_are_documented() -> None:
    assert [" ".join(path) for path in COMMANDS] == [
        "serve",
        "explain",
        "features",
        "replay",
        "keys new",
        "token",
        "verify-token",
        "completion",
        "check",
        "knowledge closure",
        "knowledge diff",
        "knowledge export",
        "knowledge lint",
        "knowledge prove",
        "knowledge restore",
        "knowledge revoke",
        "knowledge sign",
        "knowledge status",
        "knowledge verify",
        "db purge",
        "db upgrade",
        "report",
        "shadow report",
        "expect",
        "author-report",
        "safety-case",
        "suspend",
        "suspended",
        "resume",
        "reload",
        "population",
    ]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_help_of_a_command_says_what_every_option_is_for_and_how_it_ends(path: tuple[str, ...]) -> None:
    shown = sitbone(*path, "--help")
    assert shown.exit_code == 0
    options = [each for each in COMMANDS[path].params if isinstance(each, click.Option)]
    assert all(option.help for option in options)
    assert "nds with" in shown.stdout


@pytest.mark.parametrize("path", sorted(COMMANDS.keys() - SILENT - ALWAYS_JSON), ids=" ".join)
def test_what_a_command_finds_out_can_be_had_as_json(path: tuple[str, ...]) -> None:
    names = {name for option in COMMANDS[path].params for name in option.opts}
    assert "--json" in names


def test_the_version_is_that_of_the_package() -> None:
    assert sitbone("--version").stdout == "sitbone 0.1.0\n"


@pytest.mark.parametrize(
    ("shell", "said"), [("bash", "complete -o"), ("zsh", "compdef"), ("fish", "complete --no-files")]
)
def test_a_shell_is_told_how_to_complete(shell: str, said: str) -> None:
    completion = sitbone("completion", shell)
    assert completion.exit_code == 0
    assert said in completion.stdout
    assert "_SITBONE_COMPLETE" in completion.stdout


def test_commands_of_other_modules_are_completed_too() -> None:
    completed = sitbone(
        env={"_SITBONE_COMPLETE": "bash_complete", "COMP_WORDS": "sitbone knowledge l", "COMP_CWORD": "2"}
    )
    assert completed.stdout.split() == ["plain,lint"]


def test_colour_is_for_a_terminal_that_wants_it(repository: Path) -> None:
    file = repository / "fixtures/requests/sudden-tear.json"
    assert "\x1b[1m" in sitbone("explain", file, color=True).stdout
    assert "\x1b" not in sitbone("explain", file).stdout


def test_no_colour_where_it_is_not_wanted(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in sitbone("explain", repository / "fixtures/requests/sudden-tear.json", color=True).stdout


@pytest.fixture(scope="module")
def base(request: pytest.FixtureRequest) -> Iterator[str]:
    with running(Path(request.config.rootpath)) as (address, _stop):
        yield address


def test_the_running_service_is_conformant(base: str, repository: Path, tmp_path: Path) -> None:
    junit = tmp_path / "report.xml"
    checked = sitbone("check", base, "--requests", repository / "fixtures" / "requests", "--json", "--junit", junit)
    assert checked.exit_code == 0, checked.output
    by_name = {check["name"]: check for check in json.loads(checked.stdout)["checks"]}
    unusual = {name: check["problems"] for name, check in by_name.items() if check["status"] != "passed"}
    assert unusual.keys() <= {"https", "token-required", "response-time"}, unusual
    assert ET.fromstring(junit.read_text()).get("failures") == "0"  # noqa: S314 - our own


def test_the_check_runs_without_the_product_and_with_four_packages_alone(base: str, repository: Path) -> None:
    lock = (repository / "requirements.lock").read_text("utf-8")
    needed = {"click", "marshmallow", "msgspec", "requests"}
    # What requests needs itself.
    needed |= {"certifi", "charset-normalizer", "idna", "urllib3", "typing-extensions"}
    others = {name.lower() for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)} - needed
    absent = {module for module, names in packages_distributions().items() if {name.lower() for name in names} & others}
    assert {"flask", "jwt", "cryptography", "pydantic", "sqlalchemy"} <= absent
    absent |= {"fhir", "service"}
    without = f"import sys; sys.modules.update(dict.fromkeys({sorted(absent)!r}))"
    alone = f"{without}; import runpy; runpy.run_module('cds_hooks.conformance', run_name='__main__', alter_sys=True)"
    requests = repository / "fixtures" / "requests"
    called = [sys.executable, "-c", alone, base, "--requests", str(requests)]
    checked = subprocess.run(called, cwd=repository, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.endswith("Conformant.\n")


def test_a_check_without_cards_says_so_in_its_table(base: str) -> None:
    checked = sitbone("check", base.removeprefix("http://"), "--no-feedback")
    assert checked.exit_code == 0
    assert "no card came; send requests that bring cards with --requests" in checked.stdout
    assert "no feedback was sent" in checked.stdout
    assert checked.stdout.endswith("Conformant.\n")


def test_the_calls_of_a_check_are_in_no_report(repository: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with running(repository, SITBONE_AUDIT=str(tmp_path)) as (address, stop):
        assert sitbone("check", address).exit_code == 0
        stop()
    told = sitbone("report", "--json", env={"SITBONE_AUDIT": str(tmp_path)})
    totals = json.loads(told.stdout)["totals"]
    assert (totals["calls"], totals["feedback"]) == (0, 0)
    assert min(totals["check_calls"], totals["check_feedback"]) > 0


def test_a_service_with_clients_is_checked_with_a_key(repository: Path, tmp_path: Path) -> None:
    assert sitbone("keys", "new", "--out", tmp_path).exit_code == 0
    (tmp_path / "store").mkdir(mode=0o700)
    (tmp_path / "clients.toml").write_text(f'[clients.mine]\nissuers = ["{ISSUER}"]\njwks_file = "jwks.json"\n')
    with running(
        repository,
        SITBONE_DRAFT="show",
        SITBONE_CLIENTS=str(tmp_path / "clients.toml"),
        SITBONE_STORE=str(tmp_path / "store"),
    ) as (
        closed,
        _stop,
    ):
        refused = sitbone("check", closed)
        assert refused.exit_code == 1
        assert "it asks for a token; give one with --token, or --key and --iss" in refused.stdout
        checked = sitbone("check", closed, "--key", tmp_path / "private-key.json", "--iss", ISSUER, "--json")
    assert checked.exit_code == 0, checked.output
    by_name = {check["name"]: check["status"] for check in json.loads(checked.stdout)["checks"]}
    assert by_name["token-required"] == "passed"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["http://127.0.0.1:9"], "Nothing answers at http://127.0.0.1:9/cds-services: no connection"),
        (["127.0.0.1:9"], "Nothing answers at http://127.0.0.1:9/cds-services: no connection"),
        (["gopher://127.0.0.1:9"], "not the address of a web server"),
        (["http://127.0.0.1:9", "--key", "k.json"], "with --key and --iss together"),
        (["http://127.0.0.1:9", "--token", "t", "--key", "k.json", "--iss", ISSUER], "given with --token, or signed"),
        (["http://127.0.0.1:9", "--key", "nowhere.json", "--iss", ISSUER], "nowhere.json: No such file"),
        (["http://127.0.0.1:9", "--timeout", "0"], "not in the range"),
        (["http://127.0.0.1:9", "--timeout", "-1"], "not in the range"),
    ],
)
def test_what_cannot_be_checked_ends_with_2_and_a_sentence(arguments: list[str], said: str) -> None:
    ended = sitbone("check", *arguments)
    assert ended.exit_code == 2
    assert said in ended.stderr


def test_a_file_that_is_no_request_ends_the_check(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text("{")
    ended = sitbone("check", "http://127.0.0.1:9", "--requests", tmp_path)
    assert ended.exit_code == 2


@pytest.mark.parametrize("content", [None, "[]", '{"cards": []}'], ids=["no-file", "no-object", "no-hook"])
def test_a_folder_without_a_request_ends_the_check(content: str | None, base: str, tmp_path: Path) -> None:
    if content:
        (tmp_path / "one.json").write_text(content)
    ended = sitbone("check", base, "--requests", tmp_path)
    assert ended.exit_code == 2
    assert ended.stderr.startswith(f"{tmp_path}: holds no request")
    assert not ended.stdout


def test_a_folder_of_requests_that_no_service_takes_ends_the_check(base: str, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text('{"hook": "order-dispatch"}')
    ended = sitbone("check", base, "--requests", tmp_path)
    assert ended.exit_code == 2
    assert ended.stderr.startswith(f"{tmp_path}: none of its 1 requests can be sent: they are for order-dispatch, the")
    assert "patient-view" in ended.stderr
    assert not ended.stdout


def test_a_request_of_a_folder_that_no_service_takes_is_named(base: str, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"hook": "order-dispatch"}')
    shutil.copy(repository / "fixtures/requests/sudden-tear.json", tmp_path)
    checked = sitbone("check", base, "--requests", tmp_path)
    assert checked.exit_code == 0
    assert "1 of 2 not sent, as no service has their hook:" in checked.stdout
    assert "mine: it is for order-dispatch" in checked.stdout


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59-10:00", "0001-01-01T00:00:00+10:00"])
def test_a_time_that_cannot_be_reckoned_with_ends_with_2_and_a_sentence(at: str, repository: Path) -> None:
    ended = sitbone("explain", "--at", at, repository / "fixtures/requests/sudden-tear.json")
    assert ended.exit_code == 2
    assert ended.stderr == "--at takes a time of the years 1900 to 9000.\n"


def test_keys_and_tokens_can_be_had_as_json(tmp_path: Path) -> None:
    made = json.loads(sitbone("keys", "new", "--out", tmp_path, "--json").stdout)
    assert made == {"private": str(tmp_path / "private-key.json"), "public": str(tmp_path / "jwks.json")}
    signed = json.loads(
        sitbone("token", "--key", made["private"], "--iss", ISSUER, "--aud", "https://cds.example.org", "--json").stdout
    )
    assert signed["claims"]["iss"] == ISSUER
    assert signed["token"].count(".") == 2


def test_a_package_that_is_not_there_is_named_with_what_brings_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        require("no_such_package", "spark")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "no_such_package is not installed: pip install 'sitbone[spark]'.\n"
