"""No card contradicts itself: structural checks of every fixture, every named case and of generated charts."""

import random
from collections.abc import Callable, Iterator
from functools import cache

import pytest
from flask.testing import FlaskClient

from service.app import create_app
from service.knowledge_model.conditions import Condition
from tests.calm import benign_cases
from tests.charts import CLOCK, SERVICE, Json, assessment_of, build_request, named_cases, packaged

GENERATED = 150
BASIS = "org.sitbone.basis"


def _mixed(count: int, seed: int = 5) -> Iterator[Json]:
    """Patients with any findings, present and absent, as no case would put them together."""
    generator = random.Random(seed)  # noqa: S311 - the same charts each time
    findings = [
        id_
        for id_, finding in packaged().findings.items()
        if finding.value == "boolean" and finding.kind in ("symptom", "history", "exam", "test", "result")
    ]
    for _ in range(count):
        chosen = generator.sample(findings, generator.randrange(3, 14))
        cut = generator.randrange(1, len(chosen))
        yield {
            "age": generator.choice((10, 15, 17, 19, 28, 45, 62, 81)),
            "sex": generator.choice(("female", "male")),
            "side": generator.choice(("left", "right")),
            "present": ["buttock-pain", *(name for name in chosen[:cut] if name != "buttock-pain")],
            "absent": [name for name in chosen[cut:] if name != "buttock-pain"],
            "onset_days_ago": generator.choice((1, 10, 30, 60, 120)),
        }


@cache
def _answers() -> tuple[tuple[str, Json], ...]:
    client: FlaskClient = create_app(clock=lambda: CLOCK).test_client()
    asked = [(case.name, case.request()) for case in named_cases() if f"/cds-services/{case.service}" == SERVICE]
    asked += [(f"benign {number}", build_request(case)) for number, case in enumerate(benign_cases(GENERATED, seed=11))]
    asked += [(f"mixed {number}", build_request(case)) for number, case in enumerate(_mixed(GENERATED))]
    return tuple((name, client.post(SERVICE, json=request).get_json()) for name, request in asked)


def _text(answer: Json) -> str:
    return "\n".join(f"{card['summary']}\n{card['detail']}" for card in answer["cards"])


def _present(answer: Json) -> dict[str, bool | None]:
    """What the cards say of findings: present or absent."""
    said: dict[str, bool | None] = {}
    for card in answer["cards"]:
        for entry in card["extension"][BASIS]["findings"]:
            said[entry["id"]] = {"present": True, "absent": False}.get(entry["state"])
    return said


def _absences(condition: Condition) -> Iterator[str]:
    """The findings whose absence it asks for, named criteria opened."""
    for leaf in condition.leaves():
        if leaf.finding in packaged().definitions:
            yield from _absences(packaged().definitions[leaf.finding][1])
        elif leaf.operand == "absent":
            yield leaf.finding


def _for_what_is_absent(answer: Json) -> list[str]:
    said = _present(answer)
    weights = packaged().differential.points
    # A negative finding may speak for a cause: that is a weight of its own.
    by_absence = {name for weight in weights for name in _absences(weight.when)}
    causes = assessment_of(answer)["causes"]
    return [
        f"{cause['id']}: {name}"
        for cause in causes
        for name in cause.get("for", ())
        if said.get(name) is False and name not in by_absence
    ]


def _also_less_likely(answer: Json) -> list[str]:
    """ "Also consider" a cause that the ranking calls less likely."""
    text = _text(answer)
    return [
        cause["id"]
        for cause in assessment_of(answer)["causes"]
        if cause["band"] == "less-likely" and f"Also consider {packaged().causes[cause['id']].title.lower()}" in text
    ]


def _none_of_the_families(answer: Json) -> list[str]:
    text = _text(answer)
    supported = any(cause.get("for") for cause in assessment_of(answer)["causes"])
    return ["evidence from 0 families beside findings"] if supported and "Evidence from 0 of" in text else []


def _derived_as_findings(answer: Json) -> list[str]:
    """Facts about orders among the findings of the chart."""
    known = packaged().findings.keys() | {"age", "sex"} | set(packaged().engine.derived.days_since)
    known |= set(packaged().engine.derived.count_of)
    return [
        entry["id"]
        for card in answer["cards"]
        for entry in card["extension"][BASIS]["findings"]
        if entry["id"] not in known
    ]


def _headline_asks_for_what_is_shown(answer: Json) -> list[str]:
    """Imaging has shown the avulsion, and a summary still suspects a tear that is to be imaged."""
    said = _present(answer)
    shown = said.get("mri-hamstring-avulsion") is True
    return [c["summary"] for c in answer["cards"] if shown and "could be a" in c["summary"] and "tear" in c["summary"]]


def _two_cards_of_one_fracture(answer: Json) -> list[str]:
    of = [c["summary"] for c in answer["cards"] if "avulsion fracture" in c["summary"].lower()]
    return of if len(of) > 1 else []


def _doses_of_child_and_adult(answer: Json) -> list[str]:
    text = _text(answer)
    return ["both"] if "by weight" in text and "for an adult at most" in text else []


def _self_care_first_after_it_failed(answer: Json) -> list[str]:
    failed = _present(answer).get("no-improvement-with-self-care") is True
    return [c["summary"] for c in answer["cards"] if failed and c["summary"].startswith("Self-care first")]


CHECKS: dict[str, Callable[[Json], list[str]]] = {
    "no cause has for it what is absent": _for_what_is_absent,
    "nothing less likely is also to be considered": _also_less_likely,
    "findings that support a cause are of a family": _none_of_the_families,
    "what is derived stands not among the findings": _derived_as_findings,
    "what imaging has answered is not asked again": _headline_asks_for_what_is_shown,
    "one fracture has one card": _two_cards_of_one_fracture,
    "no card has the doses of child and adult": _doses_of_child_and_adult,
    "self-care is not first where it failed": _self_care_first_after_it_failed,
}


@pytest.mark.parametrize("check", CHECKS)
def test_on_every_chart(check: str) -> None:
    wrong = [(name, found) for name, answer in _answers() if (found := CHECKS[check](answer))]
    assert wrong[:5] == []
