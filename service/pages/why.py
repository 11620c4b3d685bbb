"""The pages that cards link to: why something is recommended, and what the patient takes home.

The first says of recommendations what they recommend, on what grounds, and what would change it, the second has their
words for the patient, to read before they are sent and to print. They read no chart and need no token: the address
names recommendations alone (see service.why_address).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, request
from markupsafe import Markup

from cds_hooks.text_forms import is_loopback
from service.answers.spelling import Spelling
from service.knowledge_model.conditions import Condition
from service.knowledge_model.model import Knowledge, Recommendation
from service.knowledge_model.quantity import in_words
from service.knowledge_model.sentences import condition_sentence, recommendation_sentence
from service.pages import policy
from service.pages.knowledge import criteria, evidence_of
from service.pages.templates import templates_in
from service.release.states import DRAFT, Standings, unsigned
from service.settings import Settings, SettingsError, shown
from service.why_address import ADVICE, MOST, PATH, path_of

_HERE = Path(__file__).parent
# Tags in brackets, and what may be the id of a statement or a rule.
_MARKS = re.compile(r"\[([^\[\]]+)\]|\b([A-Z][\w-]*\d\w*)")
_STANDS = {"all": "all of these hold", "any": "at least one of these holds", "none": "none of these holds"}


def address_maker(settings: Settings) -> Callable[[str], str]:
    """What makes, during a request, the absolute address of a path of this service.

    It begins with the public base URL; without one, on loopback and in the demo, with the address that the
    request went to. Raises SettingsError where others can call and no public base URL is set.
    """
    public = settings.public_base_url
    if public is not None:
        return lambda path: public + path
    if not (is_loopback(settings.host) or settings.is_trial()):
        raise SettingsError(
            f"SITBONE_HOST is {shown(settings.host)}, no loopback address, and every card links to the page that says "
            "why: set SITBONE_PUBLIC_BASE_URL to the address at which clinicians and clients find the service."
        )
    return lambda path: request.root_url.rstrip("/") + path


def create_blueprint(knowledge: Knowledge, standings_now: Callable[[], Standings] | None = None) -> Blueprint:
    """`/why/<id>+<id>…` of this knowledge, and `/advice/<id>+<id>…`, which in UK words is `/advice/uk/…`.

    `standings_now` says what of it is in force.
    """
    drafts = unsigned(knowledge)
    now = standings_now or (lambda: drafts)
    templates = templates_in(_HERE)
    style = "".join((_HERE / name).read_text(encoding="utf-8") for name in ("style.css", "why.css"))
    # It is of the product and holds no word of the knowledge.
    shared = {"style": Markup(style), "knowledge": knowledge}  # noqa: S704
    template = cache(lambda name: templates.get_template(name, globals=shared))
    uk_words = cache(lambda: Spelling(knowledge.uk_words).text)
    known = {each.id: each for each in knowledge.recommendations}
    described = cache(lambda id_: describe(knowledge, known[id_]))
    headers = policy.headers(style=style)
    blueprint = Blueprint("why", __name__)

    @blueprint.get(f"{PATH}<ids>")
    def why(ids: str) -> Response:
        wanted = _ids(ids)
        found, unknown = [each for each in wanted if each in known], [each for each in wanted if each not in known]
        too_many = len(wanted) > MOST
        status = 400 if too_many else 404 if unknown or not wanted else 200
        text = template("why.html").render(
            recommendations=[described(each) for each in found] if status == 200 else [],
            criteria=list(criteria(knowledge, [known[each] for each in found])) if status == 200 else [],
            standings=(standings := now()),
            drafts=[each for each in found if standings.by_id[each].status == DRAFT],
            unknown=unknown[:MOST],
            rest=path_of(found).removeprefix(PATH) if found and not too_many else "",
            most=MOST,
            too_many=too_many,
            safety_net=knowledge.wording.sentences["safety_net"],
            advice=path_of([each for each in found if known[each].say], f"..{ADVICE}"),
        )
        return Response(text, status=status, content_type="text/html; charset=utf-8", headers=headers)

    @blueprint.get(f"{ADVICE}<ids>", defaults={"spelling": "us"})
    @blueprint.get(f"{ADVICE}uk/<ids>", defaults={"spelling": "uk"})
    def advice(ids: str, spelling: str) -> Response:
        said = [known[each].say if each in known else () for each in _ids(ids)]
        is_advice = 0 < len(said) <= MOST and all(said)
        lines = (knowledge.message.opening, *(line for say in said for line in say))
        words = uk_words() if spelling == "uk" else str
        text = template("advice.html").render(
            draft=is_advice and any(now().by_id[each].status == DRAFT for each in _ids(ids)),
            title=words(knowledge.message.title),
            paragraphs=list(_paragraphs(map(words, lines))) if is_advice else [],
        )
        return Response(
            text, status=200 if is_advice else 404, content_type="text/html; charset=utf-8", headers=headers
        )

    return blueprint


def _ids(text: str) -> list[str]:
    return list(dict.fromkeys(filter(None, re.split(r"[+ ,]", text))))


def _paragraphs(lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    """Each line with the points that follow it, which begin with a hyphen."""
    paragraph: dict[str, Any] = {}
    for line in lines:
        if line.startswith("- "):
            paragraph["points"].append(line.removeprefix("- "))
            continue
        if paragraph:
            yield paragraph
        paragraph = {"text": line, "points": []}
    yield paragraph


def describe(knowledge: Knowledge, recommendation: Recommendation) -> dict[str, Any]:
    """What the page says of one recommendation."""
    return {
        "recommendation": recommendation,
        "reasons": recommendation.when_then.strip(),
        "strength": knowledge.wording.strengths[recommendation.strength],
        "statements": [knowledge.statements[id_] for id_ in recommendation.statements],
        # The statements of the source document stand by themselves.
        "evidence": [
            each for each in evidence_of(knowledge, recommendation.evidence) if each["tag"] not in knowledge.statements
        ],
        "numbers": list(_numbers(knowledge, recommendation)),
        "standing": _standing(knowledge, recommendation.when),
        "critical": condition_sentence(knowledge, recommendation.critical_when) if recommendation.critical_when else "",
        "evaluated": recommendation_sentence(knowledge, recommendation),
        "last": recommendation.history[-1],
    }


def _standing(knowledge: Knowledge, condition: Condition) -> Mapping[str, Any]:
    """As long as what a condition holds: which of its parts, each in words."""
    if len(condition.parts) < 2:
        return {"while": "this holds", "parts": [condition_sentence(knowledge, condition)]}
    return {
        "while": _STANDS[condition.word],
        "parts": [condition_sentence(knowledge, part) for part in condition.parts],
    }


def _numbers(knowledge: Knowledge, recommendation: Recommendation) -> Iterator[Mapping[str, Any]]:
    """Each number that its conditions compare with, with where it comes from."""
    names = (leaf.threshold for condition in recommendation.conditions() for leaf in condition.leaves())
    for name in dict.fromkeys(filter(None, names)):
        threshold = knowledge.thresholds[name]
        yield {
            "name": name.replace("-", " ").capitalize(),
            "value": in_words(threshold["value"], threshold["unit"]),
            "from": list(cited_in(knowledge, threshold["source"])),
        }


def cited_in(knowledge: Knowledge, text: str) -> Iterator[Mapping[str, Any]]:
    """What the tags and ids within a text of the knowledge stand for, such as "RF7: 48 hours for a child [V2:R83]"."""
    rules = {**knowledge.statements, **knowledge.rules()}
    for marked, word in _MARKS.findall(text):
        if marked:
            yield from evidence_of(knowledge, re.split(r"[,;]\s*", marked))
        elif word in rules:
            yield {
                "citation": rules[word],
                "provenance": knowledge.source_title if word in knowledge.statements else "",
            }
