"""The ids of cards: made by a key, without which nobody can try out whose card one is."""

import json
import re
from pathlib import Path

import pytest

from cds_hooks.trust.signing import key_set, new_key
from service.app import create_app
from service.commands.replay import PUBLISHED_KEY, answers, in_process, over_http, read_folder
from service.commands.replay import replay as replayed
from service.settings import EHR_PROFILES, Settings
from tests.charts import CLOCK
from tests.serving import running

FIXTURES = Path(__file__).parents[1] / "fixtures"
PATH = "/cds-services/gluteal-hamstring-pain"
CALL = (FIXTURES / "requests" / "sudden-pop-with-bruising.json").read_bytes()
# Not within the address of a document.
_UUID = re.compile(r"(?<!=)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def uuids(value: object) -> list[str]:
    return _UUID.findall(json.dumps(value))


def ids_of(settings: Settings) -> list[str]:
    app = create_app(settings, clock=lambda: CLOCK)
    answer = app.test_client().post(PATH, data=CALL, content_type="application/json")
    assert answer.status_code == 200
    return uuids(answer.get_json())


@pytest.mark.parametrize("ehr", EHR_PROFILES)
def test_every_id_that_the_service_makes_depends_on_the_key(ehr: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every id in every answer to the fixtures, but for those that the request has."""
    folder = read_folder(FIXTURES)
    settings = Settings(ehr=ehr, pama_rating="on")
    one = answers(folder, in_process(settings, folder.clock))
    monkeypatch.setattr("service.commands.replay.PUBLISHED_KEY", "another-key-of-no-importance")
    other = answers(folder, in_process(settings, folder.clock))
    made = 0
    for name, request in folder.requests.items():
        given, first, second = (frozenset(uuids(value)) for value in (request, one[name], other[name]))
        assert not (first & second) - given
        made += len(first - given)
    # Without a preference list Epic is offered no orders, and so has fewer ids.
    assert made > (200 if ehr == "epic" else 300)


def test_under_one_key_the_same_call_has_the_same_ids_and_without_one_no_two_starts_have() -> None:
    keyed = Settings(card_key="0123456789abcdef")
    assert ids_of(keyed) == ids_of(keyed)
    assert not set(ids_of(keyed)) & set(ids_of(Settings(card_key="fedcba9876543210")))
    assert not set(ids_of(Settings())) & set(ids_of(Settings()))
    assert not set(ids_of(Settings())) & set(ids_of(Settings(card_key=PUBLISHED_KEY)))


def test_the_key_is_kept_with_the_store_and_a_setting_goes_before_it(tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_text(json.dumps(key_set(new_key("ES384", "mine"))))
    (tmp_path / "clients.toml").write_text('[clients.a]\nissuers = ["https://a/"]\njwks_file = "jwks.json"\n')
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir(mode=0o700)

    def key(folder: str, card_key: str | None = None) -> object:
        settings = Settings(draft="show", clients=tmp_path / "clients.toml", store=tmp_path / folder, card_key=card_key)
        return create_app(settings).extensions["card_ids"].of("a call")

    assert key("here") == key("here")
    assert key("here") != key("there")
    assert key("here", "0123456789abcdef") == key("there", "0123456789abcdef")


def test_a_replay_over_http_looks_past_the_ids_of_a_running_service(repository: Path, tmp_path: Path) -> None:
    for kind in ("requests", "responses"):
        (tmp_path / kind).mkdir()
        name = f"{kind}/sudden-pop-with-bruising.json"
        (tmp_path / name).write_text((FIXTURES / name).read_text())
    (tmp_path / "clock.txt").write_text((FIXTURES / "clock.txt").read_text())
    with running(repository, SITBONE_AUDIT="off") as (base, _stop):
        assert replayed(tmp_path, Settings(), base) == {"sudden-pop-with-bruising": ()}
        assert not set(uuids(json.loads(over_http(base)(PATH, "a", CALL)))) & set(
            uuids(json.loads((tmp_path / "responses" / "sudden-pop-with-bruising.json").read_text()))
        )
