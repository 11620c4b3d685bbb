"""`/insights`: what became of the advice, as plots, tables and CSV."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy.exc import OperationalError

from cds_hooks.trust.signing import key_set, new_key
from service.app import create_app
from service.pages.insights import QUESTIONS
from service.pages.plots import Row, Span, bars, columns, spans
from service.settings import Settings
from tests.recording import KEY, Clock, Site

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    tmp_path.chmod(0o700)
    made = Site(Settings(audit=tmp_path, log_key=KEY), Clock())
    yield made
    made.audit.close()
    made.audit.engine.dispose()


@pytest.fixture
def busy(site: Site) -> Site:
    """A day on which two charts were opened, a card was accepted and one overridden, and a chart had no Observation."""
    first = site.call().get_json()["cards"][0]["uuid"]
    second = site.call("sudden-tear").get_json()["cards"][0]["uuid"]
    site.clock.move(seconds=30)
    reason = {"reason": {"code": "already-done", "system": "x"}, "userComment": "<b>seen</b>"}
    assert site.report(site.outcome(first, "accepted"), site.outcome(second, overrideReason=reason)) == 200
    site.audit.close()
    return site


def page(site: Site, query: str = "") -> str:
    answer = site.client.get(f"/insights{query}")
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


def pictures(text: str) -> list[ET.Element]:
    return [ET.fromstring(found) for found in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]  # noqa: S314 - it is ours


def across(element: ET.Element, name: str) -> float:
    return float(str(element.get(name)).removesuffix("%"))


def test_an_empty_record_says_that_it_is_empty(site: Site) -> None:
    text = page(site)
    assert "The audit trail holds no call and no feedback of this time." in text
    assert "<svg" not in text


def test_without_a_record_it_says_that_none_is_kept() -> None:
    client = create_app(Settings()).test_client()
    assert "No audit trail is kept here" in client.get("/insights").get_data(as_text=True)
    assert client.get("/insights/weeks.csv").data.splitlines() == [
        b"week,client,shown,accepted,overridden,ignored,suppressed"
    ]


def test_every_plot_has_title_description_axis_table_and_csv(busy: Site) -> None:
    text = page(busy)
    made = pictures(text)
    assert len(made) == len(QUESTIONS)
    assert len(re.findall("<table>", text)) == len(QUESTIONS)
    for picture in made:
        named = str(picture.get("aria-labelledby")).split()
        found = {element.get("id"): element.text for element in picture if element.get("id")}
        assert picture.get("role") == "img"
        assert all(found[name] for name in named)
        assert picture.findall("line[@class='grid']")
        assert picture.findall("text")
    for question in QUESTIONS:
        name = question.name.replace("_", "-")
        assert f'href="insights/{name}.csv?' in text
        assert busy.client.get(f"/insights/{name}.csv").mimetype == "text/csv"


def test_the_csv_holds_what_the_record_answers(busy: Site) -> None:
    text = busy.client.get("/insights/weeks.csv").get_data(as_text=True)
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["week"], row["accepted"], row["overridden"]) == ("2026-11-23", "1", "1")
    assert int(row["shown"]) == int(row["accepted"]) + int(row["overridden"]) + int(row["ignored"])


def test_the_numbers_of_the_page_are_those_of_the_record(busy: Site) -> None:
    text = page(busy)
    assert "<dt>Calls</dt><dd>2</dd>" in text
    assert "<dt>Accepted</dt><dd>1</dd>" in text
    assert "<dt>Overridden</dt><dd>1</dd>" in text


def test_who_never_sends_a_key_is_said_in_a_sentence(site: Site) -> None:
    for _ in range(3):
        site.call("complaint-unknown")
    site.audit.close()
    sentences = re.findall(r"<li>(Callers without a name: \S+ never came with data, in 3 calls\.)</li>", page(site))
    assert sentences
    assert not [each for each in sentences if ": patient " in each]


@pytest.mark.parametrize(
    ("query", "there"),
    [
        ("", True),
        ("?from=2026-11-23&to=2026-11-23", True),
        ("?from=2026-11-01&to=2026-11-22", False),
        ("?client=another", False),
        ("?client=", True),
        ("?from=&to=", True),
        ("?from=2026-11-00&to=2026-11-31", True),
        ("?from=0000-00-00&to=9999-99-99", True),
        ("?from=0001-01-01&to=9999-12-31", True),
        ("?from=2026-11-24&to=2026-11-22", True),
    ],
)
def test_the_filters_leave_what_they_name(busy: Site, query: str, there: bool) -> None:
    assert ("<svg" in page(busy, query)) is there


def test_the_filters_stay_in_the_form_and_in_the_links(busy: Site) -> None:
    text = page(busy, "?from=2026-11-20&to=2026-11-24")
    assert 'name="from" value="2026-11-20"' in text
    assert "cards.csv?from=2026-11-20&amp;to=2026-11-24&amp;client=" in text


@pytest.mark.parametrize("query", ["from=yesterday", "to=2026-1-1", "from=20261122", "to=2026-W47-7"])
@pytest.mark.parametrize("path", ["/insights", "/insights/cards.csv"])
def test_a_day_that_is_none_is_refused_without_repeating_it(site: Site, path: str, query: str) -> None:
    answer = site.client.get(f"{path}?{query}")
    assert answer.status_code == 400
    assert "yesterday" not in answer.get_data(as_text=True)


def test_the_tables_of_the_document_are_those_of_the_page(repository: Path) -> None:
    document = yaml.safe_load((repository / "openapi.yaml").read_text("utf-8"))
    names = document["paths"]["/insights/{id}.csv"]["parameters"][0]["schema"]["enum"]
    assert names == [question.name.replace("_", "-") for question in QUESTIONS]


def test_an_unknown_table_is_not_found(site: Site) -> None:
    assert site.client.get("/insights/patients.csv").status_code == 404


def test_a_client_that_somebody_makes_up_is_shown_as_text(busy: Site) -> None:
    assert "<script>" not in page(busy, "?client=%3Cscript%3E")


def test_neither_comment_nor_patient_nor_hook_instance_is_on_the_page(busy: Site) -> None:
    text = page(busy)
    for table in ("audit_calls", "audit_cards"):
        for row in busy.rows(table):
            assert str(row["patient"]) not in text
    assert "seen" not in text


def test_the_policy_allows_its_style_and_its_form_and_no_script(busy: Site) -> None:
    answer = busy.client.get("/insights")
    policy = answer.headers["Content-Security-Policy"]
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[^']+'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        policy,
    )
    text = answer.get_data(as_text=True)
    assert "<script" not in text
    assert " style=" not in text
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_it_is_not_there_where_the_pages_are_off() -> None:
    assert create_app(Settings(pages="off")).test_client().get("/insights").status_code == 404


def test_a_database_that_is_away_is_503(busy: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_given: object) -> None:
        raise OperationalError("", {}, Exception())

    monkeypatch.setattr("service.audit.report.report", away)
    answer = busy.client.get("/insights")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


def test_bars_are_as_long_as_their_numbers_and_stand_one_after_the_other() -> None:
    (picture,) = pictures(bars("x", "Title", ("a", "b"), [Row("one", (2, 6)), Row("two", (0, 4))], "cards"))
    boxes = [(box.get("class"), across(box, "x"), across(box, "width")) for box in picture.findall("rect")]
    legend = 2
    (_a, x, wide), (_b, next_x, next_wide), (third, third_x, third_wide) = boxes[legend:]
    assert next_x == pytest.approx(x + wide, abs=0.02)
    assert next_wide == pytest.approx(3 * wide, abs=0.02)
    assert (third, third_x) == ("s1", x)
    assert third_wide == pytest.approx(2 * wide, abs=0.02)


@pytest.mark.parametrize("most", [0, 0.0004, 1, 7, 10, 99, 101, 12_345])
def test_an_axis_holds_its_longest_bar_and_has_few_ticks(most: float) -> None:
    for drawn in (
        bars("x", "Title", ("a",), [Row("one", (most,))], "cards"),
        columns("x", "Title", ("a",), [Row("one", (most,))], "cards"),
        spans("x", "Title", [Span("one", 0, most / 2, most)], "seconds"),
    ):
        (picture,) = pictures(drawn)
        assert 2 <= len(picture.findall("line[@class='grid']")) <= 7
        for box in picture.findall("rect"):
            assert across(box, "x") + across(box, "width") <= across(picture, "width")


def labels(drawn: str) -> dict[str, str]:
    """What is written above the rows -> the whole of it."""
    (picture,) = pictures(drawn)
    return {str(title.tail): str(title.text) for title in picture.findall("text/title")}


@pytest.mark.parametrize(
    "draw",
    [
        lambda rows: bars("x", "Title", ("a",), [Row(label, (1,), of) for of, label in rows], "cards"),
        lambda rows: spans("x", "Title", [Span(label, 0, 1, 2, of) for of, label in rows], "seconds"),
    ],
)
def test_of_a_label_without_room_the_client_is_shortened_and_the_whole_can_be_had(draw: Any) -> None:
    """What tells two rows apart stays: the end of the label, and both ends of the name of the client."""
    rows = [
        (client, f"as06-acetaminophen-over-lower-limit, {outcome}")
        for client in ("general-hospital-north-wing-epic", "general-hospital-north-wing-oracle")
        for outcome in ("accepted", "overridden")
    ]
    shown = labels(draw(rows))
    assert list(shown.values()) == [f"{client}, {label}" for client, label in rows]
    assert [words.partition(", ")[2] for words in shown] == [label for _client, label in rows]
    assert len(shown) == len(rows)
    assert max(map(len, shown)) < 60


def test_a_label_with_room_is_whole() -> None:
    assert labels(bars("x", "Title", ("a",), [Row("r1, accepted", (1,), "clinic"), Row("r2", (1,))], "cards")) == {
        "clinic, r1, accepted": "clinic, r1, accepted",
        "r2": "r2",
    }


def test_a_legend_goes_on_in_another_line_where_there_is_no_room_for_it() -> None:
    (picture,) = pictures(bars("x", "Title", ["a-state-of-the-data"] * 4, [Row("one", (1, 1, 1, 1))], "calls"))
    boxes = [box for box in picture.findall("rect") if not str(box.get("x")).endswith("%")]
    assert {float(str(box.get("x"))) for box in boxes} == {0.0}
    assert len({box.get("y") for box in boxes}) == len(boxes) == 4


def test_time_to_action_has_one_unit_in_plot_table_and_csv(busy: Site) -> None:
    text = page(busy)
    (plot,) = [each for each in pictures(text) if each.get("aria-labelledby", "").startswith("times-to-action")]
    assert "seconds" in [each.text for each in plot.findall("text")]
    assert "30" in [each.text for each in plot.findall("text")]
    assert '<th scope="col">median seconds</th>' in text
    (first, *_others) = csv.DictReader(io.StringIO(busy.client.get("/insights/times-to-action.csv").text))
    assert first["median_seconds"] == "30.0"


def test_weeks_without_a_card_are_on_the_axis(site: Site) -> None:
    site.call()
    site.clock.move(weeks=6)
    site.call()
    site.audit.close()
    text = page(site, "?from=2026-11-01&to=2027-02-28")
    (plot,) = [each for each in pictures(text) if each.get("aria-labelledby", "").startswith("weeks")]
    days = [each.text for each in plot.findall("text") if str(each.text).startswith("202")]
    assert days == [
        *("2026-11-23", "2026-11-30", "2026-12-07", "2026-12-14", "2026-12-21", "2026-12-28", "2027-01-04"),
    ]


def test_what_is_drawn_is_escaped() -> None:
    drawn = bars("x", "<T>", ("<s>",), [Row("<r>", (1,))], "<u>")
    assert not re.search(r"<[TSRU]>", drawn, re.IGNORECASE)


def test_a_week_counts_a_card_with_several_recommendations_once(busy: Site) -> None:
    (week,) = csv.DictReader(io.StringIO(busy.client.get("/insights/weeks.csv").get_data(as_text=True)))
    cards = list(csv.DictReader(io.StringIO(busy.client.get("/insights/cards.csv").get_data(as_text=True))))
    assert int(week["shown"]) == len(busy.rows("audit_cards"))
    assert sum(int(row["shown"]) for row in cards) > int(week["shown"])


@pytest.mark.parametrize(
    ("token", "sent", "status"),
    [(None, "", 404), (KEY, "", 401), (KEY, "Bearer another", 401), (KEY, f"Bearer {KEY}", 200)],
)
def test_beside_a_file_of_clients_it_is_read_with_the_token_of_the_metrics_alone(
    token: str | None, sent: str, status: int, tmp_path: Path
) -> None:
    (tmp_path / "jwks.json").write_text(json.dumps(key_set(new_key("ES384", "mine"))))
    (tmp_path / "clients.toml").write_text('[clients.a]\nissuers = ["https://a/"]\njwks_file = "jwks.json"\n')
    settings = Settings(
        draft="show", clients=tmp_path / "clients.toml", store=tmp_path, pages="on", metrics_token=token
    )
    client = create_app(settings).test_client()
    for path in ("/insights", "/insights/weeks.csv"):
        assert client.get(path, headers={"Authorization": sent}).status_code == status
