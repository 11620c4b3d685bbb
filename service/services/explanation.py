"""The whole decision about one request: each recommendation with its verdict, the ranking with each point, what to ask.

It is the decision that the CDS service itself returns; nothing is decided here a second time.
What the prefetch lacks is not fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import orjson

from cds_hooks import CdsService, HookRequest, ServiceRegistry
from cds_hooks.request import read_envelope, request_for
from service.answers.answered import Answered
from service.answers.extension import assessment_extension
from service.chart.case import Case
from service.chart.orders import NO_SITE_CODES, SiteCodes
from service.fhir_validation import remarks
from service.knowledge_model.conditions import Interval, Value
from service.knowledge_model.model import Knowledge
from service.knowledge_model.vocabulary import CHART_KINDS
from service.reasoning.assessment import Assessment, Judgement
from service.reasoning.evidence import Evidence, Fired, Verdict
from service.release.states import Standings, StandingsAt
from service.services.evaluation import Evaluator
from service.services.registry import services_by

_VERDICTS = {True: "yes", False: "no", None: "cannot-tell"}


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision about one request, and what led to it."""

    knowledge: Knowledge
    service: str
    hook: str
    now: datetime
    # What was odd about the request, without any of its values.
    notes: tuple[str, ...]
    # Resources that are no valid FHIR R4 by the models, and where they are not; they were read all the same.
    invalid: tuple[tuple[str, str], ...]
    case: Case
    assessment: Assessment
    standings: Standings
    verdicts: tuple[Verdict, ...]
    # side, cause, points, findings, family of tests and source of each point of the ranking.
    weights: tuple[Mapping[str, Any], ...]
    # What was judged beside the chart, such as a draft order, with what comes of each recommendation about it.
    judged: tuple[tuple[Judgement, tuple[Verdict, ...]], ...]
    answered: Answered


class Explainer:
    """Explains by one body of knowledge; made once. `clock` gives the time of a request, in UTC."""

    def __init__(
        self,
        knowledge: Knowledge,
        clock: Callable[[], datetime],
        site_codes: SiteCodes = NO_SITE_CODES,
        standings_at: StandingsAt | None = None,
    ) -> None:
        self.knowledge, self._clock, self._site_codes = knowledge, clock, site_codes
        self._standings_at = standings_at

    # Made when the first request is explained: most processes never explain one.
    @cached_property
    def _evaluator(self) -> Evaluator:
        return Evaluator(self.knowledge, self._clock, self._site_codes, standings_at=self._standings_at)

    @cached_property
    def _catalogue(self) -> ServiceRegistry[Answered]:
        return services_by(self._evaluator)

    def services_of(self, hook: str) -> list[str]:
        """The ids of the CDS services of a hook, in the order of discovery."""
        return [entry["id"] for entry in self._catalogue.discovery()["services"] if entry["hook"] == hook]

    def answer(self, service_id: str, body: bytes) -> tuple[CdsService[Answered], HookRequest, Answered]:
        """The CDS service of this id, the request that `body` holds, and the answer. Raises what the service raises."""
        envelope = read_envelope(body)
        service = self._catalogue.find(service_id, str(envelope["hook"]))
        request = request_for(envelope, service, correlation_id="explain")
        return service, request, service.answer(request)

    def explain(self, service_id: str, body: bytes) -> Explanation:
        """The decision of this CDS service about the request that `body` holds. Raises what the service raises."""
        service, request, answered = self.answer(service_id, body)
        assessment, assessor = answered.assessment, self._evaluator.assessor
        case = assessment.case
        if case is None:
            # An order that the service has nothing to do with leaves the chart unread.
            evaluation = self._evaluator.evaluate(request)
            case, assessment = evaluation.case, evaluation.assessment
        return Explanation(
            knowledge=self.knowledge,
            service=service.id,
            hook=service.hook,
            now=case.now,
            notes=request.notes,
            invalid=tuple(remarks(request.prefetch)),
            case=case,
            assessment=assessment,
            standings=self._evaluator.standings_now(),
            # The other kinds also need the hook context.
            verdicts=assessor.verdicts(assessment, *CHART_KINDS) if assessment.complaint == "present" else (),
            weights=tuple(
                {"side": side, **{name: getattr(each, name) for name in each.__struct_fields__}}
                for side, each in assessor.weights(assessment)
            ),
            judged=tuple(
                (one, assessor.verdicts(one.assessment, one.kind, facts=one.facts)) for one in answered.judgements
            ),
            answered=answered,
        )


# ---------------------------------------------------------------------------------------------------------------------
# For programs


def as_dict(explanation: Explanation) -> dict[str, Any]:
    """The explanation in JSON types; openapi.yaml describes it as Explanation."""
    assessment, knowledge = explanation.assessment, explanation.knowledge
    fired_by_id = {fired.recommendation.id: fired for fired in assessment.fired}
    return {
        "service": explanation.service,
        "hook": explanation.hook,
        "at": explanation.now.isoformat(timespec="seconds"),
        "notes": list(explanation.notes),
        "notValid": [{"resource": resource, "where": where} for resource, where in explanation.invalid],
        "assessment": assessment_extension(knowledge, assessment, explanation.standings),
        "locatedBy": [_evidence(knowledge, item) for item in assessment.located_by],
        "recommendations": [_of_chart(explanation, verdict, fired_by_id) for verdict in explanation.verdicts],
        "ranking": {
            "waits": assessment.ranking_waits,
            "unranked": assessment.unranked,
            "sides": [
                {
                    "side": ranking.side,
                    "clear": ranking.clear,
                    "familiesKnown": ranking.families_known,
                    "families": ranking.families,
                    "causes": [
                        {
                            "id": cause.id,
                            "title": knowledge.causes[cause.id].title,
                            "band": cause.band,
                            "points": cause.points,
                            "made": _made_of(explanation, ranking.side, cause.id),
                        }
                        for cause in ranking.causes
                    ],
                }
                for ranking in assessment.rankings
            ],
        },
        "ask": [
            {"finding": asked.finding, "ask": asked.ask, "because": asked.because, "changes": list(asked.changes)}
            for asked in assessment.ask
        ],
        "judged": [_judged(knowledge, judgement, verdicts) for judgement, verdicts in explanation.judged],
        "contradictory": list(assessment.contradictory),
        "withoutSide": list(assessment.without_side),
        "cards": [
            {"indicator": each.card.indicator, "summary": each.card.summary} for each in explanation.answered.advised
        ],
        "extension": dict(explanation.answered.extension),
    }


def as_json(explanation: Explanation) -> str:
    """The explanation for a program."""
    return orjson.dumps(as_dict(explanation), option=orjson.OPT_INDENT_2).decode()


def _evidence(knowledge: Knowledge, item: Evidence) -> dict[str, Any]:
    entry = {
        "id": item.finding,
        "title": knowledge.title_of(item.finding),
        "state": item.state,
        "side": item.side,
        "date": item.date,
        "resource": item.resource,
        "remark": ", ".join(item.remarks),
    }
    return {name: value for name, value in entry.items() if value}


def _of_chart(explanation: Explanation, verdict: Verdict, fired_by_id: Mapping[str, Fired]) -> dict[str, Any]:
    recommendation, fired = verdict.recommendation, fired_by_id.get(verdict.recommendation.id)
    entry = _verdict(explanation.knowledge, verdict)
    if fired:
        entry["indicator"] = fired.indicator
        entry["findings"] = [_evidence(explanation.knowledge, item) for item in fired.evidence]
    elif verdict.is_true:
        waits = explanation.assessment.ranking_waits and recommendation.waits
        entry["heldBack"] = "waits-for-red-flag" if waits else "left-out"
    return entry


def _verdict(knowledge: Knowledge, verdict: Verdict) -> dict[str, Any]:
    recommendation = verdict.recommendation
    return {
        "id": recommendation.id,
        "title": recommendation.title,
        "kind": recommendation.kind,
        "verdict": _VERDICTS[verdict.is_true],
        "indicator": recommendation.indicator,
        "findings": [_evidence(knowledge, item) for item in verdict.evidence],
        "unknown": [{"id": name, "title": knowledge.title_of(name)} for name in verdict.unknown],
    }


def _made_of(explanation: Explanation, side: str, cause: str) -> list[dict[str, Any]]:
    return [
        {
            "points": each["points"],
            "findings": list(each["findings"]),
            "source": each["source"],
            **({"family": each["family"]} if each["family"] else {}),
        }
        for each in explanation.weights
        if each["side"] == side and each["cause"] == cause
    ]


def _judged(knowledge: Knowledge, judgement: Judgement, verdicts: Iterable[Verdict]) -> dict[str, Any]:
    return {
        "kind": judgement.kind,
        "facts": {name: _plain(value) for name, value in judgement.facts.items()},
        "recommendations": [_verdict(knowledge, verdict) for verdict in verdicts],
        "fired": [fired.recommendation.id for fired in judgement.fired],
    }


def _plain(value: Value) -> bool | str | list[float] | None:
    return [value.low, value.high] if isinstance(value, Interval) else value


# ---------------------------------------------------------------------------------------------------------------------
# For a person


def as_text(explanation: Explanation, heading: Callable[[str], str] = str) -> str:
    """The explanation to be read on a terminal; `heading` may make a heading bold."""
    lines: list[str] = []
    for title, found in _sections(as_dict(explanation)):
        section = list(found)
        if section:
            lines += [heading(title), *(f"  {line}" for line in section), ""]
    return "\n".join(lines).rstrip()


def _sections(explained: Mapping[str, Any]) -> Iterator[tuple[str, Iterable[str]]]:
    assessment = explained["assessment"]
    knowledge = assessment["knowledge"]
    yield "Request", [f"{explained['service']} on {explained['hook']}, at {explained['at']}", *explained["notes"]]
    yield "Knowledge", [f"version {knowledge['version']}, {knowledge['status']}"]
    yield "Data", [f"{key}: {state}" for key, state in assessment["data"].items()]
    yield "Left out", [f"{count} {what}" for what, count in assessment["leftOut"].items() if count]
    complaint = f"{assessment['complaint']}, side {assessment['side']}"
    yield "Complaint", [complaint, *_found(explained["locatedBy"])]
    yield "Contradictory, taken as unknown", explained["contradictory"]
    yield "Without a side, used for neither", explained["withoutSide"]
    for heading, verdict in (("Yes", "yes"), ("Cannot tell", "cannot-tell"), ("No", "no")):
        of = (each for each in explained["recommendations"] if each["verdict"] == verdict)
        yield heading, [line for each in of for line in _recommendation(each)]
    yield "Ranking of causes", _ranked(explained["ranking"])
    yield "Imaging", [_call(call, "modality", "region") for call in assessment.get("imaging", ())]
    yield "Referrals", [_call(call, "to") for call in assessment.get("referrals", ())]
    yield "Treatment", map(_treated, assessment.get("treatment", ()))
    yield "Ask next", [f"{asked['finding']}: {asked['ask']} {asked['because']}" for asked in explained["ask"]]
    yield "What would change this advice", _would_change(explained["extension"].get("wouldChange", ()))
    for number, judged in enumerate(explained["judged"], start=1):
        yield f"Hook context, {number}: {judged['kind']}", _hook_context(judged)
    yield "Cards", [f"{card['indicator']}: {card['summary']}" for card in explained["cards"]]


def _found(findings: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for item in findings:
        where = (item.get(name, "") for name in ("state", "side", "date", "resource", "remark"))
        yield f"- {item['title']}: {', '.join(filter(None, where))}"


def _recommendation(each: Mapping[str, Any]) -> Iterator[str]:
    held = f", held back: {each['heldBack']}" if "heldBack" in each else ""
    yield f"{each['id']} ({each['indicator']}{held}): {each['title']}"
    yield from (f"  {line}" for line in _found(each["findings"]))
    if each["unknown"]:
        yield f"  unknown: {'; '.join(item['title'] for item in each['unknown'])}"


def _ranked(ranking: Mapping[str, Any]) -> Iterator[str]:
    if ranking["waits"]:
        yield "waits for the red flag"
    if ranking["unranked"]:
        yield "not ranked: the causes are not those of this patient"
    for side in ranking["sides"]:
        yield f"side {side['side']}, {side['familiesKnown']} of {side['families']} groups of tests known"
        for cause in side["causes"]:
            yield f"{cause['points']:+4d}  {cause['title']}: {cause['band']}"
            for point in cause["made"]:
                yield f"      {point['points']:+4d}  {', '.join(point['findings'])} [{point['source']}]"


def _call(call: Mapping[str, Any], *names: str) -> str:
    otherwise = f", or {call['alternative']}" if call.get("alternative") else ""
    return f"{' '.join(call[name] for name in names)}: {call['priority']}{otherwise} ({call['recommendation']})"


def _treated(call: Mapping[str, Any]) -> str:
    because = f" because of {', '.join(call['because'])}" if call.get("because") else ""
    without = f", without {', '.join(call['without'])}" if call.get("without") else ""
    cautions = f", with care: {', '.join(call['cautions'])}" if call.get("cautions") else ""
    return f"{call['id']}: {call['state']}{because}{without}{cautions}"


def _would_change(cards: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for card in cards:
        name = f"{card['topic']}, {card['about']}" if "about" in card else card["topic"]
        if card.get("noSingleAnswer"):
            yield f"{name}: no single answer"
        for member, word in (("raisedBy", "raised by"), ("removedBy", "removed by")):
            if answers := card.get(member):
                numbers = (f"{each['finding']} {each['as']:g}" for each in answers.get("numbers", ()))
                absent = (f"no {name}" for name in answers.get("absent", ()))
                yield f"{name}: {word} any of {', '.join((*answers.get('present', ()), *absent, *numbers))}"


def _hook_context(judged: Mapping[str, Any]) -> Iterator[str]:
    for name, value in judged["facts"].items():
        yield f"{name}: {'unknown' if value is None else value}"
    for each in judged["recommendations"]:
        if each["verdict"] != "no":
            yield f"{each['verdict']}: {each['id']} ({each['indicator']}): {each['title']}"
