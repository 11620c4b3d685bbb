"""No card contradicts itself: structural checks of every fixture, every named case and of generated charts.

What is decided is checked on 5,000 generated charts, without a call; what is said, on the answers to fewer of them.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import chain
from typing import Any

import pytest
from flask.testing import FlaskClient

from service.app import create_app
from service.knowledge_model.conditions import Condition
from service.knowledge_model.model import in_a_sentence
from service.knowledge_model.vocabulary import CLINICAL_KINDS, INDICATORS
from service.reasoning.assessment import Assessment, ImagingCall
from service.reasoning.visit_limits import limit_of
from tests.calm import benign_cases
from tests.charts import (
    CLOCK,
    SERVICE,
    Json,
    assessed,
    assessment_of,
    build_request,
    mixed_cases,
    named_cases,
    packaged,
)

GENERATED = 150
BASIS = "org.sitbone.basis"
# What tells of a patient beside findings and causes.
_OF_A_PATIENT = re.compile(
    r"\bday \d|\bage \d|\bage of|under 16|avulsion on imaging|onset recorded both|recorded as present and as absent"
)


@cache
def _answers() -> tuple[tuple[str, Json], ...]:
    client: FlaskClient = create_app(clock=lambda: CLOCK).test_client()
    asked = [(case.name, case.request()) for case in named_cases() if f"/cds-services/{case.service}" == SERVICE]
    asked += [(f"benign {number}", build_request(case)) for number, case in enumerate(benign_cases(GENERATED, seed=11))]
    asked += [(f"mixed {number}", build_request(case)) for number, case in enumerate(mixed_cases(GENERATED))]
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


def _headlines_of_nobody(answer: Json) -> list[str]:
    """A headline that would be the same for everybody: no finding, no cause, no age, no day stands in it."""
    knowledge, told = packaged(), []
    causes = [in_a_sentence(cause.title) for cause in knowledge.causes.values()]
    names = [knowledge.short_of(finding) for finding in knowledge.findings]
    for card in answer["cards"]:
        summary = card["summary"].lower()
        if not (_OF_A_PATIENT.search(summary) or any(name.lower() in summary for name in (*names, *causes))):
            told.append(card["summary"])
    return told


CHECKS: dict[str, Callable[[Json], list[str]]] = {
    "no cause has for it what is absent": _for_what_is_absent,
    "nothing less likely is also to be considered": _also_less_likely,
    "findings that support a cause are of a family": _none_of_the_families,
    "what is derived stands not among the findings": _derived_as_findings,
    "what imaging has answered is not asked again": _headline_asks_for_what_is_shown,
    "one fracture has one card": _two_cards_of_one_fracture,
    "no card has the doses of child and adult": _doses_of_child_and_adult,
    "self-care is not first where it failed": _self_care_first_after_it_failed,
    "no headline is the same for everybody": _headlines_of_nobody,
}


@pytest.mark.parametrize("check", CHECKS)
def test_on_every_chart(check: str) -> None:
    wrong = [(name, found) for name, answer in _answers() if (found := CHECKS[check](answer))]
    assert wrong[:5] == []


# ---------------------------------------------------------------------------------------------------------------------
# What is decided

DECIDED = 5_000
# What the safety net names, and the findings that document it.
EMERGENCY = {
    "numbness between the legs": {"saddle-numbness"},
    "trouble passing urine": {"urinary-retention"},
    "moving the bowels": {"faecal-incontinence"},
    "weakness in both legs": {"leg-weakness", "bilateral-leg-symptoms"},
    "fever with worsening pain": {"fever", "worsening"},
    "a leg that swells": {"unilateral-leg-swelling"},
}
SAME_DAY = {
    "a sudden pop with bruising": {"sudden-onset", "pop-at-injury", "significant-bruising"},
    "a leg that turns weak": {"leg-weakness"},
}
# The red flags of an injury, which imaging answers; another one may ask for imaging beside it.
OF_A_TEAR = {"sudden-tear", "unexamined-injury", "significant-bruising", "adolescent-avulsion"}
RADIOGRAPHED = {"radiograph-done", "radiograph-normal", "radiograph-avulsion-fracture"}


@cache
def _decided() -> tuple[tuple[str, frozenset[str], Assessment], ...]:
    """Charts with the findings that are present, and what is decided of each."""
    named = (
        (case.name, case.chart, case.request()) for case in named_cases() if f"/cds-services/{case.service}" == SERVICE
    )
    made = chain(mixed_cases(DECIDED // 2, seed=23), benign_cases(DECIDED - DECIDED // 2, seed=29))
    generated = ((f"generated {number}", case, build_request(case)) for number, case in enumerate(made))
    decided = ((name, case, assessed(request)) for name, case, request in chain(named, generated))
    return tuple(
        (name, _documented(case, assessment), assessment)
        for name, case, assessment in decided
        if assessment.complaint == "present" and not assessment.contradictory
    )


def _documented(case: Mapping[str, Any], assessment: Assessment) -> frozenset[str]:
    """The findings that the case says are present, of no other side, and that count today."""
    entries = [entry.split(", ") for entry in case.get("present", ()) if "|" not in entry]
    said = {name for name, *marks in entries if not {"left", "right"} & {*marks}}
    known = assessment.case
    return frozenset(name for name in said if known and any(s.value is True for s in known.assertions.get(name, ())))


def _sent_elsewhere(present: frozenset[str], assessment: Assessment) -> list[str]:
    """What the safety net sends to emergency care or to be seen today, and the card does not."""
    at_once = _at_once(assessment)
    today = any(fired.indicator == INDICATORS[0] for fired in assessment.fired)
    wrong = [words for words, findings in EMERGENCY.items() if findings <= present and not at_once]
    return wrong + [words for words, findings in SAME_DAY.items() if findings <= present and not today]


def _asked_again(present: frozenset[str], assessment: Assessment) -> list[str]:
    """Imaging that is called for by an injury or a plan, and that has answered."""
    flags = {r.id: r.red_flag.id for r in packaged().recommendations if r.red_flag}
    answered = {"mri", "ultrasound"} if "mri-hamstring-avulsion" in present else set()
    answered |= {"radiograph"} if RADIOGRAPHED & present else set()
    return [
        call.recommendation
        for call in assessment.calls
        if isinstance(call, ImagingCall)
        and call.region in ("pelvis", "thigh")
        and call.modality in answered
        and flags.get(call.recommendation, "sudden-tear") in OF_A_TEAR
    ]


def _for_an_absent_finding(_present: frozenset[str], assessment: Assessment) -> list[str]:
    by_absence = {name for weight in packaged().differential.points for name in _absences(weight.when)}
    return [
        f"{cause.id}: {name}"
        for ranking in assessment.rankings
        for cause in ranking.causes
        for name in cause.speaks_for
        if name in packaged().findings
        and name not in by_absence
        and assessment.case
        and assessment.case.resolve(name, ranking.side, with_sideless=True).value is False
    ]


def _offered_and_held(_present: frozenset[str], assessment: Assessment) -> list[str]:
    called = [(call.id, call.state) for fired in assessment.fired for call in fired.recommendation.treatment]
    held = {id_ for id_, state in called if state == "hold"}
    return sorted(held & assessment.offered())


def _waits_and_images(_present: frozenset[str], assessment: Assessment) -> list[str]:
    """ "No imaging for now" beside imaging of the same side."""
    calls = [call for call in assessment.calls if isinstance(call, ImagingCall)]
    waits = [call.recommendation for call in calls if call.modality == "none-now"]
    return waits if any(call.modality != "none-now" for call in calls) and len(assessment.rankings) < 2 else []


def _doses(_present: frozenset[str], assessment: Assessment) -> list[str]:
    of_a_child, of_an_adult = "rs09e-acetaminophen-by-weight", "rs09b-acetaminophen"
    fired = {each.recommendation.id for each in assessment.fired}
    return [of_an_adult] if {of_a_child, of_an_adult} <= fired else []


DECISIONS: dict[str, Callable[[frozenset[str], Assessment], list[str]]] = {
    "the safety net sends nobody elsewhere than the card does": _sent_elsewhere,
    "imaging that has answered is not called for again": _asked_again,
    "no cause is for a finding that is absent": _for_an_absent_finding,
    "nothing is offered that is held": _offered_and_held,
    "no imaging for now stands beside no imaging": _waits_and_images,
    "the doses of child and adult do not stand together": _doses,
}


@pytest.mark.parametrize("check", DECISIONS)
def test_of_what_is_decided_on_every_chart(check: str) -> None:
    decided = _decided()
    assert len(decided) > DECIDED
    wrong = [(name, found) for name, present, of in decided if (found := DECISIONS[check](present, of))]
    assert wrong[:5] == []


def test_the_safety_net_says_what_the_check_knows() -> None:
    at_once, same_day = packaged().wording.sentences["safety_net"].split(". ")
    parts = re.split(r", or | or |, ", at_once.partition(" for new ")[2])
    assert parts == [*EMERGENCY]
    assert re.split(r", or ", same_day.partition(" for ")[2].rstrip(".")) == [*SAME_DAY]


# ---------------------------------------------------------------------------------------------------------------------
# When a visit has to be

# What the message for parents names, and the findings that document it: emergency care at once, or the same day.
AT_ONCE_OF_A_CHILD = {
    "cannot stand or walk": ["unable-to-bear-weight"],
    "has a fever": ["fever"],
    "looks very ill": ["sepsis"],
    "numb between the legs": ["saddle-numbness"],
    "trouble passing urine": ["urinary-retention"],
    "moving the bowels": ["faecal-incontinence"],
    "Both legs feel weak": ["leg-weakness", "bilateral-leg-symptoms"],
    "One leg swells up": ["unilateral-leg-swelling"],
}
SAME_DAY_OF_A_CHILD = {
    "One leg feels weak": ["leg-weakness"],
    "sudden sharp pain with a pop": ["sudden-onset", "sharp-pain", "pop-at-injury"],
    "big bruise": ["significant-bruising"],
}
TWO_DAYS_OF_A_CHILD = {"wakes your child at night": ["night-or-rest-pain"], "gets worse": ["worsening"]}


def _of_a_child(findings: list[str]) -> Assessment:
    return assessed(build_request({"age": 12, "side": "left", "present": ["buttock-pain", *findings]}))


def _at_once(assessment: Assessment) -> bool:
    return any(call.key == "referral-emergency" and call.priority == "stat" for call in assessment.referrals)


def _days(assessment: Assessment) -> int:
    """Until the visit that is due, -1 for emergency care at once."""
    limit = limit_of(packaged(), assessment)
    return 99 if limit is None else -1 if limit.emergency else limit.days


def test_parents_are_sent_where_the_card_sends() -> None:
    """What gh22-child says and what such a chart asks for; an avulsion is seen the same or the next day."""
    [child] = [r for r in packaged().recommendations if r.id == "gh22-child"]
    at_once, _, later = "\n".join(child.say).partition("See a doctor the same day")
    same_day, _, days = later.partition("See a doctor within two days")
    for words, findings in AT_ONCE_OF_A_CHILD.items():
        assert words in at_once
        assert _at_once(_of_a_child(findings)), words
    for said, table, most in ((same_day, SAME_DAY_OF_A_CHILD, 1), (days, TWO_DAYS_OF_A_CHILD, 2)):
        for words, findings in table.items():
            assert words in said
            assert not _at_once(_of_a_child(findings)), words
            assert _days(_of_a_child(findings)) <= most, words
    listed = [line for line in child.say if line.startswith("- ")]
    known = (*AT_ONCE_OF_A_CHILD, *SAME_DAY_OF_A_CHILD)
    assert [line for line in listed if not any(words in line for words in known)] == []


def test_a_worrying_finding_never_puts_a_visit_off() -> None:
    """What is found worse leaves no more days. An avulsion of the young is seen the same or the next day (RF12), also
    where less was due today.
    """
    generator = random.Random(5)  # noqa: S311 - the same charts each time
    worrying = [
        finding.id
        for finding in packaged().findings.values()
        if finding.direction == "worrying"
        and finding.value == "boolean"
        and finding.kind in CLINICAL_KINDS
        # What imaging shows answers: it has days of its own.
        and finding.kind != "result"
    ]
    wrong = []
    for case in chain(mixed_cases(400, seed=77), benign_cases(100, seed=78)):
        before = assessed(build_request(case))
        if before.complaint != "present" or limit_of(packaged(), before) is None:
            continue
        said = {entry.partition(",")[0] for state in ("present", "absent") for entry in case.get(state, ())}
        for finding in generator.sample([name for name in worrying if name not in said], 5):
            after = assessed(build_request({**case, "present": [*case["present"], finding]}))
            if _days(after) > max(_days(before), 1 if _of_the_young(after) else -1):
                wrong.append((finding, case["present"], _days(before), _days(after)))
    assert wrong[:3] == []


def _of_the_young(assessment: Assessment) -> bool:
    flags = (f for f in assessment.red_flags() if f.indicator == INDICATORS[0] and f.recommendation.red_flag)
    return any(f.recommendation.red_flag and f.recommendation.red_flag.id == "adolescent-avulsion" for f in flags)
