"""Silent mode: everything is done but answered."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cds_hooks.trust.signing import claims_for, key_set, new_key, sign
from service.app import create_app
from service.audit import open_audit
from service.audit.database import reading
from service.audit.insights import Period, call_counts, totals
from service.commands.replay import answers, read_folder
from service.settings import Settings, SettingsError
from tests.charts import CLOCK
from tests.recording import FIXTURES, KEY, PATH, Clock, Site, rows

FOLDER = read_folder(FIXTURES.parent)
# What is made anew for each call, tells how long it took, or is asked of some calls only while many wait.
_OF_THE_CALL = ("id", "call", "took", "not_valid", "mode")


def site(folder: Path, mode: str, **settings: Any) -> Site:
    folder.mkdir(mode=0o700, exist_ok=True)
    clock = Clock()
    clock.now = FOLDER.clock
    return Site(Settings(audit=folder, log_key=KEY, card_key=KEY, mode=mode, pama_rating="on", **settings), clock)


def answered(of: Site) -> dict[str, Any]:
    """The answers to all published requests."""

    def call(path: str, name: str, body: bytes | None) -> bytes:
        headers = {"X-Correlation-Id": name, "Content-Type": "application/json"}
        return (of.client.get(path) if body is None else of.client.post(path, data=body, headers=headers)).get_data()

    return dict(answers(FOLDER, call))


def kept(of: Site, table: str) -> list[dict[str, Any]]:
    found = [{name: value for name, value in row.items() if name not in _OF_THE_CALL} for row in of.rows(table)]
    return sorted(found, key=lambda row: json.dumps(row, sort_keys=True))


def counted(of: Site) -> Iterator[tuple[str, tuple[tuple[str, str], ...], float]]:
    """What the metrics count of calls, without the mode that they carry; no times."""
    for family in text_string_to_metric_families(of.client.get("/metrics").get_data(as_text=True)):
        for sample in family.samples:
            if sample.name.endswith("_total") and sample.name != "sitbone_responses_total":
                labels = {name: value for name, value in sample.labels.items() if name != "mode"}
                yield sample.name, tuple(sorted(labels.items())), sample.value


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Site]]:
    """A live and a silent service that were sent all published requests."""
    folder = tmp_path_factory.mktemp("sites")
    made = site(folder / "live", "live"), site(folder / "silent", "silent")
    yield made
    for each in made:
        each.audit.close()


def test_a_silent_service_answers_every_published_request_with_no_card_no_action_and_no_extension(
    both: tuple[Site, Site],
) -> None:
    live, silent = map(answered, both)
    assert sum(bool(each.get("cards")) for each in live.values()) > 100
    assert sum("systemActions" in each for each in live.values()) > 0
    with_answer = {name for name, each in live.items() if "cards" in each}
    assert {name: silent[name] for name in with_answer} == {name: {"cards": []} for name in with_answer}
    # What is refused is refused with the same reason.
    assert {name: silent[name] for name in live.keys() - with_answer} == {
        name: live[name] for name in live.keys() - with_answer
    }


def test_audit_trail_and_metrics_are_those_of_a_live_service_but_for_the_mode(both: tuple[Site, Site]) -> None:
    live, silent = both
    for table in ("audit_calls", "audit_cards"):
        assert kept(live, table)
        assert kept(silent, table) == kept(live, table)
        assert {row["mode"] for row in rows(live.audit.engine, table)} == {"live"}
        assert {row["mode"] for row in rows(silent.audit.engine, table)} == {"silent"}
    assert sorted(counted(silent)) == sorted(counted(live))
    assert 'mode="silent"' in silent.client.get("/metrics").get_data(as_text=True)


def test_no_figure_of_a_report_mixes_the_modes(both: tuple[Site, Site]) -> None:
    _live, silent = both
    now = int(FOLDER.clock.timestamp() * 1000)
    with reading(silent.audit.engine) as connection:
        live = totals(connection, Period(0, now + 1))
        of_silent = totals(connection, Period(0, now + 1, mode="silent"))
        assert (live.calls, live.shown, call_counts(connection, Period(0, now + 1))) == (0, 0, ())
    assert of_silent.calls == len(FOLDER.requests)
    assert of_silent.shown > 100


@pytest.mark.parametrize("mode", ["live", "silent"])
def test_readiness_and_discovery_say_the_mode(mode: str, tmp_path: Path) -> None:
    client = create_app(Settings(mode=mode)).test_client()
    assert client.get("/readyz").get_json()["mode"] == mode
    entries = client.get("/cds-services").get_json()["services"]
    assert {entry["extension"]["org.sitbone.release"]["mode"] for entry in entries} == {mode}


@pytest.mark.parametrize(("of_site", "of_ward"), [("silent", "live"), ("live", "silent")])
def test_one_client_is_live_and_another_silent_in_the_same_process(of_site: str, of_ward: str, tmp_path: Path) -> None:
    key = new_key()
    (tmp_path / "keys.json").write_text(json.dumps(key_set(key)), "utf-8")
    entry = '[clients.{name}]\nissuers = ["{name}"]\njwks_file = "keys.json"\n{more}\n'
    (tmp_path / "clients.toml").write_text(
        entry.format(name="ward", more=f'mode = "{of_ward}"') + entry.format(name="rest", more=""), "utf-8"
    )
    (tmp_path / "store").mkdir(mode=0o700)
    settings = Settings(draft="show", clients=tmp_path / "clients.toml", store=tmp_path / "store", mode=of_site)
    audit = open_audit(settings)
    assert audit is not None
    client = create_app(settings, clock=lambda: CLOCK, audit=audit).test_client()
    body = (FIXTURES / "sudden-pop-with-bruising.json").read_bytes()
    seen = {}
    for name in ("ward", "rest"):

        def signed(path: str, name: str = name) -> dict[str, str]:
            token = sign(key, claims_for(name, f"http://localhost{path}", CLOCK.timestamp()))
            return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

        answer = client.post(PATH, data=body, headers=signed(PATH)).get_json()
        (first, *_) = client.get("/cds-services", headers=signed("/cds-services")).get_json()["services"]
        seen[name] = bool(answer["cards"]), "extension" in answer, first["extension"]["org.sitbone.release"]["mode"]
    says = {"live": (True, True, "live"), "silent": (False, False, "silent")}
    assert seen == {"ward": says[of_ward], "rest": says[of_site]}
    assert client.get("/readyz").get_json()["mode"] == "mixed"
    audit.close()
    assert {row["client"]: row["mode"] for row in rows(audit.engine, "audit_calls")} == {
        "ward": of_ward,
        "rest": of_site,
    }


# -- drafts -----------------------------------------------------------------------------------------------------------


def answer_of(settings: Settings) -> Any:
    body = (FIXTURES / "sudden-pop-with-bruising.json").read_bytes()
    client = create_app(settings, clock=lambda: CLOCK).test_client()
    return client.post(PATH, data=body, content_type="application/json").get_json()


def test_beside_a_file_of_clients_the_start_ends_until_it_is_said_what_drafts_do(tmp_path: Path) -> None:
    (clients := tmp_path / "clients.toml").touch()
    with pytest.raises(SettingsError, match=r"SITBONE_DRAFT must say .* show .* silent .* refuse"):
        create_app(Settings(clients=clients))


def test_without_a_file_of_clients_nothing_falls_silent() -> None:
    assert answer_of(Settings(card_key=KEY)) == answer_of(Settings(card_key=KEY, draft="show"))
    assert answer_of(Settings())["cards"]


def test_where_drafts_are_silent_and_all_are_drafts_the_service_is_silent() -> None:
    settings = Settings(draft="silent")
    assert answer_of(settings) == {"cards": []}
    assert create_app(settings).test_client().get("/readyz").get_json()["mode"] == "silent"


def test_where_drafts_are_refused_the_start_names_one() -> None:
    with pytest.raises(SettingsError, match=r"SITBONE_DRAFT is refuse, and \d+ recommendations are drafts, such as "):
        create_app(Settings(draft="refuse"))


def test_a_single_recommendation_can_be_silent_and_must_exist() -> None:
    loud = answer_of(Settings(card_key=KEY))
    first = loud["cards"][0]["extension"]["org.sitbone.basis"]["recommendations"][0]["id"]
    quiet = answer_of(Settings(card_key=KEY, silent=(first,)))
    said = [each["id"] for card in quiet["cards"] for each in card["extension"]["org.sitbone.basis"]["recommendations"]]
    assert said
    assert first not in json.dumps(quiet)
    with pytest.raises(SettingsError, match="SITBONE_SILENT names rl99"):
        create_app(Settings(silent=("rl99",)))
