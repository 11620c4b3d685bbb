"""No answer contradicts itself: structural checks of every named case and of 5,000 generated charts, in one walk.

Each chart is answered once. What is decided of it, what its cards say and what they suggest are held to the checks of
this file, and the answer also to the invariants of test_cases.py.
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import chain
from typing import Any

import orjson
import pytest

from cds_hooks import read_request
from cds_hooks.response import render
from service.answers.answered import ASSESSMENT_KEY
from service.answers.card_lines import is_named
from service.knowledge_model.conditions import Condition
from service.knowledge_model.model import in_a_sentence
from service.knowledge_model.vocabulary import CLINICAL_KINDS, INDICATORS
from service.reasoning.assessment import Assessment, ImagingCall
from service.reasoning.visit_limits import limit_of
from service.service_ids import DIAGNOSIS
from tests.calm import benign_cases
from tests.charts import (
    CLOCK,
    SERVICE,
    Json,
    NamedCase,
    assessed,
    assessment_of,
    build_request,
    mixed_cases,
    named_cases,
    packaged,
    services,
)
from tests.clinical import test_cases

GENERATED = 5_000
BASIS = "org.sitbone.basis"
# What tells of a patient beside findings and causes.
_OF_A_PATIENT = re.compile(
    r"\bday \d|\bage \d|\bage of|under 16|avulsion on imaging|onset recorded both|recorded as present and as absent"
)


@dataclass(frozen=True, slots=True)
class Seen:
    """A chart with the findings that count as present, what is decided of it and what is answered."""

    case: NamedCase
    present: frozenset[str]
    assessment: Assessment
    answer: Json


def _seen() -> Iterator[Seen]:
    service = services().find(DIAGNOSIS, "patient-view")
    named = (case for case in named_cases() if f"/cds-services/{case.service}" == SERVICE)
    made = chain(
        mixed_cases(GENERATED // 2, seed=23),
        benign_cases(GENERATED - GENERATED // 2, seed=29),
        ({**chart, "age": 22} for chart in mixed_cases(GENERATED // 10, seed=31)),
    )
    generated = (NamedCase(f"generated {number}", "", chart, (), (), "", {}) for number, chart in enumerate(made))
    for case in chain(named, generated):
        answered = service.answer(read_request(orjson.dumps(case.request()), service, correlation_id="test"))
        answer = orjson.loads(render(answered.response))
        assert answer["extension"][ASSESSMENT_KEY]
        yield Seen(case, _documented(case.chart, answered.assessment), answered.assessment, answer)


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


@cache
def _by_absence() -> frozenset[str]:
    """The findings whose absence may speak for a cause: that is a weight of its own."""
    return frozenset(name for weight in packaged().differential.points for name in _absences(weight.when))


def _for_what_is_absent(answer: Json) -> list[str]:
    said, by_absence = _present(answer), _by_absence()
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


@cache
def _names() -> tuple[str, ...]:
    """What findings and causes are called in a headline, in small letters."""
    knowledge = packaged()
    causes = [in_a_sentence(cause.title) for cause in knowledge.causes.values()]
    return tuple(name.lower() for name in (*map(knowledge.short_of, knowledge.findings), *causes))


def _headlines_of_nobody(answer: Json) -> list[str]:
    """A headline that would be the same for everybody: no finding, no cause, no age, no day stands in it."""
    told = []
    for card in answer["cards"]:
        summary = card["summary"].lower()
        if not (_OF_A_PATIENT.search(summary) or any(name in summary for name in _names())):
            told.append(card["summary"])
    return told


def _suggested(answer: Json) -> Iterator[tuple[str, Json]]:
    """The key of each order that a card suggests, with the ServiceRequest."""
    for card in answer["cards"]:
        for suggestion in card.get("suggestions", ()):
            for action in suggestion["actions"]:
                yield action["resource"]["code"]["coding"][-1]["code"], action["resource"]


def _suggested_twice(answer: Json) -> list[str]:
    keys = [key for key, _order in _suggested(answer)]
    return [key for key in keys if keys.count(key) > 1]


def _suggested_and_held(answer: Json) -> list[str]:
    """An order for what a card says must wait."""
    held = {entry["id"] for entry in assessment_of(answer)["treatment"] if entry["state"] == "hold"}
    return [key for key, _order in _suggested(answer) if key.removeprefix("referral-") in held]


def _shown(answer: Json) -> list[str]:
    return [each["id"] for card in answer["cards"] for each in card["extension"][BASIS]["recommendations"]]


@cache
def _none_now() -> frozenset[str]:
    return frozenset(r.id for r in packaged().recommendations if any(c.modality == "none-now" for c in r.imaging))


@cache
def _flags() -> Mapping[str, str]:
    """Recommendation -> its red flag."""
    return {r.id: r.red_flag.id for r in packaged().recommendations if r.red_flag}


def _imaging_beside_none(answer: Json) -> list[str]:
    """An order of imaging beside "no imaging for now", for the same side."""
    waits = _none_now() & {*_shown(answer)}
    imaging = [key for key, order in _suggested(answer) if order["category"][0]["text"] == "Imaging"]
    return imaging if waits and assessment_of(answer)["side"] != "bilateral" else []


def _urgent_missing(answer: Json) -> list[str]:
    """A call that is stat or urgent, and that no card suggests or names."""
    found, text = assessment_of(answer), _text(answer)
    if found.get("silenced") or "already ordered" in text or "already done" in text:
        return []
    offered, orders = {key for key, _order in _suggested(answer)}, packaged().orders
    calls = {f"{call['modality']}-{call['region']}": call for call in found["imaging"]}
    calls |= {f"referral-{call['to']}": call for call in found["referrals"]}
    urgent = [key for key, call in calls.items() if call["priority"] != "routine" and key in orders]
    return [key for key in urgent if key not in offered and orders[key].short not in text]


def _less_urgent_than_ordered(answer: Json) -> list[str]:
    """An order that is less urgent than the call for it."""
    found = assessment_of(answer)
    calls = {f"{call['modality']}-{call['region']}": call["priority"] for call in found["imaging"]}
    calls |= {f"referral-{call['to']}": call["priority"] for call in found["referrals"]}
    return [key for key, order in _suggested(answer) if calls.get(key, order["priority"]) != order["priority"]]


def _flag_on_a_lower_card(answer: Json) -> list[str]:
    """A red flag whose recommendation stands on no card that is as urgent."""
    flags = _flags()
    said = {
        (flags[each["id"]], card["indicator"])
        for card in answer["cards"]
        for each in card["extension"][BASIS]["recommendations"]
        if each["id"] in flags
    }
    found = assessment_of(answer)
    if found.get("silenced"):
        return []
    return [flag["id"] for flag in found["redFlags"] if (flag["id"], flag["indicator"]) not in said]


def _badly_put_together(answer: Json) -> list[str]:
    """Places that were not filled in, and what is left where one said nothing."""
    wrong = re.compile(r"[{}\[\]]|  |\.\.|,,|\( |\(\)| [.,;:?]|: ?[.;]|; ?[.;]|\bNone\b|^[^\w\n]|\*\* ?$", re.MULTILINE)
    texts = [part for card in answer["cards"] for part in (card["summary"], card["detail"].replace("**", ""))]
    return [text for text in texts if wrong.search(text) or text.count("(") != text.count(")")]


def _side_said_again(answer: Json) -> list[str]:
    """A side beside a finding on a card whose headline names that side."""
    sides = {"Left: ": "(left)", "Right: ": "(right)"}
    return [
        card["summary"]
        for card in answer["cards"]
        for side, mark in sides.items()
        if card["summary"].startswith(side) and mark in card["summary"].partition("Also:")[0]
    ]


def _parts(card: Json) -> dict[str, str]:
    """The lines of a card by their label."""
    return dict(re.findall(r"^\*\*(.+?):\*\* (.+)$", card["detail"], re.MULTILINE))


def _reasons_said_before(answer: Json) -> list[str]:
    """A finding that headline or hold names and that is a reason again, without several dates to tell apart."""
    again = []
    for card in answer["cards"]:
        parts = _parts(card)
        because = re.sub(r"[^,;:]+ \((?:left|right)\)", "", parts.get("Because", ""))
        said = ". ".join((card["summary"], parts.get("Hold", "")))
        one_date = len({*re.findall(r"\(([A-Z][a-z]{2} \d[^)]*)\)", because)}) < 2
        names = {packaged().short_of(found["id"]) for found in card["extension"][BASIS]["findings"]}
        again += [name for name in names if one_date and is_named(name, said) and is_named(name, because)]
    return again


@cache
def _short_names() -> tuple[str, ...]:
    """What findings are called in short, in small letters, the longest first."""
    names = sorted({packaged().short_of(name).lower() for name in packaged().findings}, key=len, reverse=True)
    return tuple(names)


def _phrases_said_twice(answer: Json) -> list[str]:
    """Six words in a row of one sentence that stand twice on a card; findings are looked at apart."""
    again = []
    for card in answer["cards"]:
        text = f"{card['summary']}\n{card['detail']}".lower()
        for name in _short_names():
            text = text.replace(name, ".")
        sentences = [re.findall(r"[\w'-]+", sentence) for sentence in re.split(r"[.:;?\n]", text)]
        rows = Counter(" ".join(words[at : at + 6]) for words in sentences for at in range(len(words) - 5))
        again += [row for row, times in rows.items() if times > 1]
    return again


def _long_for_what_can_be_cut(answer: Json) -> list[str]:
    """A card of more than 120 words, or cards of more than 200 together, that still give reasons or ask.

    Six red flags at once have six actions, and none of them is cut, nor is the leading cause.
    """
    said = [card["detail"].removesuffix(f"\n\n{test_cases.STATUS}") for card in answer["cards"]]
    too_long = [text for text in said if len(text.split()) > 120]
    if sum(len(text.split()) for text in said) > 200:
        too_long = said

    def can_be_cut(text: str) -> bool:
        causes = [cause.title.lower() for cause in packaged().causes.values()]
        reasons = re.findall(r"^\*\*Because:\*\* (.*)$", text, re.MULTILINE)
        sentences = (sentence for of in reasons for sentence in of.split(". "))
        return "**Ask:**" in text or any(all(cause not in each.lower() for cause in causes) for each in sentences)

    return list(filter(can_be_cut, too_long))


def _same_headline(answer: Json) -> list[str]:
    headlines = [card["summary"] for card in answer["cards"]]
    return headlines if len({*headlines}) < len(headlines) else []


def _a_day_that_is_over(answer: Json) -> list[str]:
    days = (day for card in answer["cards"] for day in re.findall(r" by (\w{3} \d\d?)\b", card["summary"]))
    return [day for day in days if datetime.strptime(f"{day} 2026 +0000", "%b %d %Y %z").date() < CLOCK.date()]


def _broken_invariants(case: NamedCase, answer: Json) -> Iterator[tuple[str, str]]:
    answered = test_cases.Answered(case, answer)
    for check in INVARIANTS:
        if test_cases.INVARIANTS[check](answered):
            yield check.__name__, test_cases.broken(check, answered)


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
    flags = _flags()
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
    by_absence = _by_absence()
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


def _nsaid_beside_a_radiograph(_present: frozenset[str], assessment: Assessment) -> list[str]:
    """An NSAID offered below 25 beside a radiograph that an injury calls for: an avulsion fracture is in question."""
    case, flags = assessment.case, _flags()
    age = case.patient.age if case else None
    of_injury = {"rs06-bony-avulsion", "rs07-injury-at-the-origin", "rl07-suspected-tear"}
    due = [
        call.recommendation
        for call in assessment.calls
        if isinstance(call, ImagingCall)
        and (call.modality, call.region) == ("radiograph", "pelvis")
        and (call.recommendation in of_injury or flags.get(call.recommendation) in OF_A_TEAR)
    ]
    below = age is not None and age.high < 25
    return due if below and "nsaid" in assessment.offered() else []


def _doses(_present: frozenset[str], assessment: Assessment) -> list[str]:
    of_a_child, of_an_adult = "rs09e-acetaminophen-by-weight", "rs09b-acetaminophen"
    fired = {each.recommendation.id for each in assessment.fired}
    return [of_an_adult] if {of_a_child, of_an_adult} <= fired else []


# What is said.
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
    "no order is suggested twice": _suggested_twice,
    "no order is suggested that waits": _suggested_and_held,
    "no order of imaging stands beside no imaging for now": _imaging_beside_none,
    "nothing urgent is missing": _urgent_missing,
    "an order is as urgent as the call for it": _less_urgent_than_ordered,
    "a red flag stands on a card that is as urgent": _flag_on_a_lower_card,
    "a card is put together well": _badly_put_together,
    "a card names its side once": _side_said_again,
    "no reason was said on the card before": _reasons_said_before,
    "no phrase stands twice on a card": _phrases_said_twice,
    "a card is long for what is never cut alone": _long_for_what_can_be_cut,
    "no two cards have one headline": _same_headline,
    "no day that is over is a deadline": _a_day_that_is_over,
}

# What is decided, where the complaint is present and nothing is contradictory.
DECISIONS: dict[str, Callable[[frozenset[str], Assessment], list[str]]] = {
    "the safety net sends nobody elsewhere than the card does": _sent_elsewhere,
    "imaging that has answered is not called for again": _asked_again,
    "no cause is for a finding that is absent": _for_an_absent_finding,
    "nothing is offered that is held": _offered_and_held,
    "no imaging for now stands beside no imaging": _waits_and_images,
    "the doses of child and adult do not stand together": _doses,
    "no NSAID is offered beside the radiograph of a young injury": _nsaid_beside_a_radiograph,
}
# Those of test_cases.py, but for what each named case expects, and for the words of a card, which may have to be more.
INVARIANTS = [
    check
    for check in test_cases.INVARIANTS
    if check not in (test_cases.the_answer_is_as_the_case_expects, test_cases.a_card_is_read_in_five_seconds)
]


@cache
def _walk() -> Mapping[str, list[tuple[str, object]]]:
    """What was found by each check, with the chart; and how many charts were decided and had cards."""
    found: dict[str, list[tuple[str, object]]] = defaultdict(list)
    for seen in _seen():
        results: list[tuple[str, object]] = []
        if seen.answer["cards"]:
            results += [(name, check(seen.answer)) for name, check in CHECKS.items()]
            found["with cards"].append((seen.case.name, ""))
        if seen.assessment.complaint == "present" and not seen.assessment.contradictory:
            results += [(name, check(seen.present, seen.assessment)) for name, check in DECISIONS.items()]
            found["decided"].append((seen.case.name, ""))
        results += _broken_invariants(seen.case, seen.answer)
        for name, wrong in results:
            if wrong:
                found[name].append((seen.case.name, wrong))
    return found


@pytest.mark.parametrize("check", [*CHECKS, *DECISIONS, *(check.__name__ for check in INVARIANTS)])
def test_on_every_chart(check: str) -> None:
    found = _walk()
    assert min(len(found["decided"]), len(found["with cards"])) > GENERATED
    assert found.get(check, [])[:5] == []


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
