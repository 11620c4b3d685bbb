"""Proves the properties of the knowledge, and shows each counterexample to the whole service as a request."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from service.chart.case import prefetch_templates
from service.knowledge_model.loader import load
from service.knowledge_model.model import Knowledge
from service.knowledge_model.properties import Properties, read_properties
from service.proof.described import Described, in_words, request
from service.proof.prover import PROVED
from service.proof.report import FAILURES, Report, Result, prove
from service.reasoning.assessment import Assessment
from service.service_ids import DIAGNOSIS
from service.services.explanation import Explainer


@dataclass(frozen=True, slots=True)
class Proof:
    """The report about a folder of knowledge; not_replayed: the counterexamples that the service does not show."""

    knowledge: Knowledge
    properties: Properties
    report: Report
    now: dt.datetime
    not_replayed: Mapping[tuple[str, str], str]

    @property
    def holds(self) -> bool:
        """Whether nothing keeps the knowledge from being signed."""
        return not self.report.failures and not self.not_replayed


def prove_folder(folder: Path | None, now: dt.datetime) -> Proof:
    """Proves the knowledge of this folder (the packaged one when None). Raises KnowledgeError."""
    knowledge = load(folder)
    properties = read_properties(knowledge, folder)
    report = prove(knowledge, properties)
    replayer = Replayer(knowledge, now)
    missed = {
        (result.property, result.of): why
        for result in report.refuted()
        if (why := replayer.differs(result)) is not None
    }
    return Proof(knowledge, properties, report, now, missed)


class Replayer:
    """Sends charts through the whole service."""

    def __init__(self, knowledge: Knowledge, now: dt.datetime) -> None:
        self.knowledge, self.now = knowledge, now
        self._keys = dict.fromkeys(prefetch_templates(knowledge))
        self._explainer = Explainer(knowledge, lambda: now)

    def request(self, chart: Described) -> dict[str, Any]:
        """The request of a chart. Raises ValueError where no documentation has such a number."""
        return request(self.knowledge, chart, self.now, self._keys)

    def assessment(self, chart: Described) -> Assessment:
        """What the service makes of a chart."""
        return self._explainer.answer(DIAGNOSIS, orjson.dumps(self.request(chart)))[-1].assessment

    def differs(self, result: Result) -> str | None:
        """In what the service differs from the counterexample of a result; None where it shows the same."""
        if result.verdict is None:
            return None
        try:
            assessments = [self.assessment(chart) for chart in result.verdict.charts]
        except ValueError as problem:
            return str(problem)
        for claim in result.verdict.proposition.broken_by:
            assessment = assessments[claim.chart]
            seen = assessment.complaint == "present" and claim.observed.seen(assessment)
            if seen is not claim.holds:
                return f"chart {claim.chart + 1}: {claim.observed.words}: {'is there' if seen else 'is not there'}"
        return None


def write_requests(proof: Proof, folder: Path) -> None:
    """Writes each counterexample as requests, one for each of its charts."""
    folder.mkdir(parents=True, exist_ok=True)
    replayer = Replayer(proof.knowledge, proof.now)
    for result in proof.report.refuted():
        if (result.property, result.of) in proof.not_replayed or result.verdict is None:
            continue
        for number, chart in enumerate(result.verdict.charts, start=1):
            name = "".join(letter if letter.isalnum() else "-" for letter in f"{result.property}-{result.of}-{number}")
            text = json.dumps(replayer.request(chart), ensure_ascii=False, indent=2)
            (folder / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")


def counterexample(knowledge: Knowledge, result: Result) -> str:
    """The counterexample of a result in words; empty where it has none."""
    if result.path:
        return "reads " + ", then ".join(result.path)
    if result.verdict is None or not result.verdict.charts:
        return ""
    first, *others = result.verdict.charts
    before = in_words(knowledge, first)
    return "; then ".join((before, *(_added(knowledge, first, other) for other in others)))


def _added(knowledge: Knowledge, first: Described, other: Described) -> str:
    before = set(in_words(knowledge, first).split("; "))
    return "; ".join(part for part in in_words(knowledge, other).split("; ") if part not in before)


def as_text(proof: Proof) -> str:
    """A line for each property with its numbers and its time, and below it what is not proved."""
    return "\n".join(_lines(proof))


def _lines(proof: Proof) -> Iterator[str]:
    for id_, results in proof.report.results.items():
        of = proof.properties.properties[id_]
        yield f"{id_}: {proof.report.in_words(id_)}; {proof.report.seconds[id_]:.1f} s. {of.title}"
        for result in sorted(results, key=lambda each: each.state in FAILURES):
            if result.state != PROVED:
                yield f"  {result.state}: {result.of}: {result.words}"
                if words := counterexample(proof.knowledge, result):
                    yield f"    {words}"
                if why := proof.not_replayed.get((id_, result.of)):
                    yield f"    the service does not show this: {why}"
    yield proof.report.in_words()
    missed = len(proof.not_replayed)
    yield f"{len(proof.report.failures)} failures, {missed} counterexamples that the service does not show"
    yield f"A request of --requests is explained by: sitbone explain --at {proof.now:%Y-%m-%dT%H:%M:%SZ} FILE"


def as_json(proof: Proof) -> str:
    """The same for programs."""
    return json.dumps(
        {
            "holds": proof.holds,
            "at": proof.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "properties": [
                {
                    "id": id_,
                    "title": proof.properties.properties[id_].title,
                    "seconds": round(proof.report.seconds[id_], 2),
                    "proved": sum(result.state == PROVED for result in results),
                    "others": list(_others(proof, results)),
                }
                for id_, results in proof.report.results.items()
            ],
        },
        ensure_ascii=False,
        indent=2,
    )


def _others(proof: Proof, results: Iterable[Result]) -> Iterator[dict[str, str]]:
    for result in results:
        if result.state != PROVED:
            entry = {
                "of": result.of,
                "state": result.state,
                "words": result.words,
                "counterexample": counterexample(proof.knowledge, result),
                "notReplayed": proof.not_replayed.get((result.property, result.of), ""),
            }
            yield {key: words for key, words in entry.items() if words}
