"""Writes the documents that follow from data and code: those of DOCUMENTS.

    python docs/generate.py [--check]

With --check nothing is written; it ends with 1 when a file is not as it would be written. It refuses to write when a
statement or a rule that is not open has no knowledge or no case, or a hazard names a test or a case that is not there.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
import msgspec
import yaml
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin

from cds_hooks.conformance import CHECKS
from cds_hooks.feedback import BATCH, FEEDBACK
from cds_hooks.hooks import HOOKS
from cds_hooks.request import ENVELOPE
from cds_hooks.response import RESPONSE_SCHEMA
from service.cli import main as main_command
from service.knowledge_model import loader
from service.knowledge_model.condition_text import as_text
from service.knowledge_model.model import Knowledge, RuleGroup, in_a_sentence
from service.knowledge_model.properties import read_properties
from service.knowledge_model.sentences import condition_sentence, recommendation_sentence
from service.knowledge_model.vocabulary import SYSTEMS
from service.release.hazard_log import SEVERITIES, described, matrix_rows, read_hazards
from service.services.registry import service_registry

HERE = Path(__file__).parent
FOLDER = HERE.parent
OPENAPI = HERE.parent / "openapi.yaml"
TESTS = HERE.parent / "tests"
CASES = HERE.parent / "fixtures" / "cases"

_COVERAGE_HEAD = """\
# What carries each source statement and rule

Written by `python docs/generate.py`; the tests fail when it is stale. A source statement is one of the source document,
in our own words; the rules are the rows of [rules.toml](../service/knowledge/rules.toml). Each is carried by
recommendations, which `/knowledge.html` shows with their words, by ratings of imaging, by the ranking of causes or, a
statement, by a cause and by what is read of a chart. A case is a chart with what is expected of the answer, run by
`tests/clinical`: how many in which files of [fixtures/cases](../fixtures/cases) name the row.
"""
_RECOMMENDATIONS_HEAD = """\
# Recommendations and named criteria

Written by `python docs/generate.py`; the tests fail when it is stale. Beside the sentence of its author each
recommendation has the one that follows from its conditions and from what it calls for. What a title in quotation marks
stands for is a finding, or a criterion of the second table.
"""
_CONFORMANCE_HEAD = """\
# What a CDS Hooks service is held to

Written by `python docs/generate.py` from the table of checks; the tests fail when it is stale.

`sitbone check URL` asks a CDS Hooks service, anybody's, from outside and holds its answers to this table, by CDS Hooks
2.0.1 and the 3.0.0 ballot. What is required and is not so fails; what is recommended is warned of; what cannot be told
is skipped, with the reason. Nothing is changed by it: it sends calls about a patient that does not exist, requests that
are to be refused, and feedback on the cards that came. Cards are judged where some come: `--requests FOLDER` sends
requests of your own that bring them. All options: [cli.md](cli.md#sitbone-check).

It runs without the rest of Sitbone, from a clone or after `pip install --no-deps`, with four packages:

```console
$ pip install click marshmallow msgspec requests
$ python -m cds_hooks.conformance https://cds.example.org --requests FOLDER
```

With `fhir.resources` installed the resources of cards are judged too; `--key` needs `pyjwt[crypto]`.
"""
_HAZARDS_HEAD = """\
# Hazard log

What is called proved is a property of the knowledge (`service/knowledge/properties.toml`), which
`sitbone knowledge prove` decides about all charts, with its exceptions and what is known to fail.

Written by `python docs/generate.py` from [hazards.toml](../service/knowledge/hazards.toml); the tests fail when it is
stale or names a test that does not exist. It is the log of the makers, as DCB0129 has it: severity and likelihood are
their judgement [J] and assume a clinician who takes the history and examines, an EHR that shows the cards, and a site
of ordinary size. No clinical safety officer has accepted any of it. A site scores it anew in a file of its own
(DCB0160), as [the operator's guide](guide-operator.md#the-hazard-log) shows.

Risk, from severity and likelihood (NHS England, UK Core Hazard Log). 1 and 2 are borne, 3 with a written reason; 4 and
5 let no live service start.

"""

_CODES_HEAD = """\
# What a chart can say of each finding

Written by `python docs/generate.py` from `service/knowledge/value_sets`; the tests fail when it is stale. `M45*` is a
code with all that are below it. Beside these codes each finding is read under its own id in the local code system,
which is what a form of the site sends; medicines and allergies are read by name as well.
"""

_AGES_HEAD = """\
# The ages: what begins and what ends when

Written by `python docs/generate.py` from `service/knowledge/guideline.toml`; the tests fail when it is stale. Each
number stands there once, and every condition names it; whoever builds on a criterion reads its ages too. An age that is
known only as an interval counts as the younger; on either side of a step there is a warning or an examination.
"""

_CLI_WIDTH = 100
_CLI_HEAD = """\
# The command sitbone

Written by `python docs/generate.py` from the help of each command; the tests fail when it is stale.

| ends with | when |
|---|---|
| 0 | all is well: nothing differs, nothing is wrong |
| 1 | the command found what it looks for: a difference, an error, a refusal, a service that is not conformant |
| 2 | it could not look: a wrong option, a file or a service that cannot be used, a wrong setting |

`--json` prints for programs what is printed for people otherwise. Colours and progress bars are for a terminal only,
and `NO_COLOR=1` switches colours off. `sitbone completion bash` (or `zsh`, `fish`) prints what lets the shell complete
commands and options.
"""


class IncompleteError(Exception):
    """A statement, a rule or a hazard that something named in it does not hold."""


def cases_by(member: str) -> dict[str, list[tuple[str, str]]]:
    """statement or rule -> (file, name) of each case that names it."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(CASES.glob("*.toml")):
        for name, case in tomllib.loads(path.read_text(encoding="utf-8")).items():
            for key in case.get(member, ()):
                found.setdefault(key, []).append((path.name, name))
    return found


def _by_file(cases: Iterable[tuple[str, str]]) -> str:
    counted = Counter(file.removesuffix(".toml") for file, _name in cases)
    return ", ".join(f"{file} {count}" for file, count in counted.items())


def _row(label: str, content: str) -> Iterator[str]:
    if content:
        yield f"- {label}: {content}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _carriers(knowledge: Knowledge) -> dict[str, list[str]]:
    """Statement or rule -> each thing that names it."""
    found: dict[str, dict[str, None]] = {}

    def carry(ids: Iterable[str], carrier: str) -> None:
        for id_ in ids:
            found.setdefault(id_, {})[carrier] = None

    for recommendation in knowledge.recommendations:
        carry((*recommendation.statements, *recommendation.rules), recommendation.id)
    for presentation in knowledge.presentations:
        carry(presentation.rules, f"rating {presentation.id}")
    for entry in knowledge.differential.entries():
        carry(entry.rules, f"ranking of {in_a_sentence(knowledge.causes[entry.cause].title)}")
    for cause in knowledge.causes.values():
        carry(cause.statements, f"cause {in_a_sentence(cause.title)}")
    for finding in knowledge.findings.values():
        carry(finding.statements, f"finding {in_a_sentence(finding.title)}")
    return {id_: [*carriers] for id_, carriers in found.items()}


def coverage(knowledge: Knowledge) -> Iterator[str]:
    """The lines of coverage.md. Raises IncompleteError."""
    tested, carriers = {**cases_by("statements"), **cases_by("rules")}, _carriers(knowledge)
    statements = RuleGroup("Source statements", knowledge.statements, frozenset())
    yield _COVERAGE_HEAD
    for group in (statements, *knowledge.rule_groups):
        for id_ in sorted(group.rows.keys() - group.open):
            if id_ not in carriers:
                raise IncompleteError(f"{id_} is carried by nothing in service/knowledge.")
            if id_ not in tested:
                raise IncompleteError(f"{id_} has no case in fixtures/cases.")
        yield f"## {group.title}\n"
        yield from _table(
            ("id", "what it says", "carried by", "cases"),
            (
                (id_, words, "; ".join(carriers.get(id_, ["not yet"])), _by_file(tested.get(id_, ())))
                for id_, words in group.rows.items()
            ),
        )
        yield ""


def _lines(text: str) -> str:
    """A text of several lines in one cell."""
    return text.replace("\n", "<br>")


def recommendations(knowledge: Knowledge) -> Iterator[str]:
    """The lines of recommendations.md."""
    yield _RECOMMENDATIONS_HEAD
    yield from _table(
        ("id", "as its author says it", "as it is evaluated"),
        (
            (
                each.id,
                *(text.replace("\n", "<br>") for text in (each.when_then, recommendation_sentence(knowledge, each))),
            )
            for each in knowledge.recommendations
        ),
    )
    yield "\n## Named criteria\n"
    yield from _table(
        ("id", "title", "condition", "in words"),
        (
            (id_, title, f"`{as_text(condition)}`", condition_sentence(knowledge, condition))
            for id_, (title, condition) in knowledge.definitions.items()
        ),
    )


def ages(knowledge: Knowledge) -> Iterator[str]:
    """The lines of ages.md."""
    readers = [
        *((title, condition) for title, condition in knowledge.definitions.values()),
        *((f"`{r.id}`", condition) for r in knowledge.recommendations for condition in r.conditions()),
        *((f"rating {each.id}", condition) for each in knowledge.presentations for condition in each.conditions()),
        *(("the ranking", condition) for condition in knowledge.differential.conditions()),
    ]
    used: dict[str, dict[str, None]] = {}
    for name, condition in readers:
        for leaf in condition.leaves():
            used.setdefault(leaf.threshold, {})[name] = None
    years = {id_: number for id_, number in knowledge.thresholds.items() if number["unit"] == "a"}
    yield _AGES_HEAD
    yield from _table(
        ("age", "name", "read by", "source"),
        (
            (f"{number['value']:g}", f"`{id_}`", "; ".join(used.get(id_, ["words alone"])), number["source"])
            for id_, number in sorted(years.items(), key=lambda each: each[1]["value"])
        ),
    )


def codes(knowledge: Knowledge) -> Iterator[str]:
    """The lines of codes.md."""
    systems = {uri: name for name, uri in SYSTEMS.items()}
    titles = {"icd10cm": "ICD-10-CM", "sct": "SNOMED CT", "loinc": "LOINC", "rxnorm": "RxNorm"}
    of: dict[str, dict[str, list[str]]] = {}
    for code in knowledge.codes:
        below = "*" if code.match == "children" else ""
        # A code with a side is below one without.
        if not (code.side and code.match == "children"):
            of.setdefault(code.concept, {}).setdefault(systems[code.system], []).append(f"{code.code}{below}")
    yield _CODES_HEAD
    yield "\n## By standard codes\n"
    yield from _table(
        ("finding", *titles.values()),
        (
            (finding.title, *(", ".join(sorted(of[id_].get(system, ()))) for system in titles))
            for id_, finding in knowledge.findings.items()
            if id_ in of
        ),
    )
    yield "\n## By the form alone\n"
    yield "No standard code of these was verified: a chart says them by the local code of the form.\n"
    by_date = {date.due.weeks for date in knowledge.findings.values() if date.due}
    alone = knowledge.findings.keys() - of.keys() - by_date
    yield from (f"- {finding.title} (`{id_}`)" for id_, finding in knowledge.findings.items() if id_ in alone)


def _of_test(named: str) -> str:
    """A link to a test `path::name` or to a case `file: name`."""
    path, _, name = named.partition("::")
    if name:
        file = TESTS / path
        if not file.is_file() or not re.search(rf"^def {re.escape(name)}\(", file.read_text(encoding="utf-8"), re.M):
            raise IncompleteError(f"There is no test {named}.")
        return f"[{path}](../tests/{path}): {name.removeprefix('test_').replace('_', ' ')}"
    path, _, name = named.partition(": ")
    file = CASES / path
    if not file.is_file() or name not in tomllib.loads(file.read_text(encoding="utf-8")):
        raise IncompleteError(f"There is no case {named}.")
    return f"[{path}](../fixtures/cases/{path}): {name}"


def hazards(knowledge: Knowledge) -> Iterator[str]:
    """The lines of hazards.md. Raises IncompleteError."""
    properties = read_properties(knowledge).properties.values()
    log = read_hazards(None)
    yield from (_HAZARDS_HEAD.rstrip("\n"), "", *_table(("likelihood", *SEVERITIES), matrix_rows()), "")
    head = ("hazard", "risk without controls", "with them", "owner", "status")
    yield from _table(head, ((f"{h.id} {h.hazard}", str(h.initial), str(h.residual), h.owner, h.status) for h in log))
    for hazard in log:
        yield f"\n## {hazard.id} {hazard.hazard}\n"
        yield from (f"- {label}: {words}" for label, words in described(hazard))
        yield from (f"- proved: {each.title} (`{each.id}`)" for each in properties if hazard.id in each.controls)
        yield from (f"- test: {_of_test(test)}" for test in hazard.tests)
        yield f"- digest: `{hazard.digest}`"


def cli(_knowledge: Knowledge) -> Iterator[str]:
    """The lines of cli.md."""
    yield _CLI_HEAD
    settings = {**main_command.context_settings, "terminal_width": _CLI_WIDTH}
    yield from _helped(click.Context(main_command, info_name="sitbone", **settings))


def _helped(context: click.Context) -> Iterator[str]:
    yield f"## {context.command_path}\n"
    yield f"```text\n{context.command.get_help(context)}\n```\n"
    if not isinstance(context.command, click.Group):
        return
    for name in context.command.list_commands(context):
        if command := context.command.get_command(context, name):
            yield from _helped(click.Context(command, info_name=name, parent=context, terminal_width=_CLI_WIDTH))


_PLACE = "#/components/schemas/"
_MADE = "    # The rest is made by `python docs/generate.py` from the schemas that every request and response passes."
# What is checked beside the schemas, or said of more than one member.
_BESIDE: Mapping[str, Mapping[str, Any]] = {
    "HookRequest": {"description": "Other members are accepted and ignored, and an extension whatever it holds."},
    "FeedbackRequest": {"description": "Other members and extensions are accepted everywhere and ignored."},
    "Feedback": {
        "if": {"properties": {"outcome": {"const": "accepted"}}},
        "then": {
            "required": ["acceptedSuggestions"],
            "properties": {"acceptedSuggestions": {"type": "array", "minItems": 1}},
        },
    },
    "Card": {"dependentRequired": {"suggestions": ["selectionBehavior"]}},
}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"{_PLACE}{name}"}


def _request_schemas(hooks: Sequence[str]) -> dict[str, Any]:
    """The components of what is sent, from the marshmallow schemas."""
    spec = APISpec(title="", version="", openapi_version="3.1.0", plugins=[MarshmallowPlugin()])
    contexts = {hook: type(HOOKS[hook].schema).__name__ for hook in hooks}
    spec.components.schema("HookRequest", schema=ENVELOPE)
    for hook, name in contexts.items():
        spec.components.schema(name, schema=HOOKS[hook].schema)
    spec.components.schema("FeedbackRequest", schema=BATCH)
    spec.components.schema("Feedback", schema=FEEDBACK)
    found: dict[str, Any] = spec.to_dict()["components"]["schemas"]
    found["HookRequest"]["properties"]["hook"] = {"enum": list(hooks)}
    found["HookRequest"]["allOf"] = [
        {"if": {"properties": {"hook": {"const": hook}}}, "then": {"properties": {"context": _reference(name)}}}
        for hook, name in contexts.items()
    ]
    found["FeedbackRequest"]["properties"]["feedback"]["items"] = _reference("Feedback")
    # Each element is read by itself; of the plural spelling one reason may stand without its array.
    of_feedback = found["Feedback"]["properties"]
    of_feedback["overrideReasons"] = {
        "description": "Another spelling that is in use, with several reasons, or with one as an object.",
        "anyOf": [of_feedback["overrideReasons"], _reference("OverrideReason")],
    }
    return found


def _response_schemas() -> dict[str, Any]:
    """The components of what is answered, from the msgspec forms behind the marshmallow schema."""
    members, forms = msgspec.json.schema_components(
        [field.metadata["form"] for field in RESPONSE_SCHEMA.fields.values()], ref_template=_PLACE + "{name}"
    )
    required = [name for name, field in RESPONSE_SCHEMA.fields.items() if field.required]
    properties = dict(zip(RESPONSE_SCHEMA.fields, members, strict=True))
    response = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    # An extension stands first in the forms, because they inherit it, and last for who reads.
    for form in forms.values():
        form["properties"]["extension"] = form["properties"].pop("extension")
    text = json.dumps({"Response": response, **forms})
    named: dict[str, Any] = json.loads(re.sub(r'(?<=["/])_(\w+)Form(?=")', r"\1", text))
    return named


class _Readable(yaml.SafeDumper):
    """Writes what is short in one line, and double quotation marks, as openapi.yaml has them."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        return super().represent_mapping(tag, mapping, flow_style=flow_style or _is_short(mapping))

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        return super().represent_sequence(tag, sequence, flow_style=flow_style or _is_short(sequence))

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, indentless=False)

    def choose_scalar_style(self) -> str:
        style: str = super().choose_scalar_style()
        return '"' if style == "'" else style


def _is_short(value: object) -> bool:
    return len(json.dumps(value)) <= 90


def _tidy(schema: Any) -> Any:
    """Without what says nothing to a reader: titles, which are the names, and marks of what is only read."""
    if isinstance(schema, list):
        return [_tidy(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    said = {"type": None, "description": None} if "properties" in schema else {}
    return {
        name: _tidy(each)
        for name, each in {**said, **schema}.items()
        if each is not None and name not in ("title", "writeOnly") and (name, each) != ("additionalProperties", {})
    }


def openapi(knowledge: Knowledge) -> Iterator[str]:
    """The lines of openapi.yaml: what is written by hand, and below it the components that follow from schemas."""
    registry = service_registry(knowledge, lambda: datetime.now(UTC))
    hooks = list(dict.fromkeys(entry["hook"] for entry in registry.discovery()["services"]))
    made = {
        name: {**schema, **_BESIDE.get(name, {})}
        for name, schema in {**_request_schemas(hooks), **_response_schemas()}.items()
    }
    by_hand, _mark, _stale = OPENAPI.read_text(encoding="utf-8").partition(_MADE)
    yield by_hand.rstrip()
    yield _MADE
    text = yaml.dump(_tidy(made), Dumper=_Readable, sort_keys=False, width=112, allow_unicode=True)
    yield from (f"    {line}" for line in text.splitlines())


def conformance(_knowledge: Knowledge) -> Iterator[str]:
    """The lines of docs/conformance.md."""
    yield _CONFORMANCE_HEAD
    yield "| check | | a service that passes | chapter |"
    yield "|---|---|---|---|"
    yield from (f"| `{check.name}` | {check.level} | {check.expects} | {check.chapter} |" for check in CHECKS)


DOCUMENTS: Mapping[str, Callable[[Knowledge], Iterator[str]]] = MappingProxyType(
    {
        "docs/coverage.md": coverage,
        "docs/recommendations.md": recommendations,
        "docs/ages.md": ages,
        "docs/codes.md": codes,
        "docs/hazards.md": hazards,
        "docs/cli.md": cli,
        "docs/conformance.md": conformance,
        "openapi.yaml": openapi,
    }
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write the documents that follow from data.")
    parser.add_argument("--check", action="store_true", help="write nothing, say whether they are up to date")
    check = parser.parse_args(arguments).check
    knowledge = loader.load()
    try:
        texts = {name: "\n".join(lines(knowledge)).rstrip() + "\n" for name, lines in DOCUMENTS.items()}
    except IncompleteError as error:
        sys.exit(str(error))
    for name, text in texts.items():
        path = FOLDER / name
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{name} is stale: run python docs/generate.py")


if __name__ == "__main__":
    main()
