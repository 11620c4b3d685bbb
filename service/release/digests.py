"""What a signature covers: the content of each recommendation, and that of the whole folder, as digests.

A recommendation says and decides nothing alone: it reads criteria, findings with their codes, numbers, the ranking, and
its card is written with shared words. All that it reaches is its closure, and its digest is that of the closure. It is
found by what the loaded knowledge names, not by a list of members: a member that is new to the model is in it from the
first day. Comments, layout, and the order of members and of tables count for nothing in it. In the digest of the
release the order of three tables counts, because it is read: topics, in which the cards of an answer come, causes of
equal points, and findings, in which the reasons of an order are listed.
"""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date
from functools import cache, cached_property
from math import isinf
from pathlib import Path
from typing import Any

from service.knowledge_model.model import PACKAGED, Code, Finding, Knowledge, Recommendation
from service.knowledge_model.properties import FILE as PROPERTIES
from service.knowledge_model.vocabulary import AT_DISCHARGE, PLACE
from service.reasoning.visit_limits import CLOSING, FIRST, LIMITING, PAST, URGENT, limit_names
from service.release.canonical_json import canonical_json, digest_of
from service.release.hazard_log import FILE as HAZARDS

# The part that is the recommendation itself. Who has signed it, and what was changed before, is no content of it.
OWN = "recommendation"
_NOT_CONTENT = frozenset({"status", "history"})
# What is reached by its name, and names nothing further that would count.
_ENDS = frozenset({"question", "source", "provenance", "statement", "fact", "wording", "suspicion", "topic"})
# The facts about the hook context that are made of what a clinician signs.
_RATED_BY = frozenset({"order-rating", "radiograph-comes-first"})
# The sentences that only cards of these kinds say; each other one may stand on any card.
_SENTENCES_OF: Mapping[str, frozenset[str]] = {
    "imaging-order": frozenset(
        {
            *("rated", "rated_after_radiograph", "criteria", "own_judgement", "score", "radiation"),
            *("another_region", "proposed_elsewhere", "not_recognised"),
        }
    ),
    AT_DISCHARGE: frozenset({"message_label"}),
}
# What says how a recommendation is signed follows from the signatures, and what is no recommendation's: neither is
# signed with one.
_OF_NO_RECOMMENDATION = frozenset({"complaint_not_readable", "deceased"})
STATE_SENTENCES = "status_"
# What the digest of a release holds in another form: by their digests, and the value sets as they stand.
_APART = frozenset({"recommendations", "retired", "codes", "order_codes", "answers"})
_CSV_FOLDER = "value_sets"
# The beginning of a release digest behind a version.
_BEGINNING = re.compile(r"(?<=\d)\+[0-9a-f]{8}\b(?!-)")


def plain(value: Any, named: set[str] | None = None) -> Any:
    """A part of the loaded knowledge as a JSON value; `named` takes every text in it that may be a name."""
    made: Any = value
    if isinstance(value, str):
        if named is not None:
            named.add(value)
    elif members := _members(value.__class__):
        made = {name: plain(getattr(value, name), named) for name in members}
    elif isinstance(value, Mapping):
        if named is not None:
            named.update(value)
        made = {name: plain(each, named) for name, each in value.items()}
    elif isinstance(value, list | tuple):
        made = [plain(each, named) for each in value]
    elif isinstance(value, frozenset):
        made = [plain(each, named) for each in sorted(value)]
    elif isinstance(value, date):
        made = value.isoformat()
    elif isinstance(value, float) and isinf(value):
        made = str(value)
    elif not (value is None or isinstance(value, bool | int | float)):
        raise TypeError(f"{type(value).__name__} has no place in the knowledge")
    return made


@cache
def _members(of: Hashable) -> tuple[str, ...]:
    return tuple(field.name for field in fields(of)) if is_dataclass(of) else ()


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a closure: its digest, the parts that it opens, and its content as JSON."""

    digest: str
    opens: frozenset[str]
    content: Any


class Digests:
    """The digests of one body of knowledge, as it stands in its folder."""

    def __init__(self, knowledge: Knowledge, folder: Path | None, product: str) -> None:
        self.knowledge, self.product = knowledge, product
        self._folder = folder or PACKAGED
        self._parts: dict[str, _Part] = {}
        self._named = _Named(knowledge)

    @cached_property
    def recommendations(self) -> Mapping[str, str]:
        """The digest of each recommendation, by id."""
        return {each.id: digest_of(dict(self.closure(each))) for each in self.knowledge.every_recommendation()}

    @cached_property
    def content(self) -> str:
        """The digest of all that answers: every recommendation, and every other file but the hazard log."""
        knowledge, every = self.knowledge, self.knowledge.every_recommendation()
        folder = {
            "knowledge": {name: plain(getattr(knowledge, name)) for name in _members(Knowledge) if name not in _APART},
            # What their digests leave out.
            "recommendations": {one.id: [plain(getattr(one, name)) for name in sorted(_NOT_CONTENT)] for one in every},
            "order": [list(knowledge.wording.topics), list(knowledge.causes), list(knowledge.findings)],
            "properties": plain(self._file(PROPERTIES)),
            # As they stand: in which source a code was read, and under which licence, the model does not keep.
            "codes": {path.stem: _rows_of(path) for path in sorted((self._folder / _CSV_FOLDER).glob("*.csv"))},
        }
        return digest_of({"recommendations": dict(self.recommendations), "folder": digest_of(folder)})

    @cached_property
    def release(self) -> str:
        """The digest of all of it: the content, the hazard log, and the version of the product, whose code makes the
        facts that no closure holds."""
        hazards = digest_of(plain(self._file(HAZARDS)))
        return digest_of({"product": self.product, "content": self.content, "hazards": hazards})

    @property
    def version(self) -> str:
        """The version of the knowledge with the beginning of the release digest, as in 0.3.0+7f3a9c1d."""
        return with_digest(self.knowledge.version, self.release)

    def closure(self, recommendation: Recommendation) -> Iterator[tuple[str, str]]:
        """The name and the digest of each part that the recommendation reaches; its own first."""
        for name in self._reached(recommendation):
            yield name, self._part(name, recommendation).digest

    def content_of(self, recommendation: Recommendation) -> dict[str, Any]:
        """The content of each part, by name."""
        return {name: self._part(name, recommendation).content for name in self._reached(recommendation)}

    def _reached(self, recommendation: Recommendation) -> list[str]:
        reached: dict[str, None] = {}
        left = [OWN]
        while left:
            name = left.pop()
            if name not in reached:
                reached[name] = None
                left.extend(self._part(name, recommendation).opens)
        return [OWN, *sorted(reached.keys() - {OWN})]

    def _part(self, name: str, recommendation: Recommendation) -> _Part:
        key = f"{OWN}:{recommendation.id}" if name == OWN else name
        if key not in self._parts:
            kind, _, id_ = name.partition(":")
            if name == OWN:
                own = {m: getattr(recommendation, m) for m in _members(Recommendation) if m not in _NOT_CONTENT}
                opens = self._named.by_recommendation(recommendation)
            else:
                own, opens = self._named.content(kind, id_), iter(())
            seen: set[str] = set()
            content = plain(own, seen)
            named = () if kind in _ENDS else self._named.by(seen)
            self._parts[key] = _Part(digest_of(content), frozenset((*opens, *named)), content)
        return self._parts[key]

    def _file(self, name: str) -> Mapping[str, Any]:
        path = self._folder / name
        return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def without_digests(answer: Any) -> Any:
    """An answer as it would be for other content that says the same: without digests and their beginnings in versions.

    The answers that are published, and those of two sets of knowledge, are compared so.
    """
    # Most of an answer are strings without any.
    if isinstance(answer, str):
        return _BEGINNING.sub("", answer) if "+" in answer else answer
    if isinstance(answer, dict):
        return {name: without_digests(value) for name, value in answer.items() if name != "digest"}
    if isinstance(answer, list):
        return [without_digests(value) for value in answer]
    return answer


def with_digest(version: str, release: str) -> str:
    """The version with the first eight digits of a release digest."""
    return f"{version}+{release.removeprefix('sha256:')[:8]}"


def _rows_of(path: Path) -> list[dict[str, Any]]:
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    return sorted(({name: row[name] or "" for name in sorted(row)} for row in rows), key=canonical_json)


class _Named:
    """Which parts a name in the knowledge opens, and what is in each part."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge
        self._opened: dict[str, list[str]] = {}
        self._codes: dict[str, list[Code]] = {}
        for code in (*knowledge.codes, *knowledge.answers):
            self._codes.setdefault(code.concept, []).append(code)
        derived, words = knowledge.engine.derived, knowledge.wording
        self._tables: dict[str, Mapping[str, Any]] = {
            "finding": knowledge.findings,
            "criterion": knowledge.definitions,
            "threshold": knowledge.thresholds,
            "derived": {
                name: [table.get(name) for table in map(dict, plain(derived).values())]
                for table in plain(derived).values()
                for name in table
            },
            "order": knowledge.orders,
            "medicine": knowledge.medicines,
            "source": knowledge.sources,
            "provenance": knowledge.provenance,
            "statement": knowledge.statements,
            "fact": words.facts,
            "suspicion": words.suspicions,
            "topic": words.topics,
        }
        for kind, table in self._tables.items():
            for name in table:
                self._open(name, f"{kind}:{name}")
        for number, question in enumerate(knowledge.questions):
            # A question is known by what it asks first: its place among the others is none of its own.
            for finding in question.findings:
                self._open(finding, f"question:{number}")
        for cause in knowledge.causes:
            self._open(f"considers-{cause}", "ranking")
        for fact in _RATED_BY:
            self._open(fact, "ratings")

    def _open(self, name: str, part: str) -> None:
        self._opened.setdefault(name, []).append(part)

    def by(self, names: Iterable[str]) -> Iterator[str]:
        """The parts that these texts name, evidence tags such as V:R12 among them."""
        for name in names:
            yield from self._opened.get(name, ())
            kind, colon, source = name.partition(":")
            if colon and source in self.knowledge.sources and kind in self.knowledge.provenance:
                yield from (f"source:{source}", f"provenance:{kind}")

    def by_recommendation(self, recommendation: Recommendation) -> Iterator[str]:
        """What a recommendation reaches under a name that is made up, or as the kind of recommendation that it is."""
        yield f"wording:{recommendation.kind}"
        yield f"wording:{recommendation.strength}"
        for call in recommendation.imaging:
            asked = (f"{modality}-{call.region}" for modality in (call.modality, call.alternative))
            yield from (f"order:{key}" for key in asked if key in self.knowledge.orders)
        yield from (f"order:referral-{referral.to}" for referral in recommendation.referrals)
        yield from (f"threshold:{name}" for name in self._limits(recommendation))
        for line in (recommendation.summary, *recommendation.do):
            places = set(PLACE.findall(line))
            yield from (f"fact:{place}" for place in places if place in self.knowledge.wording.facts)
            if "cause" in places:
                yield "ranking"
        if recommendation.kind == "analgesic-order":
            yield "judged-medicines"
        if recommendation.say:
            yield "message"

    def _limits(self, recommendation: Recommendation) -> Iterator[str]:
        """The numbers that say by when a patient of whom it speaks is seen."""
        thresholds = self.knowledge.thresholds.keys()
        urgent = {recommendation.indicator, *(URGENT[:1] if recommendation.critical_when else ())} & {*URGENT}
        for indicator in urgent if recommendation.kind in LIMITING else ():
            yield from thresholds & {*limit_names("seen-within", recommendation, indicator)}
            if by_day := thresholds & {*limit_names("seen-by-day", recommendation, indicator)}:
                yield from by_day | thresholds & {CLOSING, PAST, FIRST}

    def content(self, kind: str, name: str) -> Any:
        """What is in a part of the closure that is not the recommendation itself."""
        knowledge = self.knowledge
        if kind in self._tables:
            of = self._tables[kind][name]
            return self._finding(of) if kind == "finding" else of
        if kind == "question":
            return knowledge.questions[int(name)]
        if kind == "wording":
            return self._wording(name)
        return {
            "ranking": {"differential": knowledge.differential, "causes": knowledge.causes},
            "ratings": {"words": knowledge.rating_words, "presentations": knowledge.presentations},
            "judged-medicines": knowledge.engine.medicines,
            "message": knowledge.message,
        }[kind]

    def _finding(self, finding: Finding) -> dict[str, Any]:
        """A finding with all by which a chart can say it."""
        knowledge = self.knowledge
        codes = self._codes.get(finding.id, [])
        ingredients = {code.code for code in codes}
        sites = [site for code in codes if code.site for site in self._codes[f"site:{code.site}"]]
        return {
            "finding": finding,
            "codes": sorted(map(plain, codes), key=canonical_json),
            "sites": sorted(map(plain, dict.fromkeys(sites)), key=canonical_json),
            "names": {
                name: medicine
                for name, medicine in knowledge.medicine_names.items()
                if medicine.of in ingredients or finding.id in medicine.findings
            },
            "synonyms": {words: synonym for words, synonym in knowledge.synonyms.items() if synonym.of == finding.id},
        }

    def _wording(self, of: str) -> Any:
        words = self.knowledge.wording
        if of in words.strengths:
            return words.strengths[of]
        others = frozenset().union(*(said for kind, said in _SENTENCES_OF.items() if kind != of))
        return {
            "headings": words.headings,
            "sides": words.sides,
            "data": words.data,
            "override_reasons": words.override_reasons,
            "sentences": {
                name: sentence
                for name, sentence in words.sentences.items()
                if name not in others | _OF_NO_RECOMMENDATION and not name.startswith(STATE_SENTENCES)
            },
        }
