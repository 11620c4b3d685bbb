"""Settings: read once, checked at start, refused with a sentence."""

import json
import re
from datetime import UTC
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from cds_hooks.text_forms import is_loopback
from service.settings import _FIELDS, _SECRETS, FORMER_NAMES, Settings, SettingsError


def test_without_variables_the_defaults_hold() -> None:
    assert Settings.from_environment({"HOME": "/home/somebody"}) == Settings()


@pytest.mark.parametrize(
    ("variable", "value", "member", "read"),
    [
        ("SITBONE_HOST", "0.0.0.0", "host", "0.0.0.0"),  # noqa: S104
        ("SITBONE_HOST", "::1", "host", "::1"),
        ("PORT", "9000", "port", 9000),
        ("SITBONE_PORT", " 9000 ", "port", 9000),
        ("SITBONE_PORT", "65535", "port", 65_535),
        ("SITBONE_PORT", "", "port", 8080),
        ("SITBONE_WORKERS", "4", "workers", 4),
        ("SITBONE_THREADS", "1", "threads", 1),
        ("SITBONE_MAX_IN_FLIGHT", "4", "max_in_flight", 4),
        ("SITBONE_LOG_KEY", "0123456789abcdef", "log_key", "0123456789abcdef"),
        ("SITBONE_WORKER_CLASS", "sync", "worker_class", "sync"),
        ("SITBONE_KEEP_ALIVE", "0", "keep_alive", 0),
        ("SITBONE_BODY_LIMIT", "1000", "body_limit", 1000),
        ("SITBONE_ALLOWED_ORIGINS", "*", "allowed_origins", ("*",)),
        (
            "SITBONE_ALLOWED_ORIGINS",
            "https://ehr.example.org, http://localhost:3000/",
            "allowed_origins",
            ("https://ehr.example.org", "http://localhost:3000"),
        ),
        ("SITBONE_PUBLIC_BASE_URL", "https://cds.example.org/pain/", "public_base_url", "https://cds.example.org/pain"),
        ("SITBONE_PUBLIC_BASE_URL", "http://sitbone:8080", "public_base_url", "http://sitbone:8080"),
        ("SITBONE_CARD_PROBLEMS", "https://intranet/form?id=7", "card_problems", "https://intranet/form?id=7"),
        ("SITBONE_SNOMED_CT", "global-patient-set", "snomed_ct", "global-patient-set"),
        ("SITBONE_LOG_LEVEL", "debug", "log_level", "debug"),
        ("SITBONE_STORE_URL", "postgresql+psycopg://host/db", "store_url", "postgresql+psycopg://host/db"),
        ("SITBONE_AUDIT", "off", "audit", "off"),
        ("SITBONE_AUDIT_URL", "postgresql+psycopg://host/db", "audit_url", "postgresql+psycopg://host/db"),
        ("SITBONE_AUDIT_DAYS", "730", "audit_days", 730),
        ("SITBONE_SHADOW_DIR", "/", "shadow_dir", Path("/")),
        ("SITBONE_SHADOW_SHARE", "25", "shadow_share", 25),
        ("SITBONE_SUPPRESSION_DAYS", "14", "suppression_days", 14),
        ("SITBONE_TRUSTED_PROXIES", "2", "trusted_proxies", 2),
        ("SITBONE_REVIEW_GRACE_DAYS", "0", "review_grace_days", 0),
        ("SITBONE_TIME_ZONE", "Europe/Berlin", "time_zone", ZoneInfo("Europe/Berlin")),
        ("SITBONE_TIME_ZONE", "UTC", "time_zone", UTC),
        ("SITBONE_PAGES", "off", "pages", "off"),
        ("SITBONE_DEMO", "on", "demo", "on"),
        ("SITBONE_METRICS_TOKEN", "0123456789abcdef", "metrics_token", "0123456789abcdef"),
    ],
)
def test_a_variable_sets_its_member_and_no_other(variable: str, value: str, member: str, read: object) -> None:
    settings = Settings.from_environment({variable: value})

    assert getattr(settings, member) == read
    others = {name: getattr(settings, name) for name in Settings.__slots__ if name != member}
    assert others == {name: getattr(Settings(), name) for name in others}


def test_a_path_that_is_there_is_taken(tmp_path: Path) -> None:
    (file := tmp_path / "clients.toml").touch()

    assert Settings.from_environment({"SITBONE_KNOWLEDGE_DIR": str(tmp_path)}).knowledge_dir == tmp_path
    assert Settings.from_environment({"SITBONE_STORE": str(tmp_path)}).store == tmp_path
    assert Settings.from_environment({"SITBONE_AUDIT": str(tmp_path)}).audit == tmp_path
    assert Settings.from_environment({"SITBONE_CLIENTS": str(file), "SITBONE_DRAFT": "show"}).clients == file


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("10.0.0.5", False),
        ("::ffff:10.0.0.5", False),
        ("::ffff:127.0.0.1", False),
        ("localhost.example.org", False),
        ("sitbone", False),
    ],
)
def test_a_loopback_host_is_one_that_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_the_specific_port_wins_over_the_general_one() -> None:
    assert Settings.from_environment({"PORT": "9000", "SITBONE_PORT": "9001"}).port == 9001


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SITBONE_HOST", "http://host"),
        ("PORT", "0"),
        ("PORT", "http"),
        ("SITBONE_PORT", "65536"),
        ("SITBONE_PORT", "80.5"),
        ("SITBONE_WORKERS", "0"),
        ("SITBONE_WORKERS", "65"),
        ("SITBONE_THREADS", "many"),
        ("SITBONE_MAX_IN_FLIGHT", "0"),
        ("SITBONE_WORKER_CLASS", "asgi"),
        ("SITBONE_KEEP_ALIVE", "-1"),
        ("SITBONE_BODY_LIMIT", "999"),
        ("SITBONE_ALLOWED_ORIGINS", "ehr.example.org"),
        ("SITBONE_ALLOWED_ORIGINS", "https://ehr.example.org/path"),
        ("SITBONE_ALLOWED_ORIGINS", "https://*.example.org"),
        ("SITBONE_ALLOWED_ORIGINS", "*,https://ehr.example.org"),
        ("SITBONE_ALLOWED_ORIGINS", "https://ehr.example.org,"),
        ("SITBONE_PUBLIC_BASE_URL", "cds.example.org"),
        ("SITBONE_PUBLIC_BASE_URL", "ftp://cds.example.org"),
        ("SITBONE_CARD_PROBLEMS", "http://intranet.example.org/form"),
        ("SITBONE_SNOMED_CT", "some"),
        ("SITBONE_LOG_LEVEL", "loud"),
        ("SITBONE_KNOWLEDGE_DIR", "/nowhere/folder"),
        ("SITBONE_CLIENTS", "/nowhere/clients.toml"),
        ("SITBONE_STORE", "/nowhere/folder"),
        ("SITBONE_AUDIT", "/nowhere/folder"),
        ("SITBONE_AUDIT_DAYS", "-1"),
        ("SITBONE_SUPPRESSION_DAYS", "366"),
        ("SITBONE_TRUSTED_PROXIES", "11"),
        ("SITBONE_SIGNERS", "/nowhere/signers.toml"),
        ("SITBONE_SIGNATURES", "/nowhere/folder"),
        ("SITBONE_REVIEW_GRACE_DAYS", "-1"),
        ("SITBONE_TIME_ZONE", "Berlin/Mitte"),
        ("SITBONE_TIME_ZONE", "../secret"),
        ("SITBONE_PAGES", "yes"),
        ("SITBONE_DEMO", "1"),
    ],
)
def test_a_wrong_value_is_told_with_variable_value_and_what_is_allowed(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({variable: value})

    said = f"{variable} is {json.dumps(value)} and must be "
    assert str(refused.value).startswith(said)
    assert re.fullmatch("[^.]+(\\.[^. ]+)*\\.", str(refused.value).removeprefix(said))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SITBONE_LOG_KEY", "opensesame"),
        ("SITBONE_CARD_KEY", "opensesame"),
        ("SITBONE_METRICS_TOKEN", "opensesame"),
        ("SITBONE_APP_KEYS", "opensesame"),
        ("SITBONE_STORE_URL", "user:opensesame@host"),
        ("SITBONE_AUDIT_URL", "user:opensesame@host"),
    ],
)
def test_of_a_secret_it_is_told_what_is_allowed_and_never_what_it_was(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({variable: value})

    assert str(refused.value).startswith(f"{variable} is a secret, which is not shown here, and must be ")
    assert "sesame" not in str(refused.value)


def test_every_setting_whose_name_says_that_it_is_secret_is_marked_so() -> None:
    telling = {name for name in Settings.__slots__ if re.search(r"(^|_)(keys?|token|password|secret)$|_url$", name)}

    assert telling - {"public_base_url"} == _SECRETS
    assert "opensesame" not in repr(Settings(**dict.fromkeys(_SECRETS, "opensesame")))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SITBONE_PUBLIC_BASE_URL", "ftp://user:opensesame@cds.example.org"),
        ("SITBONE_PUBLIC_BASE_URL", "https://cds.example.org/?token=opensesame"),
        ("SITBONE_PUBLIC_BASE_URL", "https://cds.example.org/#opensesame"),
        ("SITBONE_CARD_PROBLEMS", "https://intranet.example.org/form#opensesame"),
        ("SITBONE_ALLOWED_ORIGINS", "https://opensesame@ehr.example.org"),
        ("SITBONE_CLIENTS", "https://user:opensesame@host/clients.toml"),
    ],
)
def test_where_a_password_may_stand_in_a_value_that_is_no_secret_it_is_not_shown(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({variable: value})

    assert str(refused.value).startswith(f"{variable} is something with an @ or a query")
    assert "sesame" not in str(refused.value)


def test_what_an_unknown_variable_was_set_to_is_not_told() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({"SITBONE_TOKEN": "opensesame"})

    assert "sesame" not in str(refused.value)


def test_a_value_is_told_in_one_line_and_cut_where_it_is_long() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({"SITBONE_WORKERS": "two\nthree"})
    assert 'SITBONE_WORKERS is "two\\nthree" and must be' in str(refused.value)
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({"SITBONE_WORKERS": "2" * 5_000})
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("SITBONE_PROT", "SITBONE_PROT is not a setting; is SITBONE_PORT meant?"),
        ("SITBONE_QQQQQQQQQQ", "SITBONE_QQQQQQQQQQ is not a setting."),
    ],
)
def test_an_unknown_variable_of_ours_is_refused_and_the_nearest_is_named(variable: str, says: str) -> None:
    with pytest.raises(SettingsError, match=f"^{re.escape(says)}$"):
        Settings.from_environment({variable: ""})


@pytest.mark.parametrize(("former", "new"), FORMER_NAMES.items())
@pytest.mark.parametrize("value", ["", "30"])
def test_the_former_name_of_a_setting_ends_the_start_and_says_the_new_one(former: str, new: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{former} is called {new} now: set it under that name\\.$"):
        Settings.from_environment({former: value})
    assert new in _FIELDS


def test_the_addresses_that_kubernetes_gives_to_pods_are_no_settings() -> None:
    environ = {
        "SITBONE_PORT": "tcp://10.0.0.11:8080",
        "SITBONE_PORT_8080_TCP": "tcp://10.0.0.11:8080",
        "SITBONE_PORT_8080_TCP_ADDR": "10.0.0.11",
        "SITBONE_SERVICE_HOST": "10.0.0.11",
        "SITBONE_SERVICE_PORT": "8080",
        "SITBONE_SERVICE_PORT_HTTP": "8080",
    }

    assert Settings.from_environment(environ) == Settings()


@pytest.mark.parametrize("variable", [name for name, field in _FIELDS.items() if field.name in _SECRETS])
def test_a_secret_may_stand_in_a_file(variable: str, tmp_path: Path) -> None:
    value = "a" * 43 + "=" if "APP" in variable else "postgresql://host/db" if "URL" in variable else "0123456789abcdef"
    (file := tmp_path / "secret").write_text(f"{value}\n")

    read = Settings.from_environment({f"{variable}_FILE": str(file)})

    assert read == Settings.from_environment({variable: value}) != Settings()


def test_nothing_else_is_read_from_a_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="SITBONE_WORKERS_FILE is not a setting"):
        Settings.from_environment({"SITBONE_WORKERS_FILE": str(tmp_path)})


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("nowhere", '"nowhere" and must be a file that can be read: No such file'),
        ("latin", "and must be a file that can be read: it is not text."),
        ("empty", "and must be a file with the secret in it: it is empty."),
        ("short", "is a secret, which is not shown here, and must be 16 to 64 letters"),
    ],
)
def test_a_file_without_a_secret_is_told_and_what_is_in_it_is_not(
    file: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("latin").write_bytes(b"opensesame\xff")
    Path("empty").write_text("\n")
    Path("short").write_text("opensesame")
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({"SITBONE_LOG_KEY_FILE": file})

    assert says in str(refused.value)
    assert "sesame" not in str(refused.value)


def test_a_secret_and_its_file_are_not_both_set(tmp_path: Path) -> None:
    (file := tmp_path / "secret").write_text("0123456789abcdef")
    environ = {"SITBONE_LOG_KEY_FILE": str(file), "SITBONE_LOG_KEY": "fedcba9876543210"}

    with pytest.raises(SettingsError, match="SITBONE_LOG_KEY_FILE and SITBONE_LOG_KEY are both set"):
        Settings.from_environment(environ)
    assert Settings.from_environment(environ | {"SITBONE_LOG_KEY": ""}).log_key == "0123456789abcdef"
