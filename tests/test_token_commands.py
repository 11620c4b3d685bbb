"""`sitbone keys new`, `sitbone token` and `sitbone verify-token`: what an integrator types to try a token."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from service.cli import main

URL = "https://cds.example.org/cds-services/gluteal-hamstring-pain"
ISSUER = "https://ehr.example.org/"


def sitbone(*arguments: str | Path, given: str | None = None, **variables: str) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=given, env=dict(variables))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a new key pair and a client that has it."""
    assert sitbone("keys", "new", "--kid", "mine", "--out", tmp_path).exit_code == 0
    (tmp_path / "clients.toml").write_text(
        f'[clients.general]\nissuers = ["{ISSUER}"]\njwks_file = "jwks.json"\njku = "https://ehr.example.org/jwks"\n'
    )
    return tmp_path


def token(folder: Path, *more: str, issuer: str = ISSUER) -> str:
    made = sitbone("token", "--key", folder / "private-key.json", "--iss", issuer, "--aud", URL, *more)
    assert made.exit_code == 0, made.output
    return made.stdout.strip()


def verify(folder: Path, *arguments: str, given: str | None = None) -> Result:
    return sitbone("verify-token", "--clients", folder / "clients.toml", *arguments, given=given)


@pytest.mark.parametrize("algorithm", ["ES384", "RS384"])
def test_a_new_key_is_for_its_owner_alone_and_its_public_half_for_everybody(algorithm: str, tmp_path: Path) -> None:
    made = sitbone("keys", "new", "--alg", algorithm, "--out", tmp_path)
    private, public = tmp_path / "private-key.json", tmp_path / "jwks.json"

    assert made.stdout.splitlines() == [str(private), str(public)]
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    [half] = json.loads(public.read_text())["keys"]
    whole = json.loads(private.read_text())
    assert half["alg"] == whole["alg"] == algorithm
    assert half["kid"] == whole["kid"]
    assert "d" in whole
    assert not {"d", "p", "q"} & half.keys()


def test_a_key_that_is_there_is_not_written_over(folder: Path) -> None:
    before = (folder / "private-key.json").read_text()
    again = sitbone("keys", "new", "--out", folder)
    assert again.exit_code == 2
    assert "is there already" in again.stderr
    (folder / "private-key.json").unlink()
    assert sitbone("keys", "new", "--out", folder).exit_code == 2
    assert not (folder / "private-key.json").exists()
    assert before


@pytest.mark.parametrize("options", [["--alg", "HS256"], ["--alg", "none"], ["--out", "/nowhere/at/all"]])
def test_a_key_that_cannot_be_made_is_said(options: list[str]) -> None:
    assert sitbone("keys", "new", *options).exit_code == 2


def test_a_token_of_the_commands_is_accepted(folder: Path) -> None:
    more = ["--jku", "https://ehr.example.org/jwks", "--tenant", "t1", "--lifetime", "120"]
    verified = verify(folder, "--aud", URL, token(folder, *more))
    assert verified.exit_code == 0
    assert verified.stdout.endswith("Accepted.\n")
    assert "ok     aud: " in verified.stdout
    assert "ok     lifetime: 120 s" in verified.stdout


@pytest.mark.parametrize("prefix", ["", "Bearer ", "  Bearer  "])
def test_a_token_may_be_given_on_the_standard_input_as_it_stands_in_the_header(prefix: str, folder: Path) -> None:
    given = f"{prefix}{token(folder)}\n"
    assert verify(folder, "--aud", URL, given=given).exit_code == 0
    assert verify(folder, "--aud", URL, "-", given=given).exit_code == 0


def test_without_the_called_url_the_audience_is_left_out_and_said_to_be(folder: Path) -> None:
    verified = verify(folder, token(folder))
    assert verified.exit_code == 0
    assert "-      aud: not checked, name the URL that was called with --aud" in verified.stdout


def test_all_that_is_wrong_is_said_at_once_with_expected_and_received(folder: Path) -> None:
    wrong = token(folder, "--lifetime", "900", "--jku", "https://evil.example.org/")
    verified = verify(folder, "--aud", "https://cds.example.org/cds-services/another", wrong)
    assert verified.exit_code == 1
    lines = [line for line in verified.stdout.splitlines() if line.startswith("WRONG")]
    assert lines == [
        (
            "WRONG  jku: expected https://ehr.example.org/jwks, as it is registered for this issuer, "
            'received "https://evil.example.org/"'
        ),
        f'WRONG  aud: expected the URL that is called, https://cds.example.org/cds-services/another, received "{URL}"',
        "WRONG  lifetime: expected exp - iat of more than 0 and at most 300 s, received 900 s",
    ]
    assert verified.stdout.endswith("Refused.\n")


def test_an_unknown_issuer_is_told_which_ones_are_registered(folder: Path) -> None:
    verified = verify(folder, token(folder, issuer="https://ehr.example.org"))
    assert verified.exit_code == 1
    assert f"       registered are: {ISSUER}" in verified.stdout


def test_a_service_that_the_client_may_not_use_is_found(folder: Path) -> None:
    with (folder / "clients.toml").open("a") as file:
        file.write('services = ["imaging-referral"]\n')
    verified = verify(folder, "--aud", URL, token(folder))
    assert verified.exit_code == 1
    assert "WRONG  service allowed: expected a call of imaging-referral or imaging-referral-sign" in verified.stdout


@pytest.mark.parametrize("text", ["x", "", "a.b.c", "é", "." * 10_000])
def test_what_is_no_token_is_wrong_and_not_a_failure(text: str, folder: Path) -> None:
    assert verify(folder, given=text).exit_code == 1


def test_a_program_is_told_the_same_in_json(folder: Path) -> None:
    def told(*arguments: str) -> Any:
        return json.loads(verify(folder, "--json", *arguments).stdout)

    good = told("--aud", URL, token(folder))
    assert (good["accepted"], good["client"], good["notChecked"]) == (True, "general", [])
    assert {check["name"] for check in good["checks"]} >= {"iss", "alg", "kid", "signature", "aud", "exp", "jti"}
    assert told(token(folder))["client"] == "general"
    bad = told("--aud", "https://x.example.org/", token(folder))
    assert (bad["accepted"], bad["client"]) == (False, None)
    [wrong] = [check for check in bad["checks"] if not check["passed"]]
    assert wrong == {
        "name": "aud",
        "passed": False,
        "expected": "the URL that is called, https://x.example.org/",
        "received": f'"{URL}"',
    }


def test_the_clients_are_those_of_the_setting_where_none_are_named(folder: Path) -> None:
    variables = {"SITBONE_CLIENTS": str(folder / "clients.toml"), "SITBONE_DRAFT": "show"}
    assert sitbone("verify-token", token(folder), **variables).exit_code == 0
    nothing = sitbone("verify-token", token(folder))
    assert nothing.exit_code == 2
    assert "SITBONE_CLIENTS" in nothing.stderr


def test_what_cannot_be_told_ends_with_2(folder: Path) -> None:
    assert sitbone("verify-token", "--clients", folder / "nothing.toml", "x").exit_code == 2
    (folder / "clients.toml").write_text(
        f'[clients.a]\nissuers = ["{ISSUER}"]\njku = "http://127.0.0.1:1/jwks"\ninternal_hosts = ["127.0.0.1"]\n'
    )
    unreachable = verify(folder, token(folder))
    assert unreachable.exit_code == 2
    assert "keys of this client cannot be had" in unreachable.stderr


@pytest.mark.parametrize(
    "text", ["", "7", "[]", "{}", "{", '{"kty": "oct", "k": "c2VjcmV0"}', '{"kty": "EC", "d": "secret"}']
)
def test_a_file_that_is_no_private_key_signs_nothing_and_is_not_repeated(text: str, tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text(text)
    made = sitbone("token", "--key", tmp_path / "key.json", "--iss", "a", "--aud", "b")
    assert made.exit_code == 2
    assert made.stdout == ""
    assert "secret" not in made.output


def test_a_public_key_signs_nothing(folder: Path) -> None:
    public = json.loads((folder / "jwks.json").read_text())["keys"][0]
    (folder / "key.json").write_text(json.dumps(public))
    made = sitbone("token", "--key", folder / "key.json", "--iss", "a", "--aud", "b")
    assert made.exit_code == 2
    assert "holds no private JWK" in made.stderr
    assert sitbone("token", "--key", folder / "nothing.json", "--iss", "a", "--aud", "b").exit_code == 2
