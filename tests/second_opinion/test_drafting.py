"""Orders drafted from the page: what the card proposes, where everything allows it, with a click, and once."""

from collections.abc import Callable
from typing import Any

import pytest
from fhir.resources.R4B.servicerequest import ServiceRequest as OrderModel

from service.knowledge_model.model import ORDER_SYSTEM
from tests.charts import packaged
from tests.second_opinion.conftest import MakeSite, Page, Site

TEAR = "sudden-pop-with-bruising"
WRITES = {"write": ["QuestionnaireResponse", "ServiceRequest"]}
NEXT_CARD = "is ordered from here: the next card in the chart has these orders to accept."


def drafts(page: Page) -> list[str]:
    """The buttons that draft an order, one of each order."""
    return [do for do in page.buttons() if do.startswith("draft:")]


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    site = make_site(TEAR, **WRITES)
    site.ehr.writable = {"QuestionnaireResponse", "ServiceRequest"}
    return site


def test_an_order_is_drafted_as_the_card_proposes_it(site: Site) -> None:
    page = site.open()
    first, second = drafts(page)
    assert "Order: MRI of the pelvis without contrast, left (urgent)" in page.text
    assert "For: Buttock pain; Suspected proximal hamstring tear." in page.text
    assert site.ehr.created == []
    page = page.press(first)
    assert "In the chart as a draft, for somebody to sign: ServiceRequest/new-1." in page.text
    [order] = site.ehr.saved("ServiceRequest")
    OrderModel.model_validate(order)
    assert (order["status"], order["intent"], order["priority"]) == ("draft", "proposal", "urgent")
    assert order["category"][0]["coding"][0]["code"] == "363679005"
    assert [reason["text"] for reason in order["reasonCode"]] == ["Buttock pain", "Suspected proximal hamstring tear"]
    assert order["subject"] == {"reference": "Patient/1032702"}
    assert order["encounter"] == {"reference": "Encounter/89284"}
    assert order["requester"] == {"reference": "Practitioner/4451"}
    verified = {(code.system, code.code) for code in packaged().order_codes}
    coded = {(each["system"], each["code"]) for each in order["code"]["coding"]}
    assert {(system, code) for system, code in coded if system != ORDER_SYSTEM} <= verified
    # The other one is still to be drafted, this one is not.
    assert drafts(page) == [second]
    assert "ServiceRequest/new-2" in page.press(second).text
    assert len(site.ehr.created) == 2


def test_an_order_names_nobody_where_nobody_is_known_to_be_signed_in(site: Site) -> None:
    site.ehr.faults.scope = lambda scope: scope.replace("openid fhirUser ", "")
    page = site.open()
    page.press(drafts(page)[0])
    [order] = site.ehr.saved("ServiceRequest")
    assert "requester" not in order


def test_nothing_is_drafted_but_by_its_button(site: Site) -> None:
    page = site.open()
    for do in ("enough", "done"):
        page.press(do)
    for made_up in ("draft:", "draft:1", "draft:6f0b6b7e-0000-5000-8000-000000000000"):
        assert page.send(made_up).status == 200
    assert site.ehr.created == []


def test_a_double_click_a_reload_and_another_page_draft_once(site: Site) -> None:
    page = site.open()
    [first, _second] = drafts(page)
    for _ in range(3):
        assert "ServiceRequest/new-1" in page.press(first).text
    # The same chart, launched anew: what is there is found.
    again = site.open()
    assert drafts(again) == drafts(page)
    assert "for somebody to sign: ServiceRequest/new-1." in again.press(first).text
    assert len(site.ehr.created) == 1


def test_an_order_that_was_taken_back_as_an_error_can_be_drafted_again(site: Site) -> None:
    page = site.open()
    page.press(drafts(page)[0])
    site.ehr.resources["ServiceRequest/new-1"]["status"] = "entered-in-error"
    again = site.open()
    assert "ServiceRequest/new-2" in again.press(drafts(again)[0]).text


def test_a_lost_answer_is_looked_for_before_another_attempt(site: Site) -> None:
    page = site.open()
    site.ehr.faults.lost = 1
    page = page.press(drafts(page)[0])
    assert "not known to be in the chart: look there" in page.text
    page = page.press(drafts(page)[0])
    assert "ServiceRequest/new-1" in page.text
    assert len(site.ehr.created) == 1


@pytest.mark.parametrize(("status", "said"), [(403, "the EHR does not allow it"), (405, "the EHR does not take it")])
def test_where_the_ehr_refuses_the_page_says_that_the_next_card_offers_it(site: Site, status: int, said: str) -> None:
    page = site.open()
    site.ehr.faults.answers[("POST", "ServiceRequest")] = [status]
    refused = page.press(drafts(page)[0])
    assert f"Not drafted: {said}. The next card in the chart has this order to accept." in refused.text
    assert refused.cards() == page.cards()
    assert site.ehr.created == []
    assert "ServiceRequest/new-1" in refused.press(drafts(refused)[0]).text


def without(scope: str) -> Callable[[str], str]:
    return lambda granted: " ".join(each for each in granted.split() if each != scope)


@pytest.mark.parametrize(
    ("app", "scope", "writable"),
    [
        ({"write": ["QuestionnaireResponse"]}, str, {"ServiceRequest"}),
        (WRITES, without("patient/ServiceRequest.c"), {"ServiceRequest"}),
        (WRITES, without("patient/ServiceRequest.rs"), {"ServiceRequest"}),
        (WRITES, str, {"QuestionnaireResponse"}),
    ],
)
def test_what_is_not_allowed_is_not_offered_and_the_page_names_the_next_card(
    make_site: MakeSite, app: dict[str, Any], scope: Callable[[str], str], writable: set[str]
) -> None:
    allowed = make_site(TEAR, **WRITES)
    allowed.ehr.writable = {"ServiceRequest"}
    button = drafts(allowed.open())[0]
    site = make_site(TEAR, **app)
    site.ehr.faults.scope, site.ehr.writable = scope, writable
    page = site.open()
    assert drafts(page) == []
    assert f"Nothing {NEXT_CARD}" in page.text
    page.send(button)
    assert site.ehr.created == []


def test_a_draft_that_was_signed_meanwhile_is_called_an_order(site: Site) -> None:
    page = site.open()
    page = page.press(drafts(page)[0])
    site.ehr.resources["ServiceRequest/new-1"] |= {"status": "active", "intent": "order"}
    for do in ("enough", "set:left/palpable-gap=yes"):
        page = page.press(do)
        assert "no longer advised" not in page.text
        assert "as a draft" not in page.text
    # An answer after it makes the card propose it again, and the page knows that it is there.
    assert "In the chart as an order: ServiceRequest/new-1." in page.text


def test_a_draft_that_is_no_longer_advised_is_named(make_site: MakeSite) -> None:
    site = make_site(**WRITES)
    site.ehr.writable = {"ServiceRequest"}
    page = site.open()
    for finding in ("pop-at-injury", "sudden-onset", "sharp-pain"):
        page = page.press(f"set:right/{finding}=yes")
    page = page.press(drafts(page)[0])
    for finding in ("pop-at-injury", "sudden-onset", "sharp-pain"):
        page = page.press(f"set:right/{finding}=no")
    assert "no longer advised, look at it in the chart: ServiceRequest/new-1." in page.text
