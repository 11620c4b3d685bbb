"""One decision in the dialects of EHRs: what changes, and that nothing of its meaning is lost."""

import json
import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from cds_hooks import Action, Card, Coding, Indicator, Link, Source, Suggestion
from cds_hooks.trust.signing import claims_for, key_set, new_key, sign
from fixtures.build import PREFERENCE_LIST as PREFERENCE_LIST_OF_FIXTURES
from fixtures.build import dialects, in_dialect
from service.answers.orders import Ordering, service_request
from service.answers.profiles import PREFERENCE_LIST, in_style
from service.answers.spelling import Spelling
from service.app import create_app
from service.settings import EHR_PROFILES, Settings, SettingsError, Style
from service.site_codes import read_preference_list
from tests.charts import CLOCK, Json, named_cases, packaged, sentence

KNOWLEDGE = packaged()
WORDING = KNOWLEDGE.wording
SPELLING = Spelling({"hematoma": "haematoma", "acetaminophen": "paracetamol", "orthopedics": "orthopaedics"})
UUIDS = tuple(f"6f1c9d0e-3c57-4d0b-9a55-00000000000{number}" for number in range(4))
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
ACETAMINOPHEN = {"system": RXNORM, "code": "161", "display": "Acetaminophen"}
CREATE = Action(
    "create",
    "New order",
    resource={"resourceType": "MedicationRequest", "medicationCodeableConcept": {"coding": [ACETAMINOPHEN]}},
)
DELETE = Action("delete", "Remove this order", resource_id="MedicationRequest/m1")
REPLACE = Suggestion("Replace", UUIDS[1], is_recommended=True, actions=(DELETE, CREATE))
REMOVE = Suggestion("Remove", UUIDS[2], actions=(DELETE,))
ORDERS = tuple(Suggestion(f"Order {number}", UUIDS[number], actions=(CREATE,)) for number in (1, 2))
FOLDER = Path(__file__).parents[1] / "fixtures" / "dialects"


def answer(*suggestions: Suggestion, behaviour: str | None = "any") -> Card:
    return Card(
        uuid=UUIDS[0],
        summary="Summary",
        indicator=Indicator.WARNING,
        source=Source("Sitbone"),
        detail="Detail",
        suggestions=suggestions,
        selection_behavior=behaviour if suggestions else None,  # type: ignore[arg-type]
    )


def test_the_generic_dialect_is_the_answer_as_it_is() -> None:
    card = answer(REPLACE, REMOVE, behaviour="at-most-one")
    assert in_style(Style("generic"), card, KNOWLEDGE, SPELLING) is card


@pytest.mark.parametrize("ehr", EHR_PROFILES)
def test_a_card_without_suggestions_stays_as_it_is(ehr: str) -> None:
    card = answer()
    assert in_style(Style(ehr), card, KNOWLEDGE, SPELLING) == card


def test_for_epic_a_replacement_becomes_numbered_steps_that_belong_together() -> None:
    card = in_style(Style("epic"), answer(REPLACE, REMOVE, behaviour="at-most-one"), KNOWLEDGE, SPELLING)
    assert card.selection_behavior == "any"
    assert [[action.type for action in suggestion.actions] for suggestion in card.suggestions] == [
        ["create"],
        ["delete"],
    ]
    said = [suggestion.actions[0].description for suggestion in card.suggestions]
    assert said == [
        "1 of 2, to be taken together: New order",
        "2 of 2, to be taken together: Remove this order",
    ]
    assert [suggestion.label for suggestion in card.suggestions] == said
    assert card.detail is not None
    assert card.detail.startswith(sentence("steps_together", count=2))
    assert card.detail.endswith("Detail")


def test_for_epic_alternatives_are_left_out_because_all_of_them_could_be_taken() -> None:
    recommended_last = answer(ORDERS[0], REPLACE, behaviour="at-most-one")
    kept = in_style(Style("epic"), recommended_last, KNOWLEDGE, SPELLING).suggestions
    assert {action.type for suggestion in kept for action in suggestion.actions} == {"create", "delete"}
    assert len(kept) == 2
    first_of_equals = in_style(Style("epic"), answer(*ORDERS, behaviour="at-most-one"), KNOWLEDGE, SPELLING)
    assert [suggestion.label for suggestion in first_of_equals.suggestions] == ["Order 1"]


def test_for_epic_a_message_to_the_patient_is_left_out() -> None:
    message = Suggestion(
        "Send", UUIDS[2], actions=(Action("create", "Send", resource={"resourceType": "CommunicationRequest"}),)
    )
    card = in_style(Style("epic"), answer(ORDERS[0], message, behaviour="at-most-one"), KNOWLEDGE, SPELLING)
    assert [suggestion.uuid for suggestion in card.suggestions] == [ORDERS[0].uuid]
    bare = in_style(Style("epic"), answer(message, behaviour="at-most-one"), KNOWLEDGE, SPELLING)
    assert (bare.suggestions, bare.selection_behavior, bare.detail) == ((), None, "Detail")


def test_for_oracle_health_a_choice_stays() -> None:
    card = in_style(Style("oracle-health"), answer(*ORDERS, behaviour="at-most-one"), KNOWLEDGE, SPELLING)
    assert (card.suggestions, card.selection_behavior) == (ORDERS, "at-most-one")


def test_for_epic_orders_that_may_all_be_taken_stay() -> None:
    card = in_style(Style("epic"), answer(*ORDERS), KNOWLEDGE, SPELLING)
    assert [suggestion.uuid for suggestion in card.suggestions] == [order.uuid for order in ORDERS]
    assert card.detail == "Detail"


def test_for_epic_what_an_action_says_is_what_others_show_as_the_label() -> None:
    (first, _second) = in_style(Style("epic"), answer(*ORDERS), KNOWLEDGE, SPELLING).suggestions
    assert [action.description for action in first.actions] == [ORDERS[0].label]


def test_for_epic_the_code_of_a_topic_has_letters_and_digits_alone_and_stands_for_one_topic() -> None:
    source = {topic: Source("Sitbone", topic=Coding(code=topic)) for topic in WORDING.topics}
    cards = (replace(answer(), source=each) for each in source.values())
    codes = [in_style(Style("epic"), card, KNOWLEDGE, SPELLING).source.topic.code for card in cards]  # type: ignore[union-attr]
    assert all(re.fullmatch(r"[A-Za-z0-9]{1,100}", code) for code in codes)
    assert len(set(codes)) == len(WORDING.topics)


def test_for_epic_a_medicine_is_named_by_rxnorm_under_its_oid_and_by_the_preference_list_first() -> None:
    oid = {**ACETAMINOPHEN, "system": "urn:oid:2.16.840.1.113883.6.88"}
    listed = {"system": PREFERENCE_LIST, "code": "APAP"}
    for preference_list, codings in (({}, [oid]), ({("acetaminophen", ""): "APAP"}, [listed, oid])):
        style = Style("epic", preference_list=preference_list)
        (order, _other) = in_style(style, answer(*ORDERS), KNOWLEDGE, SPELLING).suggestions
        assert order.actions[0].resource == {
            "resourceType": "MedicationRequest",
            "medicationCodeableConcept": {"coding": codings},
        }


def imaging(side: str) -> Suggestion:
    ordering = Ordering("1", "2", side, CLOCK, ({"text": "Reason"},), ())
    request = service_request(KNOWLEDGE.orders["mri-hip"], "urgent", ordering, WORDING.sides)
    title = request["code"]["text"]
    return Suggestion(f"Order: {title} (urgent)", UUIDS[3], actions=(Action("create", title, resource=request),))


def test_for_epic_an_order_is_named_by_the_code_of_the_preference_list_for_its_side() -> None:
    style = Style("epic", preference_list={("mri-hip", "left"): "MRHIPL", ("mri-hip", ""): "MRHIP"})
    for side, code in (("left", "MRHIPL"), ("right", "MRHIP"), ("unspecified", "MRHIP")):
        (order,) = in_style(style, answer(imaging(side)), KNOWLEDGE, SPELLING).suggestions
        resource = order.actions[0].resource or {}
        assert resource["code"]["coding"] == [{"system": PREFERENCE_LIST, "code": code}]
        assert resource["code"]["text"].startswith("MRI of the hip")


def test_for_epic_an_order_that_the_preference_list_does_not_have_is_no_suggestion_and_is_named_on_the_card() -> None:
    card = in_style(Style("epic"), answer(imaging("left"), ORDERS[0]), KNOWLEDGE, SPELLING)
    assert [suggestion.label for suggestion in card.suggestions] == [ORDERS[0].label]
    by_hand = sentence("order_by_hand", orders="MRI of the hip without contrast, left")
    assert card.detail == f"{by_hand}\n\nDetail"
    alone = in_style(Style("epic"), answer(imaging("left")), KNOWLEDGE, SPELLING)
    assert (alone.suggestions, alone.selection_behavior) == ((), None)


@pytest.mark.parametrize("kind", ["CommunicationRequest", "NutritionOrder", "Observation"])
def test_for_epic_nothing_is_created_but_what_it_can_create(kind: str) -> None:
    other = Suggestion("Other", UUIDS[3], actions=(Action("create", "Other", resource={"resourceType": kind}),))
    condition = replace(other, actions=(Action("create", "Add", resource={"resourceType": "Condition"}),))
    card = in_style(Style("epic"), answer(other, condition), KNOWLEDGE, SPELLING)
    assert [(each.actions[0].resource or {})["resourceType"] for each in card.suggestions] == ["Condition"]


def test_for_epic_nothing_is_ticked_already_that_deletes_alone() -> None:
    removal = replace(REMOVE, is_recommended=True)
    (alone,) = in_style(Style("epic"), answer(removal), KNOWLEDGE, SPELLING).suggestions
    assert alone.is_recommended is None
    both = in_style(Style("epic"), answer(REPLACE, REMOVE, behaviour="at-most-one"), KNOWLEDGE, SPELLING)
    assert [step.is_recommended for step in both.suggestions] == [True, True]
    order = replace(ORDERS[0], is_recommended=True)
    (first, second) = in_style(Style("epic"), answer(order, ORDERS[1]), KNOWLEDGE, SPELLING).suggestions
    assert (first.is_recommended, second.is_recommended) == (True, None)


def test_for_oracle_health_the_link_leads_to_the_one_address_that_is_registered() -> None:
    why = "https://cds.example.org/pain/why/rs01-sudden-tear"
    card = replace(answer(), source=Source("Sitbone", url=why), links=(Link("Why", why, "absolute"),))
    changed = in_style(Style("oracle-health"), card, KNOWLEDGE, SPELLING)
    assert [link.url for link in changed.links] == ["https://cds.example.org/pain/knowledge.html"]
    assert changed.source.url == why


def test_for_oracle_health_orders_that_may_all_be_taken_are_offered_together_first() -> None:
    card = in_style(Style("oracle-health"), answer(*ORDERS), KNOWLEDGE, SPELLING)
    assert card.selection_behavior == "at-most-one"
    assert [len(suggestion.actions) for suggestion in card.suggestions] == [2, 1, 1]
    assert [bool(suggestion.is_recommended) for suggestion in card.suggestions] == [True, False, False]


def test_for_oracle_health_a_replacement_stays_one_suggestion() -> None:
    card = in_style(Style("oracle-health"), answer(REPLACE, REMOVE, behaviour="at-most-one"), KNOWLEDGE, SPELLING)
    assert card.suggestions == (REPLACE, REMOVE)


@pytest.mark.parametrize("ehr", EHR_PROFILES)
def test_ids_of_suggestions_are_unique_and_the_same_from_call_to_call(ehr: str) -> None:
    def ids() -> list[str]:
        card = in_style(Style(ehr), answer(REPLACE, REMOVE, *ORDERS[:0]), KNOWLEDGE, SPELLING)
        return [suggestion.uuid for suggestion in card.suggestions]

    assert ids() == ids()
    assert len(set(ids())) == len(ids())


def test_the_entry_of_a_client_says_which_dialect_its_answers_are_in(tmp_path: Path) -> None:
    key = new_key("ES384", "mine")
    (tmp_path / "jwks.json").write_text(json.dumps(key_set(key)))
    (tmp_path / "store").mkdir(mode=0o700)
    (tmp_path / "list.csv").write_text("order,side,code\nacetaminophen,any,APAP\n", "utf-8")
    entries = (
        f'[clients.{name}]\nissuers = ["https://{name}.example.org/"]\njwks_file = "jwks.json"\n{rest}\n'
        for name, rest in (("north", 'ehr = "epic"\npreference_list = "list.csv"'), ("south", ""))
    )
    (tmp_path / "clients.toml").write_text("".join(entries))
    settings = Settings(
        draft="show",
        clients=tmp_path / "clients.toml",
        store=tmp_path / "store",
        public_base_url="https://cds.example.org",
        ehr="epic",
    )
    client = create_app(settings, clock=lambda: CLOCK).test_client()
    (case,) = (case for case in named_cases() if case.fixture == "nsaid-with-kidney-disease")
    url = f"/cds-services/{case.service}"
    said = {}
    for name in ("north", "south"):
        claims = claims_for(f"https://{name}.example.org/", f"https://cds.example.org{url}", CLOCK.timestamp())
        headers = {"Authorization": f"Bearer {sign(key, claims)}"}
        card = client.post(url, json=case.request(), headers=headers).get_json()["cards"][0]
        said[name] = card["selectionBehavior"], PREFERENCE_LIST in json.dumps(card)
    assert said == {"north": ("any", True), "south": ("at-most-one", False)}


def _cards(ehr: str) -> list[Json]:
    client = create_app(in_dialect(ehr), clock=lambda: CLOCK).test_client()
    cases = [case for case in named_cases() if case.dialects]
    return [
        card
        for case in cases
        for card in client.post(f"/cds-services/{case.service}", json=case.request()).get_json()["cards"]
    ]


def test_whatever_epic_gets_it_can_take() -> None:
    cards = _cards("epic")
    assert any("suggestions" in card for card in cards)
    for card in cards:
        assert card.get("selectionBehavior", "any") == "any"
        assert all(len(suggestion["actions"]) == 1 for suggestion in card.get("suggestions", ()))
        assert card["source"]["topic"]["code"].isalnum()


def test_the_preference_list_of_the_fixtures_has_every_order_that_a_card_suggests() -> None:
    listed = read_preference_list(PREFERENCE_LIST_OF_FIXTURES, (*KNOWLEDGE.orders, *KNOWLEDGE.medicines))
    assert {order for order, _side in listed} == {*KNOWLEDGE.orders, *KNOWLEDGE.medicines}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("order,code\n", "line 1: must be the columns order,side,code."),
        ("order,side,code\nmri-hips,any,A\n", 'line 2: order is "mri-hips", which no card suggests; is mri-hip meant?'),
        ("order,side,code\nmri-hip,,A\n", 'line 2: side is "" and must be one of any, left, right, bilateral.'),
        ("order,side,code\nmri-hip,any,A\nmri-hip,left,\n", "line 3: code must not be empty."),
        ("order,side,code\nmri-hip,any\n", "line 2: must have 3 fields."),
    ],
)
def test_a_wrong_row_of_a_preference_list_ends_the_start_with_its_line(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "list.csv").write_text(text, "utf-8")
    with pytest.raises(SettingsError, match=re.escape(reason)):
        create_app(Settings(ehr="epic", preference_list=tmp_path / "list.csv"))


def test_a_preference_list_is_of_epic_alone() -> None:
    with pytest.raises(SettingsError, match="of no use without SITBONE_EHR=epic"):
        create_app(Settings(preference_list=PREFERENCE_LIST_OF_FIXTURES))


def test_whatever_oracle_health_gets_is_in_release_one() -> None:
    assert {card["selectionBehavior"] for card in _cards("oracle-health") if "suggestions" in card} == {"at-most-one"}


def test_the_dialects_of_the_fixtures_are_those_of_the_service() -> None:
    kept = {
        path.relative_to(FOLDER).with_suffix("").as_posix(): json.loads(path.read_text(encoding="utf-8"))
        for path in FOLDER.rglob("*.json")
    }
    assert kept == dialects()
    assert {name.partition("/")[0] for name in kept} == {"epic", "oracle-health"}


def test_no_text_that_a_card_is_made_of_has_a_word_as_the_united_kingdom_writes_it() -> None:
    knowledge = packaged()
    texts = [text for r in knowledge.recommendations for text in (r.title, r.summary, *r.do, *r.more)]
    texts += [text for q in knowledge.questions for text in (q.ask, q.because, q.short)]
    texts += [text for order in knowledge.orders.values() for text in (order.title, order.short)]
    texts += [cause.title for cause in knowledge.causes.values()]
    texts += [finding.title for finding in knowledge.findings.values()]
    texts += [*knowledge.wording.sentences.values(), *knowledge.wording.headings.values()]
    american = Spelling({uk: us for us, uk in knowledge.uk_words.items()})
    assert [text for text in texts if american.text(text) != text] == []


def test_a_reader_in_the_united_kingdom_gets_their_words_on_the_card_and_in_the_order() -> None:
    code: Json = {"coding": [{"code": "x", "display": "hematoma"}], "text": "Acetaminophen"}
    resource = {"resourceType": "ServiceRequest", "code": code}
    order = Suggestion(
        "Order: Orthopedics", REPLACE.uuid, actions=(Action("create", "hematomas and hematoma", resource),)
    )
    card = replace(answer(order), summary="Hematoma: orthopedics today", detail="Acetaminophen, no orthopedics.")
    changed = in_style(Style(spelling="uk"), card, KNOWLEDGE, SPELLING)
    assert (changed.summary, changed.detail) == ("Haematoma: orthopaedics today", "Paracetamol, no orthopaedics.")
    (suggestion,) = changed.suggestions
    (action,) = suggestion.actions
    assert (suggestion.label, action.description) == ("Order: Orthopaedics", "hematomas and haematoma")
    assert action.resource == resource | {"code": code | {"text": "Paracetamol"}}
    assert in_style(Style(), card, KNOWLEDGE, SPELLING) is card


def test_without_extensions_a_card_has_none() -> None:
    card = replace(answer(*ORDERS), extension={"org.example": 1})
    assert in_style(Style(extensions=False), card, KNOWLEDGE, SPELLING).extension is None
