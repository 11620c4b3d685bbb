"""The orders that cards suggest against the profile CRD Service Request of Da Vinci CRD 2.2.1
(input/fsh/profiles/ServiceRequest.fsh of HL7/davinci-crd), as far as a proposal can satisfy it.

"Coverage Requirements Discovery" asks that orders which are proposed comply with it (input/pagecontent/cards.md:
Identify Additional Orders, Propose Alternate Request).
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from service.app import create_app
from service.knowledge_model.vocabulary import SYSTEMS
from tests.charts import CLOCK, SERVICE, Json, build_request, packaged

FOLDER = Path(__file__).parents[1]
REQUIRED = ("status", "intent", "code", "subject", "authoredOn", "requester")
# The elements that the profile marks as must-support, and that an order of ours has wherever there is something to say.
PROPOSED = {"status", "category", "code", "subject", "authoredOn", "requester", "reasonCode", "reasonReference"}
# And those that it never has. docs/guide-integrator.md says of each why.
LEFT_TO_THE_EHR = {
    "extension:Coverage-Information",
    "contained",
    "identifier",
    "basedOn",
    "category:encounterType",
    "category:serviceType",
    "doNotPerform",
    "code.extension:BillingOptions",
    "quantity",
    "occurrence",
    "performerType",
    "performer",
    "locationCode",
    "locationReference",
}
# The types that the profile allows where FHIR R4 allows more.
REFERENCES = {
    "subject": ("Patient",),
    "encounter": ("Encounter",),
    "requester": ("Practitioner", "PractitionerRole"),
    "reasonReference": ("Condition", "DiagnosticReport", "DocumentReference", "Observation"),
}
# CRDServiceRequestCodes; of the other two, CPT may not be shipped and HCPCS Level II has no code for these orders.
CODES = {SYSTEMS["sct"], SYSTEMS["loinc"]}


@cache
def orders() -> tuple[Json, ...]:
    """Every ServiceRequest that an answer of the fixtures suggests."""
    responses = (json.loads(path.read_text("utf-8")) for path in (FOLDER / "fixtures" / "responses").rglob("*.json"))
    actions = (
        action
        for response in responses
        for card in response["cards"]
        for suggestion in card.get("suggestions", ())
        for action in suggestion["actions"]
    )
    resources = (action.get("resource", {}) for action in actions)
    return tuple(resource for resource in resources if resource.get("resourceType") == "ServiceRequest")


def references(order: Json) -> Iterator[tuple[str, str]]:
    for member in REFERENCES:
        value = order.get(member, [])
        for each in value if isinstance(value, list) else [value]:
            yield member, each["reference"].partition("/")[0]


def test_every_order_has_what_the_profile_requires() -> None:
    assert len(orders()) > 200
    for order in orders():
        assert [member for member in REQUIRED if not order.get(member)] == []


def test_every_must_support_element_is_proposed_or_left_to_the_ehr() -> None:
    assert {member for order in orders() for member in order} >= PROPOSED
    for order in orders():
        assert PROPOSED - order.keys() <= {"reasonReference"}
        assert order.keys().isdisjoint(LEFT_TO_THE_EHR)
        assert "extension" not in order["code"]


def test_references_are_of_the_types_that_the_profile_allows() -> None:
    for order in orders():
        assert [(member, kind) for member, kind in references(order) if kind not in REFERENCES[member]] == []


def test_an_order_has_a_code_of_the_value_set_unless_none_is_verified() -> None:
    uncoded = {
        order["code"]["coding"][-1]["code"]
        for order in orders()
        if not CODES & {coding["system"] for coding in order["code"]["coding"]}
    }
    assert uncoded <= {key for key, template in packaged().orders.items() if not template.codes}


@pytest.mark.parametrize(("side", "code"), [("left", "M79.652"), ("right", "M79.651")])
def test_a_reason_for_which_a_code_of_icd_10_cm_is_known_has_it(side: str, code: str) -> None:
    """M79.65- in service/knowledge/value_sets/findings.csv."""
    client = create_app(clock=lambda: CLOCK).test_client()
    chart = {
        "age": 40,
        "side": side,
        "present": ["thigh-pain", "pop-at-injury", "sudden-onset", "significant-bruising"],
    }
    (card, *_) = client.post(SERVICE, json=build_request(chart)).get_json()["cards"]
    (reason, *_) = card["suggestions"][0]["actions"][0]["resource"]["reasonCode"]
    codes = [(coding["system"], coding["code"]) for coding in reason["coding"]]
    assert codes == [(SYSTEMS["sct"], "78514002"), (SYSTEMS["icd10cm"], code)]


@pytest.mark.parametrize("element", sorted(LEFT_TO_THE_EHR))
def test_the_guide_says_of_each_element_that_is_left_why(element: str) -> None:
    guide = (FOLDER / "docs" / "guide-integrator.md").read_text("utf-8")
    assert re.search(rf"^\|.*`{re.escape(element)}`.*\|.+\|$", guide, re.MULTILINE)


def test_the_guide_names_the_orders_without_a_code_of_the_value_set() -> None:
    guide = (FOLDER / "docs" / "guide-integrator.md").read_text("utf-8")
    section = guide.partition("### Da Vinci CRD")[2].partition("\n## ")[0]
    uncoded = {key for key, template in packaged().orders.items() if not template.codes}
    assert {key for key in packaged().orders if f"`{key}`" in section} == uncoded
