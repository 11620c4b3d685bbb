"""The whole knowledge for those who have to judge it: as JSON, and as pages that can be searched, read and printed.

All are made when they are first asked for, from one document, so that they cannot differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
from flask import Blueprint, Response
from markupsafe import Markup

from cds_hooks.errors import UnknownService
from service.knowledge_model.attributes import source_attributes
from service.knowledge_model.condition_text import as_text
from service.knowledge_model.model import Knowledge, Presentation, Recommendation
from service.knowledge_model.properties import Properties
from service.knowledge_model.sentences import condition_sentence, recommendation_sentence
from service.pages import policy
from service.pages.decision_path import decision_path
from service.pages.templates import templates_in
from service.release.since import Since
from service.release.states import Standing, Standings, unsigned

_HERE = Path(__file__).parent


# What the page of everything is called beside those of one recommendation each.
WHOLE = "whole"


def create_blueprint(
    knowledge: Knowledge,
    properties: Properties,
    standings_now: Callable[[], Standings] | None = None,
    since: Callable[[], Mapping[str, Since]] = dict,
) -> Blueprint:
    """`/knowledge`; `/knowledge.html`, where recommendations are found; `/knowledge/<id>.html`, a page for each; and
    `/knowledge/whole.html`, all of it. `standings_now` says what of it is in force, and `since` what changed since
    it was signed."""
    drafts = unsigned(knowledge)
    style = (_HERE / "style.css").read_text(encoding="utf-8")
    script = (_HERE / "knowledge.js").read_text(encoding="utf-8")
    made: list[tuple[Standings, Pages]] = []

    def pages() -> Pages:
        """Made anew where a state has changed, as with the day."""
        standings = standings_now() if standings_now else drafts
        if not made or made[0][0] is not standings:
            made[:] = [
                (standings, Pages(knowledge, document(knowledge, properties, standings, since()), style, script))
            ]
        return made[0][1]

    headers = policy.headers(style=style, script=script)
    blueprint = Blueprint("knowledge", __name__)

    @blueprint.get("/knowledge")
    def knowledge_document() -> Response:
        return Response(pages().as_json, content_type="application/json")

    @blueprint.get("/knowledge.html")
    def knowledge_page() -> Response:
        return Response(pages().index, content_type="text/html; charset=utf-8", headers=headers)

    @blueprint.get("/knowledge/<id_>.html")
    def recommendation_page(id_: str) -> Response:
        if id_ != WHOLE and id_ not in pages().ids:
            raise UnknownService("The knowledge in force has no recommendation of this id; /knowledge.html has all.")
        text = pages().whole if id_ == WHOLE else pages().of(id_)
        return Response(text, content_type="text/html; charset=utf-8", headers=headers)

    return blueprint


class Pages:
    """The pages of a document, each made when it is first asked for; every text of the knowledge in them is escaped."""

    def __init__(self, knowledge: Knowledge, described: Mapping[str, Any], style: str, script: str) -> None:
        self._knowledge, self._described = knowledge, described
        # Both are files of the product and hold no word of the knowledge.
        self._inline = {"style": Markup(style), "script": Markup(script)}  # noqa: S704
        self._templates = templates_in(_HERE)
        self.ids = {each["id"]: place for place, each in enumerate(described["recommendations"])}

    @cached_property
    def as_json(self) -> bytes:
        """The document itself."""
        return orjson.dumps(self._described)

    @cached_property
    def index(self) -> str:
        """Where recommendations are found."""
        words = {each["id"]: " ".join(sorted(_words(each))) for each in self._described["recommendations"]}
        return self._render("knowledge.html", path=list(decision_path(self._knowledge)), words=words)

    @cached_property
    def whole(self) -> str:
        """All of it."""
        path = list(decision_path(self._knowledge))
        return self._render("knowledge_whole.html", path=path, weights=_weights(self._described))

    def of(self, id_: str) -> str:
        """The page of one recommendation."""
        every, place = self._described["recommendations"], self.ids[id_]
        return self._render(
            "knowledge_one.html",
            recommendation=every[place],
            criteria=list(criteria(self._knowledge, [self._knowledge.recommendations[place]])),
            before=every[place - 1] if place else None,
            after=every[place + 1] if place + 1 < len(every) else None,
        )

    def _render(self, name: str, **members: Any) -> str:
        return self._templates.get_template(name).render(self._described, **self._inline, **members)


def _words(value: Any) -> set[str]:
    """Every word of the texts in a value, in small letters."""
    if isinstance(value, Mapping):
        return set().union(*map(_words, value.values()))
    if isinstance(value, list):
        return set().union(*map(_words, value))
    return set(re.findall(r"[^\W_][\w.-]+", value.lower())) if isinstance(value, str) else set()


def criteria(knowledge: Knowledge, recommendations: Iterable[Recommendation]) -> Iterator[Mapping[str, str]]:
    """The named criteria that recommendations read, also through one another."""
    waiting = [leaf.finding for each in recommendations for one in each.conditions() for leaf in one.leaves()]
    seen = set()
    while waiting:
        name = waiting.pop(0)
        if name in knowledge.definitions and name not in seen:
            seen.add(name)
            title, condition = knowledge.definitions[name]
            yield {"title": title, "words": condition_sentence(knowledge, condition)}
            waiting += [leaf.finding for leaf in condition.leaves()]


def _weights(described: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The weights as a table: a row for each condition or test, with what it counts for each cause, and why."""
    rows: dict[str, dict[str, Any]] = {}
    ranking = described["differential"]
    for entry in ranking["points"]:
        row = rows.setdefault(entry["condition"], {"family": "", "condition": entry["condition"], "cells": {}})
        row["cells"][entry["cause"]] = (f"{entry['points']:+d}", entry["source"])
    for test in ranking["tests"]:
        row = rows.setdefault(test["finding"], {"family": test["family"], "condition": test["finding"], "cells": {}})
        row["cells"][test["cause"]] = (f"{test['positive']:+d} / {test['negative']:+d}", test["source"])
    for row in rows.values():
        sources = dict.fromkeys(source for _counts, source in row["cells"].values())
        row["sources"] = [
            (source, [] if len(sources) == 1 else [cause for cause, cell in row["cells"].items() if cell[1] == source])
            for source in sources
        ]
    return list(rows.values())


def document(
    knowledge: Knowledge,
    properties: Properties,
    standings: Standings | None = None,
    since: Mapping[str, Since] = MappingProxyType({}),
) -> dict[str, Any]:
    """All that the knowledge says, in JSON types; openapi.yaml describes it as Knowledge. `standings` say what of it is
    in force; without them it is an unsigned draft. `since` has what changed of what was signed before."""
    standings = standings or unsigned(knowledge)
    attributes = source_attributes(knowledge)
    return {
        "id": knowledge.id,
        "title": knowledge.title,
        **standings.described(),
        "date": knowledge.date.isoformat(),
        "sourceDocument": knowledge.source_title,
        "appraisal": {
            "externalValidation": knowledge.appraisal["external_validation"],
            "fairness": knowledge.appraisal["fairness"],
            "review": knowledge.appraisal["review"],
        },
        "provenance": _worded(knowledge.provenance, knowledge.provenance),
        "recommendations": [
            {
                **_recommendation(knowledge, each, standings.by_id[each.id]),
                "changedSince": _changed(since.get(each.id)),
                "attributes": attributes[each.id],
            }
            for each in knowledge.recommendations
        ],
        "criteria": [
            {
                "id": id_,
                "title": title,
                "condition": as_text(condition),
                "inWords": condition_sentence(knowledge, condition),
            }
            for id_, (title, condition) in knowledge.definitions.items()
        ],
        "causes": [
            {"id": cause.id, "title": cause.title, "tellApart": cause.tell_apart} for cause in knowledge.causes.values()
        ],
        "differential": _differential(knowledge),
        "imagingRatings": [_presentation(knowledge, each) for each in knowledge.presentations],
        "thresholds": [
            {"id": id_, **threshold, "date": threshold["date"].isoformat()}
            for id_, threshold in knowledge.thresholds.items()
        ],
        "conflicts": [
            {
                **asdict(conflict),
                "statements": _worded(conflict.statements, knowledge.statements),
                "evidence": evidence_of(knowledge, conflict.evidence),
            }
            for conflict in knowledge.conflicts
        ],
        "properties": _properties(properties),
        "debts": [{**asdict(debt), "rules": _worded(debt.rules, knowledge.rules())} for debt in knowledge.debts],
    }


def _properties(properties: Properties) -> dict[str, Any]:
    """What `sitbone knowledge prove` decides about all charts, what is left out of it, and what it does not reach."""
    return {
        "groups": [
            {
                "title": title,
                "properties": [
                    {
                        "id": each.id,
                        "title": each.title,
                        "words": each.words,
                        "controls": list(each.controls),
                        "exceptions": [
                            {"of": list(entry.of), "reason": entry.reason, "source": entry.source, "where": entry.only}
                            for entry in each.exceptions
                        ],
                        "knownFailures": [asdict(entry) for entry in each.known_failures],
                    }
                    for each in properties.properties.values()
                    if each.group == group
                ],
            }
            for group, title in properties.groups.items()
        ],
        "contraindications": [
            {"treatment": entry.treatment, "condition": entry.text, "source": entry.source}
            for entry in properties.contraindications
        ],
        "numbers": [asdict(entry) for entry in properties.numbers],
        "opposites": [
            {"recommendations": list(entry.recommendations), "reason": entry.reason} for entry in properties.opposites
        ],
        "demands": [
            {
                "id": entry.id,
                "condition": entry.text,
                "source": entry.source,
                "urgency": entry.urgency,
                "calls": list(entry.calls),
                "imaging": entry.imaging,
                "notOffered": list(entry.not_offered),
                "never": list(entry.never),
                "neverLeads": list(entry.never_leads),
            }
            for entry in properties.demands
        ],
        "sampled": [{"what": entry.what, "why": entry.why} for entry in properties.sampled],
    }


def _worded(ids: Iterable[str], words: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"id": id_, "words": words[id_]} for id_ in ids]


def evidence_of(knowledge: Knowledge, tags: Iterable[str]) -> list[dict[str, Any]]:
    """Each tag with what it means; one that names a source, with the source."""
    found = []
    for tag in tags:
        kind, _, reference = tag.partition(":")
        entry: dict[str, Any] = {"tag": tag, "provenance": knowledge.provenance.get(kind, knowledge.source_title)}
        if tag in knowledge.statements:
            entry["citation"] = knowledge.statements[tag]
        if reference:
            source = knowledge.sources[reference]
            entry |= {"citation": source["citation"], "kind": source["kind"], "toVerify": source["to_verify"]}
            if "url" in source:
                entry["url"] = source["url"]
        found.append(entry)
    return found


def signed_in_words(standing: Standing) -> list[dict[str, str]]:
    """Who has signed what is in force, each with the role and what was stated."""
    return [{"role": each.role, "by": each.in_words, "statement": each.statement} for each in standing.signatures]


def _changed(since: Since | None) -> dict[str, Any] | None:
    return {"signed": since.signature.in_words, "parts": list(since.parts)} if since else None


def _recommendation(knowledge: Knowledge, recommendation: Recommendation, standing: Standing) -> dict[str, Any]:
    return {
        "id": recommendation.id,
        "version": recommendation.version,
        "title": recommendation.title,
        "kind": recommendation.kind,
        "status": standing.status,
        "state": standing.state,
        "digest": standing.digest,
        "signed": signed_in_words(standing),
        "reviewBy": standing.review_by.isoformat() if standing.review_by else None,
        "lacks": standing.why,
        "indicator": recommendation.indicator,
        "summary": recommendation.summary,
        "do": [*recommendation.do, *recommendation.more],
        "say": list(recommendation.say),
        "whenThen": recommendation.when_then,
        "asEvaluated": recommendation_sentence(knowledge, recommendation),
        "condition": as_text(recommendation.when),
        "rules": _worded(recommendation.rules, knowledge.rules()),
        "statements": _worded(recommendation.statements, knowledge.statements),
        "strength": {"id": recommendation.strength, "words": knowledge.wording.strengths[recommendation.strength]},
        "evidence": evidence_of(knowledge, recommendation.evidence),
        "history": [
            {
                "version": revision.version,
                "date": revision.date.isoformat(),
                "change": revision.change,
                # As it was before there were signatures, and it stays: nobody is named in a history any more.
                "signedBy": None,
            }
            for revision in recommendation.history
        ],
    }


def _differential(knowledge: Knowledge) -> dict[str, Any]:
    differential = knowledge.differential
    causes = {id_: cause.title for id_, cause in knowledge.causes.items()}
    return {
        "leadAtLeast": differential.lead_at_least,
        "leadBy": differential.lead_by,
        "clearBy": differential.clear_by,
        **({"unranked": as_text(differential.unranked)} if differential.unranked else {}),
        "points": [
            {
                "cause": causes[entry.cause],
                "points": entry.points,
                "condition": as_text(entry.when),
                "source": entry.source,
            }
            for entry in differential.points
        ],
        "tests": [
            {
                "cause": causes[test.cause],
                "family": test.family,
                "finding": knowledge.title_of(test.finding),
                "positive": test.positive,
                "negative": test.negative,
                "source": test.source,
            }
            for test in differential.tests
        ],
        "caps": [
            {
                "cause": causes[cap.cause],
                "family": cap.family,
                "atMost": cap.at_most,
                "condition": as_text(cap.when),
                "source": cap.source,
            }
            for cap in differential.caps
        ],
        "vetoes": [
            {"cause": causes[veto.cause], "condition": as_text(veto.when), "source": veto.source}
            for veto in differential.vetoes
        ],
    }


def _presentation(knowledge: Knowledge, presentation: Presentation) -> dict[str, Any]:
    return {
        "id": presentation.id,
        "presentation": presentation.presentation,
        "source": " ".join(filter(None, (presentation.publisher, presentation.topic, str(presentation.year)))),
        "verified": presentation.verified,
        "condition": as_text(presentation.when),
        "rules": _worded(presentation.rules, knowledge.rules()),
        "evidence": evidence_of(knowledge, presentation.evidence),
        "ratings": [
            {
                "modality": rating.modality,
                "regions": list(rating.regions),
                "rating": knowledge.rating_words[rating.rating],
                "score": rating.score,
                "radiation": rating.radiation,
                "condition": as_text(rating.when) if rating.when else None,
            }
            for rating in presentation.ratings
        ],
    }
