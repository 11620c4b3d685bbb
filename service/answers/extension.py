"""The machine-readable part of an answer: the assessment as an integrator tests it, and the basis of each card.

The members are described in openapi.yaml. Specification: CDS Service Response, Extensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.chart.assertions import Assertion
from service.chart.medicines import Unrecognised
from service.chart.orders import NOTHING_ORDERED, OnChart
from service.knowledge_model.conditions import Interval, Value
from service.knowledge_model.model import Knowledge, Recommendation
from service.reasoning.assessment import Assessment
from service.reasoning.evidence import Evidence
from service.reasoning.questions import WouldChange
from service.release.states import Standing, Standings

BASIS_KEY = "org.sitbone.basis"


def filled(members: Mapping[str, Any]) -> dict[str, Any]:
    """The members that have a value: whatever is empty is prohibited in a response (Use of JSON)."""
    return {name: value for name, value in members.items() if value or isinstance(value, int)}


def assessment_extension(
    knowledge: Knowledge, assessment: Assessment, standings: Standings, on_chart: OnChart = NOTHING_ORDERED
) -> dict[str, Any]:
    """The assessment as an integrator tests it; the members are described in openapi.yaml."""
    flags: dict[str, dict[str, Any]] = {}
    for fired in assessment.red_flags():
        flag = fired.recommendation.red_flag
        if flag is None:
            continue
        entry = flags.setdefault(flag.id, {"id": flag.id, "indicator": fired.indicator, "findings": []})
        if fired.indicator == "critical":
            entry["indicator"] = "critical"
        entry["findings"] += [
            name for name in fired.findings() if name in knowledge.findings and name not in entry["findings"]
        ]
    assessed = {
        "knowledge": knowledge_extension(standings),
        "complaint": assessment.complaint,
        "side": assessment.side,
        "redFlags": list(flags.values()),
        "causes": _causes_extension(knowledge, assessment),
        "imaging": [
            {
                "modality": call.modality,
                "region": call.region,
                "priority": call.priority,
                "recommendation": call.recommendation,
                **({"alternative": call.alternative} if call.alternative else {}),
            }
            for call in assessment.imaging
        ],
        "referrals": [
            {"to": call.to, "priority": call.priority, "recommendation": call.recommendation}
            for call in assessment.referrals
        ],
        "treatment": [
            filled(
                {
                    "id": call.id,
                    "state": call.state,
                    "because": list(call.because),
                    "without": list(call.without),
                    "cautions": list(call.cautions),
                }
            )
            for call in assessment.treatment
        ],
        "ask": [asked.finding for asked in assessment.ask],
        "data": assessment.data,
        "leftOut": {
            "otherPatient": assessment.left_out.other_patient,
            "outdated": assessment.left_out.outdated,
            "future": assessment.left_out.future,
            "unreadable": assessment.left_out.unreadable + on_chart.unreadable,
        },
        **({"notReadable": list(map(_not_readable, assessment.not_readable))} if assessment.not_readable else {}),
    }
    return filled(assessed)


def knowledge_extension(standings: Standings) -> dict[str, Any]:
    """Which knowledge answered; the digest is that of all of its content."""
    return filled({"version": standings.version, "status": standings.status, "digest": standings.digest})


def would_change_extension(change: WouldChange) -> dict[str, Any]:
    by = {"removedBy": _answers(change.removed_by), "raisedBy": _answers(change.raised_by)}
    about = {"about": change.about} if change.about else {}
    # That no single answer does is said, and not left to be concluded.
    return {"topic": change.topic, **about, **(filled(by) or {"noSingleAnswer": True})}


def _answers(answers: Sequence[tuple[str, Value]]) -> dict[str, Any]:
    """Findings by what they are answered to be."""
    return filled(
        {
            "present": [name for name, value in answers if value is True],
            "absent": [name for name, value in answers if value is False],
            "numbers": [{"finding": name, "as": v.low} for name, v in answers if isinstance(v, Interval)],
        }
    )


def _not_readable(one: Assertion | Unrecognised) -> dict[str, str]:
    what = {"finding": one.finding} if isinstance(one, Assertion) else {"kind": one.kind}
    return {**what, "resource": one.resource, "reason": one.unreadable}


def _causes_extension(knowledge: Knowledge, assessment: Assessment) -> list[dict[str, Any]]:
    if assessment.complaint != "present":
        return []
    if not assessment.rankings:
        return [{"id": cause, "band": "not-assessed"} for cause in knowledge.causes]
    sided = len(assessment.rankings) > 1
    return [
        {
            "id": cause.id,
            **({"side": cause.side} if sided and cause.side else {}),
            "band": cause.band,
            "points": cause.points,
            **({"for": list(cause.speaks_for)} if cause.speaks_for else {}),
            **({"against": list(cause.speaks_against)} if cause.speaks_against else {}),
        }
        for ranking in assessment.rankings
        for cause in ranking.causes
    ]


def as_written(recommendation: Recommendation, standing: Standing) -> dict[str, Any]:
    signed = (
        {"role": each.role, "by": each.signer.name, "date": each.signed.isoformat()} for each in standing.signatures
    )
    return filled(
        {
            "id": recommendation.id,
            "version": recommendation.version,
            "digest": standing.digest,
            "strength": recommendation.strength,
            "status": standing.status,
            "state": standing.state,
            "signed": list(signed),
            "reviewBy": standing.review_by.isoformat() if standing.review_by else "",
            "statements": list(recommendation.statements),
            "evidence": list(recommendation.evidence),
        }
    )


def evidence_extension(item: Evidence) -> Mapping[str, Any]:
    entry: dict[str, Any] = {"id": item.finding, "state": item.state}
    if item.side:
        entry["side"] = item.side
    if item.date:
        entry["date"] = item.date
    if item.resource:
        entry["resource"] = item.resource
    for remark in item.remarks:
        entry[remark] = True
    return entry
