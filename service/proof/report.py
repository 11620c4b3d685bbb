"""All properties decided about one knowledge: what is proved, an exception, known to fail, or a failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from service.knowledge_model.model import Knowledge, KnowledgeError
from service.knowledge_model.properties import FILE, Properties, Property
from service.proof.properties import PROPERTIES, propositions_of
from service.proof.propositions import Charted, Name, Proposition, Read
from service.proof.prover import MILLISECONDS, PROVED, REFUTED, UNDECIDED, Prover, Verdict
from service.reasoning.kernel import compiled

# What comes of a proposition. The last four are failures.
EXCEPTION, KNOWN_FAILURE = "exception", "known failure"
MENDED, NEEDLESS, NO_PROPOSITION = "no longer fails", "needs no exception", "no such proposition"
FAILURES = (REFUTED, UNDECIDED, MENDED, NEEDLESS, NO_PROPOSITION)


@dataclass(frozen=True, slots=True)
class Result:
    """What comes of one proposition; verdict: what the solver found, None where it was not asked; path: what it
    reads."""

    property: str
    of: str
    words: str
    state: str
    verdict: Verdict | None = None
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """The results of all properties, and the seconds of the processor that each took."""

    results: Mapping[str, tuple[Result, ...]]
    seconds: Mapping[str, float]

    def every(self) -> Iterator[Result]:
        """The results of all properties in one row."""
        return chain.from_iterable(self.results.values())

    def counts(self, property_: str = "") -> dict[str, int]:
        """How many results of a property, or of all, are in each state, of those in which any is."""
        return dict(Counter(result.state for result in (self.results[property_] if property_ else self.every())))

    def in_words(self, property_: str = "") -> str:
        """The same as people read it."""
        counted = self.counts(property_).items()
        return ", ".join(f"{count} {state}" for state, count in counted) or "no proposition"

    @property
    def failures(self) -> tuple[Result, ...]:
        """What keeps the knowledge from being signed."""
        return tuple(result for result in self.every() if result.state in FAILURES)

    def refuted(self) -> Iterable[Result]:
        """What has a counterexample, also an exception and a known failure."""
        return (result for result in self.every() if result.verdict and result.verdict.charts)


def prove(knowledge: Knowledge, properties: Properties, milliseconds: int = MILLISECONDS) -> Report:
    """Every proposition of every property, decided about all charts; each question in so many milliseconds at most.

    Raises KnowledgeError where properties.toml names a property that there is not, or lacks one.
    """
    _require_all(properties)
    charted = Charted(knowledge, compiled(knowledge), properties)
    prover = Prover(charted.chart, milliseconds)
    return Report(decided(properties.properties, charted, prover), prover.seconds)


def decided(properties: Mapping[str, Property], charted: Charted, prover: Prover) -> dict[str, tuple[Result, ...]]:
    """The results of each property: of every proposition, and of every name that is none. Those of all properties are
    asked together, as many are about the same charts.
    """
    of_property = {id_: list(propositions_of(id_, charted)) for id_ in properties}
    asked = [each for found in of_property.values() for each in found if isinstance(each, Proposition)]
    exempted = {(id_, name): entry for id_, of in properties.items() for entry in of.exceptions for name in entry.of}
    # Beyond the charts that an exception is about, the proposition has to hold.
    within = {
        proposition.name: proposition.charts[-1].condition(where)[0]
        for proposition in asked
        if proposition.name in exempted and (where := exempted[proposition.name].where)
    }
    verdicts = prover.decide(asked)
    beyond = prover.decide((each for each in asked if each.name in within), within)
    return {id_: tuple(_results(properties[id_], found, verdicts, beyond)) for id_, found in of_property.items()}


def _results(
    of: Property,
    propositions: Iterable[Proposition | Read],
    verdicts: Mapping[Name, Verdict],
    beyond: Mapping[Name, Verdict],
) -> Iterator[Result]:
    exempted = dict.fromkeys(name for entry in of.exceptions for name in entry.of)
    known = {failure.of for failure in of.known_failures}
    names = {proposition.of for proposition in propositions}
    for name in (*exempted, *known):
        if name not in names:
            yield Result(of.id, name, "it is named among the exceptions or known failures", NO_PROPOSITION)
    for proposition in propositions:
        verdict = verdicts.get((of.id, proposition.of))
        path = proposition.path if isinstance(proposition, Read) else ()
        state = verdict.state if verdict else REFUTED if path else PROVED
        further = beyond.get((of.id, proposition.of))
        if proposition.of in exempted and (further is None or further.state == PROVED):
            state = {REFUTED: EXCEPTION, PROVED: NEEDLESS}.get(state, state)
        elif proposition.of in known:
            state = {REFUTED: KNOWN_FAILURE, PROVED: MENDED}.get(state, state)
        yield Result(of.id, proposition.of, proposition.words, state, verdict, path)


def _require_all(properties: Properties) -> None:
    for name in sorted(properties.properties.keys() - PROPERTIES):
        raise KnowledgeError(FILE, f"properties.{name}", "there is no such property")
    for name in sorted(PROPERTIES - properties.properties.keys()):
        raise KnowledgeError(FILE, "properties", f"lacks {name}")
