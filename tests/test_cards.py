"""The fixtures as whole answers: exactly reproduced, valid, and with orders that an EHR can take."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from flask.testing import FlaskClient

from cds_hooks import RESPONSE_SCHEMA
from fixtures import build
from service.answers.card_lines import is_named
from service.app import create_app
from service.commands.replay import PUBLISHED_AT, PUBLISHED_KEY, read_folder
from service.fhir_validation import violations
from service.knowledge_model.model import ORDER_SYSTEM, PACKAGED
from service.knowledge_model.vocabulary import SYSTEMS
from service.release.digests import without_digests
from service.settings import Settings
from tests.charts import CLOCK, PATIENT, SERVICE, Json, assessment_of, build_request, packaged, sentence

FIXTURES = Path(__file__).parents[1] / "fixtures"
# The requests about the chart; those about the hook context lie in a folder for each service.
NAMES = sorted(path.stem for path in (FIXTURES / "requests").glob("*.json"))


def every(kind: str) -> list[str]:
    folder = FIXTURES / kind
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.json"))


def read(kind: str, name: str) -> Json:
    found: Json = json.loads((FIXTURES / kind / f"{name}.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    published = Settings(card_key=PUBLISHED_KEY, public_base_url=PUBLISHED_AT)
    return create_app(published, clock=lambda: CLOCK).test_client()


def suggested(response: Json) -> Iterator[tuple[Json, Json]]:
    """Every suggestion with the resource of its one action."""
    for card in response["cards"]:
        for suggestion in card.get("suggestions", ()):
            (action,) = suggestion["actions"]
            yield suggestion, action["resource"]


def every_card() -> Iterator[tuple[str, Json]]:
    """Every card of every response, with the name of the response."""
    for name in every("responses"):
        for card in read("responses", name)["cards"]:
            yield name, card


def every_suggestion() -> Iterator[tuple[str, Json, Json]]:
    """Every suggestion about the chart and its resource, with the name of the response."""
    for name in NAMES:
        for suggestion, resource in suggested(read("responses", name)):
            yield name, suggestion, resource


def steps_of(suggestion: Json) -> list[str]:
    return [action["type"] for action in suggestion.get("actions", ())]


def test_every_suggestion_can_be_taken_in_the_official_sandbox() -> None:
    """Its Rx tabs do nothing after a deletion and need a text and a first code of a medicine; its PAMA tab breaks on a
    suggestion without actions, and on an update without a rating."""
    for name, card in every_card():
        for suggestion in card.get("suggestions", ()):
            steps = steps_of(suggestion)
            assert steps, name
            assert steps == sorted(steps), name
            assert set(steps) <= {"create", "delete"}, name
            for action in suggestion["actions"]:
                medicine = action.get("resource", {}).get(
                    "medicationCodeableConcept", {"text": "-", "coding": [{"code": "-"}]}
                )
                assert medicine["text"], name
                assert medicine["coding"][0]["code"], name


def test_requests_and_responses_have_the_same_names() -> None:
    assert every("responses") == every("requests")


def test_the_requests_are_those_of_the_named_cases() -> None:
    written, made = {name: read("requests", name) for name in every("requests")}, build.requests()
    assert written.keys() == made.keys()
    lines = {name: [json.dumps(of[name], indent=1).splitlines() for of in (written, made)] for name in made}
    assert {
        name: next(pair for pair in zip(*of, strict=False) if pair[0] != pair[1])
        for name, of in lines.items()
        if of[0] != of[1]
    } == {}


def test_the_clock_of_the_fixtures_is_the_clock_of_the_cases() -> None:
    assert read_folder(FIXTURES).clock == CLOCK


def test_the_fixtures_show_every_red_flag_cause_and_imaging_step() -> None:
    knowledge = packaged()
    assessed = [assessment_of(read("responses", name)) for name in NAMES]
    assert {flag["id"] for found in assessed for flag in found["redFlags"]} == set(knowledge.engine.red_flags)
    leading = {cause["id"] for found in assessed for cause in found["causes"] if cause["band"] == "leads"}
    assert leading == knowledge.causes.keys()
    called = {(c["modality"], c["region"], c["priority"]) for found in assessed for c in found["imaging"]}
    assert called >= {(c.modality, c.region, c.priority) for r in knowledge.recommendations for c in r.imaging}


@pytest.mark.parametrize("name", NAMES)
def test_a_response_is_exactly_reproduced(client: FlaskClient, name: str) -> None:
    answer = client.post(SERVICE, json=read("requests", name)).get_json()
    assert without_digests(answer) == read("responses", name)


def test_the_same_request_has_the_same_answer_each_time(client: FlaskClient) -> None:
    request = read("requests", "left-and-right")
    answers = {client.post(SERVICE, json=request).get_data() for _ in range(3)}
    assert len(answers) == 1


def test_a_response_passes_the_schema_of_responses() -> None:
    wrong = {name: RESPONSE_SCHEMA.validate(read("responses", name)) for name in NAMES}
    assert {name: errors for name, errors in wrong.items() if errors} == {}


def test_every_order_that_is_suggested_is_a_valid_draft_of_this_patient() -> None:
    for name, suggestion, resource in every_suggestion():
        assert (resource["resourceType"], violations(resource)) == ("ServiceRequest", ""), name
        assert resource["status"] == "draft", name
        assert resource["intent"] == "proposal", name
        assert resource["priority"] in ("stat", "urgent", "routine"), name
        assert resource["subject"] == {"reference": f"Patient/{PATIENT}"}, name
        encounter = read("requests", name)["context"]["encounterId"]
        assert resource["encounter"] == {"reference": f"Encounter/{encounter}"}, name
        assert all(reason["text"] for reason in resource["reasonCode"]), name
        assert resource["code"]["text"] in suggestion["label"], name
        for reason in resource.get("reasonReference", ()):
            assert reason["reference"] in sent(name), name


def sent(name: str) -> set[str]:
    """The references of the resources of a request."""
    return {
        f"{entry['resource']['resourceType']}/{entry['resource']['id']}"
        for value in read("requests", name)["prefetch"].values()
        if value
        for entry in (value["entry"] if value["resourceType"] == "Bundle" else [{"resource": value}])
    }


def codings(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        if "system" in value and "code" in value:
            yield value["system"], value["code"]
        for inner in value.values():
            yield from codings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from codings(inner)


@pytest.fixture(scope="module")
def orderable() -> set[tuple[str, str]]:
    with (PACKAGED / "value_sets" / "orders.csv").open(encoding="utf-8", newline="") as rows:
        standard = {(SYSTEMS[row["system"]], row["code"]) for row in csv.DictReader(rows)}
    return standard | {(ORDER_SYSTEM, key) for key in packaged().orders}


def test_orders_carry_codes_of_the_value_set_of_orders_and_our_own_alone(orderable: set[tuple[str, str]]) -> None:
    of_complaints = {
        (code.system, code.code) for code in packaged().codes if packaged().findings[code.concept].defines_complaint
    }
    for name, _suggestion, resource in every_suggestion():
        assert set(codings({key: value for key, value in resource.items() if key != "reasonCode"})) <= orderable, name
        assert set(codings(resource.get("reasonCode", []))) <= of_complaints, name


def test_no_two_cards_or_suggestions_have_one_uuid() -> None:
    for name in NAMES:
        cards = read("responses", name)["cards"]
        ids = [item["uuid"] for card in cards for item in (card, *card.get("suggestions", ()))]
        assert len(ids) == len(set(ids)), name


def test_every_call_for_imaging_or_referral_is_an_order_on_a_card() -> None:
    # What is ordered or done already is not suggested again: fixtures/cases/orders_on_chart.toml.
    requests = {name: read("requests", name)["prefetch"] for name in NAMES}
    for name in (name for name, of in requests.items() if not (of["orders"]["entry"] or of["imaging"]["entry"])):
        response = read("responses", name)
        assessed = assessment_of(response)
        imaging = (call for call in assessed["imaging"] if call["modality"] != "none-now")
        called = {f"{call['modality']}-{call['region']}" for call in imaging}
        called |= {f"referral-{call['to']}" for call in assessed["referrals"]}
        details = " ".join(card["detail"] for card in response["cards"])
        offered = {resource["code"]["coding"][-1]["code"] for _suggestion, resource in suggested(response)}
        # A card has four suggestions at most, and names what else it calls for.
        assert {key for key in called - offered if packaged().orders[key].short not in details} == set(), name
        assert all(len(card.get("suggestions", ())) <= 4 for card in response["cards"]), name


def test_every_finding_on_a_card_comes_from_a_resource_that_was_sent() -> None:
    for name, card in every_card():
        if name in NAMES:
            for finding in card["extension"]["org.sitbone.basis"]["findings"]:
                if "resource" in finding and finding["resource"] != "Patient":
                    assert finding["resource"] in sent(name), name


def test_the_first_call_of_the_readme_has_no_dates_and_a_critical_card_on_any_day() -> None:
    request = read("requests", "sudden-pop-with-bruising")
    del request["prefetch"]["patient"]["birthDate"]
    assert not re.search(r"\d{4}-\d\d-\d\d(?!\d)", json.dumps(request["prefetch"]))
    later = create_app(clock=lambda: CLOCK.replace(year=CLOCK.year + 5)).test_client()
    answer = later.post(SERVICE, json=read("requests", "sudden-pop-with-bruising")).get_json()
    assert [card["indicator"] for card in answer["cards"]] == ["critical"]


@pytest.mark.parametrize("side", ["left", "right", "bilateral"])
def test_an_order_names_the_side_in_words_and_in_its_body_site(client: FlaskClient, side: str) -> None:
    case = {"age": 40, "side": side, "present": ["lateral-hip-pain", "trochanteric-tenderness", "trendelenburg"]}
    orders = [resource for _s, resource in suggested(client.post(SERVICE, json=build_request(case)).get_json())]
    mri = next(order for order in orders if order["code"]["text"].startswith("MRI of the hip"))
    words = {"left": "left", "right": "right", "bilateral": "both sides"}[side]
    codes = {"left": ("36488-5", "287679003"), "right": ("36490-1", "287579007"), "bilateral": ("30687-8", "29836001")}
    assert mri["code"]["text"].endswith(f", {words}")
    assert (mri["code"]["coding"][0]["code"], mri["bodySite"][0]["coding"][0]["code"]) == codes[side]


def test_free_text_of_the_chart_is_on_no_card(client: FlaskClient) -> None:
    request = build_request({"age": 40, "side": "left", "present": ["buttock-pain", "significant-bruising"]})
    bruising = request["prefetch"]["observations"]["entry"][1]["resource"]
    bruising["code"]["text"] = "<script>alert(1)</script>"
    bruising["note"] = [{"text": "seen by the neighbour"}]
    bruising["id"] = "not an id [x](https://example.org)"
    answer = client.post(SERVICE, json=request).get_data(as_text=True)
    assert "significant-bruising" in answer
    for words in ("alert(1)", "neighbour", "https://example.org)", "not an id"):
        assert words not in answer


def test_a_card_says_which_data_never_arrived(client: FlaskClient) -> None:
    case = {"age": 40, "side": "left", "present": ["buttock-pain", "pain-with-sitting"], "withheld": ["conditions"]}
    answer = client.post(SERVICE, json=build_request(case)).get_json()
    assert answer["extension"]["org.sitbone.assessment"]["data"]["conditions"] == "missing"
    assert sentence("data_missing", data="Conditions") in answer["cards"][0]["detail"]


def _empty_in(value: Any, at: str = "$") -> Iterator[str]:
    if value in (None, "", [], {}):
        yield at
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _empty_in(inner, f"{at}.{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _empty_in(inner, f"{at}[{number}]")


def test_no_response_holds_anything_empty_but_the_array_of_no_cards() -> None:
    files = [path for kind in ("responses", "dialects") for path in (FIXTURES / kind).rglob("*.json")]
    assert len(files) > 100
    found = {(path.name, at) for path in files for at in _empty_in(json.loads(path.read_text("utf-8")))}
    assert {at for _name, at in found} <= {"$.cards"}, found


def card_of(client: FlaskClient, **chart: Any) -> Json:
    card: Json = client.post(SERVICE, json=build_request({"age": 45, "side": "left", **chart})).get_json()["cards"][0]
    return card


def test_a_second_red_flag_is_named_apart_from_what_the_first_is_concluded_from(client: FlaskClient) -> None:
    card = card_of(client, present=["buttock-pain", "saddle-numbness", "unilateral-leg-swelling"])
    first = "Left: saddle numbness: possible cauda equina. Emergency care and lumbar MRI now"
    assert card["summary"] == f"{first}. Also: unilateral leg swelling"


def test_a_card_about_one_of_two_sides_names_the_side_once(client: FlaskClient) -> None:
    present = ["buttock-pain", "pain-with-sitting, left", "significant-bruising, right"]
    card = card_of(client, side="bilateral", present=present)
    assert card["summary"].startswith("Right: significant bruising")
    assert "(right)" not in card["summary"] + card["detail"]


def test_the_age_alone_is_not_the_reason_of_a_card() -> None:
    """An order of a medicine may be about the age alone."""
    alone = re.compile(r"\*\*Because:\*\* Age \d+\.(\n|$)")
    names = [name for name in every("responses") if not name.startswith("analgesic-safety")]
    told = [card for name in names for card in read("responses", name)["cards"] if alone.search(card["detail"])]
    assert [card["summary"] for card in told] == []


def test_what_a_card_is_about_is_not_said_again_as_something_to_check(client: FlaskClient) -> None:
    card = card_of(client, present=["buttock-pain", "significant-bruising"], absent=["significant-bruising"])
    assert card["summary"].startswith("Left: significant bruising recorded as present and as absent")
    assert "**Check:**" not in card["detail"]


def test_no_medicine_stands_on_a_card_in_place_of_a_better_one_that_had_no_room() -> None:
    """Acetaminophen alone is not advised for back pain, and was what was left of two lines."""
    for name in NAMES:
        for card in read("responses", name)["cards"]:
            if "acetaminophen alone is not advised" in card["detail"]:
                assert "Acetaminophen for a short time" not in card["detail"] or "Ibuprofen, at most" in card["detail"]


def reasons_of(card: Json) -> str:
    found = re.search(r"\*\*Because:\*\* (.+)", card["detail"])
    return found[1] if found else ""


def test_of_a_finding_that_the_headline_names_only_the_date_is_a_reason(client: FlaskClient) -> None:
    card = card_of(client, present=["buttock-pain", "saddle-numbness"])
    assert card["summary"].startswith("Left: saddle numbness: possible cauda equina.")
    assert reasons_of(card) == "Documented Nov 22."
    assert "No injection." in card["detail"]


def test_of_findings_of_several_days_each_keeps_its_own(client: FlaskClient) -> None:
    card = card_of(client, present=["buttock-pain", "saddle-numbness, 3 days ago", "urinary-retention"])
    for finding in ("saddle numbness", "urinary retention or difficulty"):
        assert finding in card["summary"]
        assert finding in reasons_of(card).lower()
    assert "(Nov 19)" in reasons_of(card)
    assert "(Nov 22)" in reasons_of(card)


def test_a_hold_names_the_reason_that_the_headline_does_not(client: FlaskClient) -> None:
    card = card_of(client, present=["buttock-pain", "saddle-numbness", "cancer-history"])
    assert "No injection: cancer history." in card["detail"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Left: hip pain, limp. Examine", True),
        ("Hip pain (Nov 22)", True),
        ("Left: lateral hip pain, limp", False),
        ("Left: hip pain at night", False),
        ("Lateral hip pain; hip pain and limp", True),
    ],
)
def test_a_finding_is_named_by_itself_and_not_within_another(text: str, named: bool) -> None:
    assert is_named("hip pain", text) is named


def test_the_card_of_a_child_who_goes_home_says_each_thing_once() -> None:
    (card,) = read("responses", "discharge-advice/child-goes-home")["cards"]
    for words in ("pain relief by weight and age", "exercise", "gait"):
        assert card["detail"].count(words) == 1, words


def parts_of(card: Json) -> dict[str, str]:
    """The lines of a card by their label; the last line says what knowledge it is."""
    return dict(re.findall(r"^\*\*(.+?):\*\* (.+)$", card["detail"], re.MULTILINE))


def labels_of(card: Json) -> list[str]:
    return [suggestion["label"] for suggestion in card.get("suggestions", ())]


def test_the_card_of_a_tear_names_side_findings_day_and_the_day_of_the_surgical_opinion() -> None:
    """The first card of the design. Its hold names stretching, which is exercise here, and it asks for anticoagulants,
    which its Do line has checked; the ischium is asked for where nothing weightier is.
    """
    (card,) = read("responses", "card-of-a-tear")["cards"]
    summary = "Left: pop, sudden onset, sharp pain, day 3. Examine today; MRI pelvis and orthopedics by Dec 3."
    assert card["summary"] == f"{summary} Also: significant bruising"
    parts = parts_of(card)
    assert [*parts] == ["Do", "Because", "Hold", "Ask"]
    for words in (
        "Feel for a gap",
        "near extension and at 90 degrees",
        "sciatic nerve",
        "Neither a normal radiograph",
    ):
        assert words in parts["Do"]
    assert "Documented Nov 22" in parts["Because"]
    assert parts["Hold"] == "No self-care, exercise or NSAID until this is evaluated. No injection."
    assert labels_of(card) == [
        "Order: MRI of the pelvis without contrast, left (urgent)",
        "Order: Referral to orthopedics (urgent)",
    ]


def test_the_card_of_a_nerve_names_the_deficit_the_day_and_what_makes_it_an_emergency() -> None:
    """The second card of the design. Back pain raises no red flag beside a foot drop and so is not in the headline; the
    lumbar MRI is urgent, at once only with a feature of cauda equina or a deficit that progresses.
    """
    (card,) = read("responses", "card-of-a-nerve")["cards"]
    headline = "Left: foot drop, day 5. Full neurological examination today; MRI lumbar spine and spinal service"
    assert card["summary"] == headline
    parts = parts_of(card)
    assert "bladder, bowel and saddle sensation" in parts["Do"]
    assert "After an injury: tear or sciatic nerve" in parts["Do"]
    assert parts["Because"].endswith("Documented Nov 22.")
    assert parts["Ask"].startswith("Change in bladder, bowel, sexual function or saddle sensation?")
    assert labels_of(card)[0] == "Order: MRI of the lumbar spine without contrast (urgent)"


def test_the_card_of_a_tendon_has_cause_and_plan_in_one() -> None:
    """The third card of the design. The headline has the plan of imaging; the load program is the first thing that can
    be ordered. A fresh pain has a topical NSAID before ibuprofen; the slump test is asked for where the spine is open.
    """
    (card,) = read("responses", "card-of-a-tendon")["cards"]
    assert card["summary"].startswith("Left: pattern of proximal hamstring tendinopathy; ")
    assert card["summary"].endswith("day 21: no imaging before six weeks of care")
    parts = parts_of(card)
    assert [*parts] == ["Do", "Because", "Ask", "Safety net"]
    for words in ("progressive loading", "No hamstring stretching", "ibuprofen, at most 1200 mg daily for 10 days"):
        assert words in parts["Do"]
    assert "ischial tenderness, positive modified bent-knee stretch test" in parts["Because"]
    assert labels_of(card) == ["Order: Referral to physiotherapy"]


def test_the_card_of_numbness_names_the_finding_the_day_and_the_date_until_which() -> None:
    """The fourth card of the design; "within 14 days" is said as the date."""
    card, plan = read("responses", "card-of-numbness")["cards"]
    headline = "Left: numbness or tingling below the knee, day 20. Neurological examination by Dec 6"
    assert (card["indicator"], card["summary"]) == ("warning", headline)
    assert plan["indicator"] == "info"


def test_the_cards_of_orders_name_the_order_the_fault_and_the_one_row_of_the_table() -> None:
    """The fifth card of the design, both of its forms. "Right hip" is in the order that the card is about, which the
    EHR shows; what an MRI is rated as the first test is not said to be its rating after the radiograph.
    """
    (side,) = read("responses", "imaging-referral-sign/wrong-side")["cards"]
    assert side["summary"] == "MRI of the hip without contrast: not on the side of the findings (pain left)"
    assert labels_of(side) == ["Replace with: MRI of the hip without contrast, left"]
    (first,) = read("responses", "imaging-referral-sign/card-of-a-radiograph-first")["cards"]
    assert first["summary"] == "MRI of the pelvis without contrast: a radiograph comes first"
    row = "For chronic hip or buttock pain, first test: usually not appropriate (ACR Chronic Hip Pain 2016, 1 of 9,"
    assert parts_of(first)["Because"].startswith(row)
    assert labels_of(first) == ["Order: Radiograph of the pelvis, AP, left"]


def test_the_card_of_a_medicine_names_the_number_its_date_and_what_instead() -> None:
    """The sixth card of the design. A topical NSAID comes before acetaminophen for a fresh pain away from the back."""
    (card,) = read("responses", "analgesic-safety-sign/card-of-a-medicine")["cards"]
    assert card["summary"] == "Ibuprofen: avoid NSAIDs by mouth with eGFR 28 (Oct 12)"
    parts = parts_of(card)
    assert "Because" not in parts
    assert parts["Hold"] == "No NSAID: eGFR 28 (Oct 12)."
    assert "acetaminophen unless contraindicated" in parts["Do"]
    assert labels_of(card)[0] == "Replace with: Acetaminophen for a short time"


@pytest.mark.parametrize(
    ("present", "days", "ends"),
    [
        (["significant-bruising"], 20, "; MRI pelvis and orthopedics by Nov 30"),
        (["palpable-gap", "sudden-onset"], 14, "; MRI pelvis and orthopedics today"),
        (["palpable-gap", "sudden-onset"], 60, "; MRI pelvis and orthopedics"),
        (["significant-bruising"], None, "; MRI pelvis and orthopedics"),
    ],
)
def test_orders_of_a_tear_have_the_day_that_the_window_since_the_injury_leaves(
    client: FlaskClient, present: list[str], days: int | None, ends: str
) -> None:
    onset = {} if days is None else {"onset_days_ago": days}
    assert card_of(client, present=["buttock-pain", *present], **onset)["summary"].endswith(ends)


@pytest.mark.parametrize("other", ["foot-drop", "fever"])
def test_beside_a_red_flag_without_a_window_no_order_is_said_to_have_days(client: FlaskClient, other: str) -> None:
    card = card_of(client, present=["buttock-pain", "significant-bruising", other], onset_days_ago=3)
    assert " by " not in card["summary"]


def test_what_must_not_be_given_leaves_room_for_what_may_be_done_instead() -> None:
    (card,) = read("responses", "kidney-and-heart-disease")["cards"]
    parts = parts_of(card)
    assert len(parts["Hold"].split()) > 30
    assert "Self-care: avoid provoking load" in parts["Do"]
    assert "Physiotherapy: progressive loading" in parts["Do"]
    assert "Acetaminophen for a short time." in parts["Do"]


def test_with_what_care_a_medicine_is_given_is_said_once_after_what_is_offered() -> None:
    (_assessment, plan) = read("responses", "pain-of-walking")["cards"]
    offers, _, care = parts_of(plan)["Do"].partition("NSAID with care: ")
    assert "Ibuprofen, at most" in offers
    assert "Acetaminophen for a short time." in offers
    assert care.startswith("cardiovascular disease or stroke; lowest dose, shortest time; age 68; weigh")
    assert "NSAID with care" not in care


@pytest.mark.parametrize("detail", ["short", "full"])
def test_no_card_has_a_unit_as_machines_write_it(detail: str) -> None:
    client = create_app(Settings(detail=detail), clock=lambda: CLOCK).test_client()
    card = client.post(SERVICE, json=read("requests", "kidney-and-heart-disease")).get_json()["cards"][0]
    assert "eGFR 28 (Nov 22)" in card["detail"] or "28 mL/min/1.73 m², 2026-11-22" in card["detail"]
    assert "{" not in card["detail"]


def test_half_of_the_cards_have_at_most_eighty_words_and_none_more_than_the_limits() -> None:
    """Without the line that says what knowledge it is; tests/clinical holds the limits on generated charts."""
    answers = [
        [
            len(card["detail"].rpartition("\n\n")[0].split())
            for card in read("responses", name)["cards"]
            if "detail" in card
        ]
        for name in every("responses")
    ]
    assert median(count for counts in answers for count in counts) <= 80
    assert max(count for counts in answers for count in counts) <= 120
    assert max(map(sum, answers)) <= 200


def test_the_safety_net_stands_once_and_on_no_card_about_an_order_or_a_date() -> None:
    for name in every("responses"):
        every_one = read("responses", name)["cards"]
        cards = [card for card in every_one if "**Safety net:**" in card.get("detail", "")]
        topics = {card["source"]["topic"]["code"] for card in cards}
        assert len(cards) <= 1, name
        assert not topics & {"imaging-order", "analgesic-order", "appointment"}, name
        assert not [card for card in every_one if cards and card["indicator"] == "critical"], name


def test_every_card_leads_to_the_page_about_its_recommendations() -> None:
    for name, card in every_card():
        if "extension" in card:
            ids = [each["id"] for each in card["extension"]["org.sitbone.basis"]["recommendations"]]
            assert card["source"]["url"] == card["links"][0]["url"], name
            assert set(ids) <= {*card["source"]["url"].rpartition("/why/")[2].split("+")}, name
            assert PATIENT not in card["source"]["url"], name
