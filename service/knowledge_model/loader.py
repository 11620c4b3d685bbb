"""Loads and checks the knowledge, once, at start.

The knowledge is data (service/knowledge, or the folder that SITBONE_KNOWLEDGE_DIR names). A file that is wrong stops
the start with a KnowledgeError that names file, key and reason.
"""

from __future__ import annotations

import csv
import re
import string
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

from marshmallow import Schema, ValidationError

from service.knowledge_model.complaint_words import in_doubt, without_side
from service.knowledge_model.condition_text import as_text, from_table, is_name, parse
from service.knowledge_model.conditions import ANYWHERE, JOINTS, UNKNOWN, WORDS, Condition, Interval
from service.knowledge_model.engine import Derived, Engine, ImagingRoles, JudgedMedicine, Presented, ShownBy
from service.knowledge_model.forms import (
    CauseFile,
    CodeRow,
    ConflictTable,
    CriterionFile,
    DebtTable,
    DifferentialFile,
    EngineFile,
    FindingFile,
    KnowledgeFile,
    MedicineNameTable,
    OrderFile,
    QuestionFile,
    RatingsFile,
    RecommendationFile,
    RulesFile,
    SourceTable,
    SynonymTable,
    UkWordsFile,
    WeightRow,
    WordingFile,
    reasons,
)
from service.knowledge_model.model import (
    AFTER_PLAN,
    KINDS_IN_WORDS,
    OF_THE_PATIENT,
    PACKAGED,
    RADIOGRAPH_AT_HAND,
    Cap,
    Cause,
    Code,
    Conflict,
    Debt,
    Differential,
    Due,
    Finding,
    Imaging,
    Knowledge,
    KnowledgeError,
    MedicineName,
    MedicineTemplate,
    MessageTemplate,
    OrderTemplate,
    Points,
    Presentation,
    Question,
    QuestionTerm,
    Rating,
    Recommendation,
    RedFlag,
    Referral,
    Revision,
    RuleGroup,
    Synonym,
    Topic,
    Treatment,
    Veto,
    WeightedTest,
    Wording,
    in_a_sentence,
)
from service.knowledge_model.quantity import UNITS, in_words
from service.knowledge_model.vocabulary import (
    ADVICE_FACTS,
    CARD_PLACES,
    DATA,
    HEADINGS,
    KINDS,
    PLACE,
    RATINGS,
    RECOMMENDATION_KINDS,
    RETIRED,
    SENTENCES,
    SIDES,
    STATED_ATTRIBUTES,
    STRENGTHS,
    SYSTEMS,
)

# The value sets of what a chart holds; those of orders are apart.
_CHART_CODES = ("findings", "diagnoses", "safety", "dangers", "conditions", "medicines")
# What is filled into a summary needs some of the 139 characters that CDS Hooks allows.
_SUMMARY = 100
_CATEGORY = "category-"
WEIGHTS = "weights.csv"
_OF_A_CONDITION = re.compile(r"-?\d+")
_OF_A_TEST = re.compile(r"(-?\d+) / (-?\d+)")
# The members of engine.toml, under imaging, that name regions.
_REGIONS = ("regions_of_complaint", "other_regions", "shown_on_both_sides")
# As a chart is searched for names of medicines.
_NAME = re.compile(r"(?=.{4})[a-z]+(?:-[a-z]+)*")


# What is wrong, where all of it is asked for; None where the first that is wrong ends the loading.
_FOUND: ContextVar[list[KnowledgeError] | None] = ContextVar("_FOUND", default=None)


def errors(folder: Path | None = None) -> tuple[KnowledgeError, ...]:
    """Everything that is wrong with the knowledge of this folder; nothing when it loads.

    What is named is looked at only where all files have their form.
    """
    found: list[KnowledgeError] = []
    asked = _FOUND.set(found)
    try:
        with _part():
            load(folder)
    finally:
        _FOUND.reset(asked)
    return tuple({str(error): error for error in found}.values())


@contextmanager
def _part() -> Iterator[None]:
    """A part of the knowledge that can be wrong by itself: where all errors are asked for, the next part is read."""
    try:
        yield
    except KnowledgeError as error:
        _note(error)


def _note(error: KnowledgeError) -> None:
    found = _FOUND.get()
    if found is None:
        raise error
    found.append(error)


@cache
def _form(schema: type[Schema]) -> Schema:
    """Made once: a schema copies all of its fields, which takes longer than to check a row with it."""
    return schema()


def _check(schema: type[Schema], data: Any, file: str, key: str = "") -> Any:
    try:
        return _form(schema).load(data)
    except ValidationError as error:
        first, *others = (KnowledgeError(file, path, reason) for path, reason in reasons(error.messages, key))
        for other in others if _FOUND.get() is not None else ():
            _note(other)
        raise first from error


def _read(folder: Path, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads((folder / name).read_text(encoding="utf-8"))
    except OSError as error:
        raise KnowledgeError(name, "file", "cannot be read") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise KnowledgeError(name, "file", f"is not TOML: {error}") from error


def _table(folder: Path, name: str, schema: type[Schema]) -> dict[str, Any]:
    """A file whose top-level tables all have one form."""
    tables = {}
    for key, table in _read(folder, name).items():
        with _part():
            tables[key] = _check(schema, table, name, key)
    return tables


def _rows(folder: Path, file: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a table of comma-separated values, each with its line."""
    try:
        text = (folder / file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KnowledgeError(file, "file", "cannot be read") from error
    yield from enumerate(csv.DictReader(text.splitlines()), start=2)


def _codes(folder: Path, name: str, *, affiliate: bool) -> tuple[Code, ...]:
    file = f"value_sets/{name}.csv"
    codes = []
    for number, row in _rows(folder, file):
        with _part():
            checked = _check(CodeRow, row, file, f"line {number}")
            if affiliate or checked["licence"] == "open":
                del checked["licence"], checked["source"]
                codes.append(Code(**{**checked, "system": SYSTEMS[checked["system"]]}))
    return tuple(codes)


class _Reader:
    """Reads conditions of one knowledge folder; knows the thresholds."""

    def __init__(self, thresholds: Mapping[str, Mapping[str, Any]]) -> None:
        self.values = {name: float(threshold["value"]) for name, threshold in thresholds.items()}
        self.words = {name: in_words(threshold["value"], threshold["unit"]) for name, threshold in thresholds.items()}

    def condition(self, raw: object, file: str, key: str) -> Condition:
        if not isinstance(raw, str):
            raise KnowledgeError(file, key, f"a condition is a text{_as_now_written(raw)}")
        try:
            return parse(raw, self.values)
        except ValueError as error:
            raise KnowledgeError(file, key, str(error)) from error

    def optional(self, raw: object, file: str, key: str) -> Condition | None:
        return None if raw is None else self.condition(raw, file, key)

    def line(self, text: str, file: str, key: str) -> str:
        """A text for people; {name} in it is the threshold of that name with its unit."""
        _require(PLACE.findall(text), self.words, file, key)
        return PLACE.sub(lambda place: self.words[place[1]], text)

    def card_line(self, text: str) -> str:
        """A line of a card; the places that are no threshold are filled in with what the chart says."""
        return PLACE.sub(lambda place: self.words.get(place[1], place[0]), text)


def _as_now_written(raw: object) -> str:
    """How a condition in the form of up to version 0.3.0 of the knowledge is written now; nothing for what was none."""
    try:
        return f', here "{from_table(raw)}"'
    except ValueError:
        return ', as in "fever and age >= adult"'


def _recommendation(folder: Path, name: str, read: _Reader, inherited: Mapping[str, str]) -> Recommendation:
    raw = _check(RecommendationFile, _read(folder, name), name)
    if raw["id"] != Path(name).stem:
        raise KnowledgeError(name, "id", "is the name of its file")
    if raw["history"][-1]["version"] != raw["version"]:
        raise KnowledgeError(name, "history", "ends with the present version")
    flag, card = raw["red_flag"], raw["card"]
    if (raw["kind"] == "red-flag") != (flag is not None):
        raise KnowledgeError(name, "red_flag", "stands in files of kind red-flag, and in no other")
    if (flag is None) != bool(card["indicator"]):
        raise KnowledgeError(name, "card.indicator", "is given unless the red flag gives it")
    stated = {**inherited, **raw["attributes"]}
    for attribute in STATED_ATTRIBUTES:
        if attribute not in stated:
            raise KnowledgeError(name, f"attributes.{attribute}", "is stated neither here nor in guideline.toml")
    return Recommendation(
        id=raw["id"],
        version=raw["version"],
        title=raw["title"],
        kind=raw["kind"],
        order=raw["order"],
        rules=tuple(raw["rules"]),
        statements=tuple(raw["statements"]),
        strength=raw["strength"],
        evidence=tuple(raw["evidence"]),
        status=raw["status"],
        when_then=read.line(raw["when_then"].strip(), name, "when_then"),
        when=read.condition(raw["when"], name, "when"),
        critical_when=read.optional(raw["critical_when"], name, "critical_when"),
        red_flag=RedFlag(flag["id"], flag["indicator"], frozenset(flag["blocks"])) if flag else None,
        imaging=tuple(
            Imaging(**{**entry, "when": read.optional(entry["when"], name, "imaging.when")}) for entry in raw["imaging"]
        ),
        referrals=tuple(
            Referral(**{**entry, "when": read.optional(entry["when"], name, "referrals.when")})
            for entry in raw["referrals"]
        ),
        treatment=tuple(
            Treatment(entry["id"], entry["state"], tuple(entry["without"]), tuple(entry["adds"]))
            for entry in raw["treatment"]
        ),
        history=tuple(Revision(**entry) for entry in raw["history"]),
        attributes={name: stated[name] for name in STATED_ATTRIBUTES},
        in_emergency=raw["in_emergency"],
        change=raw["change"],
        topic=card["topic"],
        indicator=flag["indicator"] if flag else card["indicator"],
        summary=read.card_line(card["summary"]),
        leads=card["leads"],
        do=tuple(map(read.card_line, card["do"])),
        more=tuple(read.line(line, name, "card.more") for line in card["more"]),
        say=tuple(card["say"]),
    )


def _differential(folder: Path, read: _Reader, causes: Collection[str]) -> Differential:
    name = "differential.toml"
    table = _read(folder, name)
    for former in table.keys() & {"points", "tests"}:
        reason = f"stand in {WEIGHTS}: a row for each condition or test, a column for each cause"
        raise KnowledgeError(name, former, reason)
    raw = _check(DifferentialFile, table, name)
    clip = raw["rules"].pop("clip")
    raw["rules"]["tenderness"] = tuple(raw["rules"]["tenderness"])
    raw["rules"]["stays_possible"] = tuple(raw["rules"].get("stays_possible", ()))
    _require(raw["rules"]["stays_possible"], causes, name, "rules.stays_possible")
    raw["rules"]["unranked"] = read.optional(raw["rules"]["unranked"], name, "rules.unranked")
    points: list[Points] = []
    tests: list[WeightedTest] = []
    for key, weight in _weights(folder, read, tuple(causes)):
        if isinstance(weight, Points):
            points.append(weight)
            continue
        if max(abs(weight.positive), abs(weight.negative)) > clip:
            raise KnowledgeError(WEIGHTS, key, f"no test weighs more than {clip} (rules.clip of {name})")
        tests.append(weight)

    def limit(entry: Mapping[str, Any], key: str) -> dict[str, Any]:
        return {**_tuples(entry), "when": read.condition(entry["when"], name, key)}

    return Differential(
        **raw["rules"],
        points=tuple(points),
        tests=tuple(tests),
        caps=tuple(Cap(**limit(entry, "caps")) for entry in raw["caps"]),
        vetoes=tuple(Veto(**limit(entry, "vetoes")) for entry in raw["vetoes"]),
    )


def _weights(folder: Path, read: _Reader, causes: Sequence[str]) -> list[tuple[str, Points | WeightedTest]]:
    """Each weight with its line and cause, in the order of the lines."""
    weights: list[tuple[str, Points | WeightedTest]] = []
    stands: set[tuple[str, str]] = set()
    for line, row in _rows(folder, WEIGHTS):
        if line == 2:
            _require(causes, row, WEIGHTS, "line 1")
        with _part():
            for cause, weight in _weights_of(row, read, causes, f"line {line}"):
                key = f"line {line}.{cause}"
                about = weight.finding if isinstance(weight, WeightedTest) else as_text(weight.when)
                if (about, cause) in stands:
                    raise KnowledgeError(WEIGHTS, key, "stands on another line too")
                stands.add((about, cause))
                weights.append((key, weight))
    return weights


def _weights_of(
    row: dict[str, Any], read: _Reader, causes: Iterable[str], line: str
) -> Iterator[tuple[str, Points | WeightedTest]]:
    cells = {cause: cell for cause in causes if (cell := (row.pop(cause, None) or "").strip())}
    checked = _check(WeightRow, row, WEIGHTS, line)
    if not cells:
        raise KnowledgeError(WEIGHTS, line, "weighs for no cause")
    when = read.condition(checked["when"], WEIGHTS, f"{line}.when")
    family, source, rules = checked["family"], checked["source"], tuple(checked["rules"].split())
    negative_when = read.condition(checked["negative"], WEIGHTS, f"{line}.negative") if checked["negative"] else None
    if negative_when and not family:
        raise KnowledgeError(WEIGHTS, f"{line}.negative", "is said of a test, which has a family")
    if family and (when.word != "is" or when.operand != "present"):
        raise KnowledgeError(WEIGHTS, f"{line}.when", "is the name of a test alone where there is a family")
    for cause, cell in cells.items():
        found = (_OF_A_TEST if family else _OF_A_CONDITION).fullmatch(cell)
        if found is None:
            form = "a positive and a negative test count, as in 6 / -5" if family else "it counts, a whole number"
            raise KnowledgeError(WEIGHTS, f"{line}.{cause}", f"says what {form}; this is {cell!r}")
        if family:
            positive, negative = map(int, found.groups())
            yield cause, WeightedTest(family, cause, when.finding, positive, negative, negative_when, source, rules)
        else:
            yield cause, Points(cause, int(cell), when, source, rules)


def _wording(folder: Path) -> Wording:
    file = "wording.toml"
    raw = _check(WordingFile, _read(folder, file), file)
    tables = {"headings": HEADINGS, "strengths": STRENGTHS, "sides": SIDES, "data": DATA}
    for key, needed in tables.items():
        _require(needed, raw[key], file, key)
        _require(raw[key], needed, file, key)
    _require(SENTENCES, raw["sentences"], file, "sentences")
    _require(raw["sentences"], SENTENCES, file, "sentences")
    for name, sentence in raw["sentences"].items():
        try:
            places = [place for _text, place, _format, _conversion in string.Formatter().parse(sentence) if place]
        except ValueError as error:
            raise KnowledgeError(file, f"sentences.{name}", f"has a brace too many or too few: {error}") from error
        _require(places, SENTENCES[name], file, f"sentences.{name}")
    return Wording(
        headings=raw["headings"],
        facts=raw["facts"],
        sentences=raw["sentences"],
        suspicions=raw["suspicions"],
        strengths=raw["strengths"],
        sides=raw["sides"],
        data=raw["data"],
        topics={key: Topic(id=key, **table) for key, table in raw["topics"].items()},
        override_reasons=tuple((entry["code"], entry["display"]) for entry in raw["override_reasons"]),
    )


def _orders(folder: Path, *, affiliate: bool) -> dict[str, OrderTemplate]:
    raw = _check(OrderFile, _read(folder, "orders.toml"), "orders.toml")
    codes = _codes(folder, "orders", affiliate=affiliate)
    every = {code.code for code in _codes(folder, "orders", affiliate=True)}
    placed = {table["body_site"] for table in raw["imaging"].values()} - {""}
    placed |= {site for sided in raw["sided_body_sites"].values() for site in sided.values()}
    _require(placed | raw["sided_body_sites"].keys(), every, "orders.toml", "body_site")
    by_concept: dict[str, dict[str, Code]] = {}
    by_code: dict[str, Code] = {}
    by_category: dict[str, Mapping[str, str]] = {}
    for code in codes:
        by_concept.setdefault(code.concept, {})[code.side] = code
        by_code[code.code] = code
        if code.concept.startswith(_CATEGORY):
            coding = {"system": code.system, "code": code.code, "display": code.display}
            by_category[code.concept.removeprefix(_CATEGORY)] = coding
    categories = {
        group: {**({"coding": [by_category[group]]} if group in by_category else {}), "text": words}
        for group, words in raw["categories"].items()
    }
    templates = {}
    for group, prefix in (("imaging", ""), ("referral", "referral-")):
        for key, table in raw[group].items():
            site = table["body_site"]
            sites = {"": site, **raw["sided_body_sites"].get(site, {})} if site else {}
            templates[prefix + key] = OrderTemplate(
                key=prefix + key,
                title=table["title"],
                short=table["short"] or in_a_sentence(table["title"]),
                category=categories[group],
                sided=table["sided"],
                codes=by_concept.get(prefix + key, {}),
                # A site whose code is left out by the licence setting is simply not sent.
                body_sites={side: by_code[code] for side, code in sites.items() if code in by_code},
            )
    return templates


def _engine(folder: Path) -> Engine:
    file = "engine.toml"
    raw = _check(EngineFile, _read(folder, file), file)
    imaging = raw["imaging"]
    regions = {name: frozenset(imaging[name]) for name in _REGIONS}
    shown_by = tuple(
        ShownBy(table["finding"], frozenset(table["modalities"]), frozenset(table["regions"]))
        for table in imaging["shown_by"]
    )
    derived = raw["derived"]
    return Engine(
        complaint=raw["complaint"]["criterion"],
        onset=raw["complaint"]["onset"],
        body_words=tuple(raw["words"]["body"]),
        order_words=tuple(raw["words"]["orders"]),
        derived=Derived(
            derived["days_since"],
            {name: tuple(of) for name, of in derived["count_of"].items()},
            {name: tuple(of) for name, of in derived["on_both_sides"].items()},
            derived["on_either_side"],
            {name: tuple(of) for name, of in derived["on_the_other_side"].items()},
        ),
        red_flags=tuple(raw["red_flags"]["ids"]),
        blocks=tuple(raw["red_flags"]["blocks"]),
        at_discharge=raw["red_flags"]["at_discharge"],
        treatments=tuple(raw["treatments"]["ids"]),
        services={name: Presented(**table) for name, table in raw["services"].items()},
        topics=raw["topics"],
        imaging=ImagingRoles(
            **{
                **imaging,
                **regions,
                "shown_by": shown_by,
                "results": frozenset(imaging["results"]),
                "asked_for_by": tuple(frozenset(group) for group in imaging["asked_for_by"]),
            }
        ),
        medicines={name: JudgedMedicine(**table) for name, table in raw["medicines"].items()},
        emergency=raw["referrals"]["emergency"],
    )


def _medicine_names(folder: Path) -> dict[str, MedicineName]:
    tables = _table(folder, "medicine_names.toml", MedicineNameTable)
    for name in tables:
        if not _NAME.fullmatch(name):
            raise KnowledgeError(
                "medicine_names.toml",
                name,
                "is not one word of four small letters or more, or words with hyphens",
            )
    return {
        name: MedicineName(table["of"], tuple(table["findings"]), tuple(table["evidence"]))
        for name, table in tables.items()
    }


def _synonyms(folder: Path) -> dict[str, Synonym]:
    tables = _table(folder, "synonyms.toml", SynonymTable)
    for words in tables:
        if words != without_side(words)[0] or in_doubt(words):
            raise KnowledgeError("synonyms.toml", words, "is not in small letters, without punctuation, side and doubt")
    return {words: Synonym(table["of"], tuple(table["evidence"])) for words, table in tables.items()}


def _medicines(folder: Path, codes: Iterable[Code]) -> dict[str, MedicineTemplate]:
    """The medicines that are proposed, each with the row of its value set."""
    tables = _check(OrderFile, _read(folder, "orders.toml"), "orders.toml")["medicine"]
    rows = {(code.concept, code.code): code for code in codes if code.system == SYSTEMS["rxnorm"]}
    for key, table in tables.items():
        if (table["concept"], table["code"]) not in rows:
            raise KnowledgeError("orders.toml", f"medicine.{key}.code", "is no RxNorm code of this concept")
    return {
        key: MedicineTemplate(table["title"], rows[(table["concept"], table["code"])], table["dosage"])
        for key, table in tables.items()
    }


def _presentations(raw: Mapping[str, Any], read: _Reader) -> tuple[Presentation, ...]:
    name = "ratings.toml"
    return tuple(
        Presentation(
            id=key,
            **{
                **_tuples(table),
                "when": read.condition(table["when"], name, f"{key}.when"),
                "ratings": tuple(
                    Rating(**{**_tuples(entry), "when": read.optional(entry["when"], name, f"{key}.ratings.when")})
                    for entry in table["ratings"]
                ),
            },
        )
        for key, table in raw.items()
    )


def _tuples(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}


def _rule_groups(folder: Path) -> tuple[RuleGroup, ...]:
    file = "rules.toml"
    groups = _check(RulesFile, _read(folder, file), file)["groups"]
    seen: set[str] = set()
    for key, group in groups.items():
        _require(group["open"], group["rows"], file, f"groups.{key}.open")
        for id_ in sorted(seen & group["rows"].keys()):
            raise KnowledgeError(file, f"groups.{key}.rows.{id_}", "stands in another group too")
        seen |= group["rows"].keys()
    return tuple(RuleGroup(group["title"], group["rows"], frozenset(group["open"])) for group in groups.values())


def _read_the_rest(folder: Path, read: _Reader, causes: Collection[str]) -> None:
    """What a loading that has found something wrong would not come to."""
    with _part():
        _differential(folder, read, causes)
    with _part():
        _wording(folder)
    with _part():
        _engine(folder)
    with _part():
        _orders(folder, affiliate=True)
    with _part():
        _rule_groups(folder)
    for name, schema in (("sources", SourceTable), ("conflicts", ConflictTable), ("debts", DebtTable)):
        with _part():
            _table(folder, f"{name}.toml", schema)
    with _part():
        _medicine_names(folder)
    with _part():
        _synonyms(folder)
    for name in (*_CHART_CODES, "imaging"):
        with _part():
            _codes(folder, name, affiliate=True)


def _definition(key: str, table: Any, read: _Reader) -> tuple[str, Condition]:
    if not isinstance(table, dict):
        raise KnowledgeError("definitions.toml", key, "is no table")
    # Up to version 0.3.0 a condition stood in the table itself.
    older = {name: table.pop(name) for name in (*JOINTS, "finding", *WORDS) if name in table}
    checked = _check(CriterionFile, {**table, **({"when": older} if older else {})}, "definitions.toml", key)
    return checked["title"], read.condition(checked["when"], "definitions.toml", key)


def load(folder: Path | None = None, *, affiliate_snomed: bool = True) -> Knowledge:
    """The knowledge of this folder (the packaged one when None), checked.

    affiliate_snomed=False leaves out SNOMED CT codes that are not in the Global Patient Set.
    Raises KnowledgeError.
    """
    folder = folder or PACKAGED
    head = _check(KnowledgeFile, _read(folder, "guideline.toml"), "guideline.toml")
    read = _Reader(head["thresholds"])
    look_back = head["look_back_days"]
    _require(KINDS, look_back, "guideline.toml", "look_back_days")

    def finding(key: str, table: dict[str, Any]) -> Finding:
        own, forever = table.pop("look_back_days"), table.pop("no_look_back")
        if table["value"] == "quantity" and not table["unit"]:
            raise KnowledgeError("findings.toml", f"{key}.unit", "a quantity has a UCUM unit")
        if table["unit"]:
            _require([table["unit"]], UNITS, "findings.toml", f"{key}.unit")
        days = None if forever else own if own is not None else look_back[table["kind"]]
        table["whole_patient"] |= table["kind"] in ("risk", "measurement", "medication", "allergy")
        return Finding(
            id=key,
            look_back_days=days,
            dated_event=own is not None,
            plausible=Interval(*(table.pop("plausible") or ANYWHERE)),
            due=Due(**due) if (due := table.pop("due")) else None,
            short=table.pop("short") or in_a_sentence(table["title"]),
            **{**table, "statements": tuple(table["statements"]), "allergy_to": tuple(table["allergy_to"])},
        )

    findings = {}
    for key, table in _table(folder, "findings.toml", FindingFile).items():
        with _part():
            findings[key] = finding(key, table)
    definitions = {}
    for key, table in _read(folder, "definitions.toml").items():
        with _part():
            definitions[key] = _definition(key, table, read)
    causes = {
        key: Cause(key, table["title"], tuple(table["statements"]), table["tell_apart"])
        for key, table in _table(folder, "causes.toml", CauseFile).items()
    }
    names = sorted(path.name for path in (folder / "recommendations").glob("*.toml"))
    if not names:
        raise KnowledgeError("recommendations", "file", "there is none")
    recommended = []
    for name in names:
        with _part():
            recommended.append(_recommendation(folder, f"recommendations/{name}", read, head["attributes"]))
    every = tuple(
        sorted(recommended, key=lambda r: (RECOMMENDATION_KINDS.index(r.kind), r.order, r.id)),
    )
    answers = _codes(folder, "answers", affiliate=affiliate_snomed)
    ratings = _check(RatingsFile, _read(folder, "ratings.toml"), "ratings.toml")
    questions = _check(QuestionFile, _read(folder, "questions.toml"), "questions.toml")
    if (found := _FOUND.get()) is not None:
        _read_the_rest(folder, read, causes)
        if found:
            raise found[0]
    knowledge = Knowledge(
        id=head["id"],
        title=head["title"],
        version=head["version"],
        date=head["date"],
        status=head["status"],
        source_title=head["source_title"],
        provenance=head["provenance"],
        statements=head["statements"],
        appraisal=head["appraisal"],
        attribute_words=head["attribute_words"],
        health_status=frozenset(head["health_status"]),
        thresholds=head["thresholds"],
        findings=findings,
        definitions=definitions,
        causes=causes,
        differential=_differential(folder, read, causes),
        engine=_engine(folder),
        recommendations=tuple(each for each in every if each.status != RETIRED),
        retired=tuple(each for each in every if each.status == RETIRED),
        questions=tuple(
            Question(
                **{
                    **entry,
                    "findings": tuple(entry["findings"]),
                    "when": read.optional(entry["when"], "questions.toml", "when"),
                    "priors": tuple(
                        (prior["percent"], read.optional(prior["when"], "questions.toml", "priors.when"))
                        for prior in entry["priors"]
                    ),
                }
            )
            for entry in questions["questions"]
        ),
        question_terms={name: QuestionTerm(**table) for name, table in questions["value"].items()},
        wording=_wording(folder),
        orders=_orders(folder, affiliate=affiliate_snomed),
        order_codes=tuple(
            code for name in ("orders", "imaging") for code in _codes(folder, name, affiliate=affiliate_snomed)
        ),
        presentations=_presentations(ratings["presentations"], read),
        rating_words=ratings["categories"],
        medicines=_medicines(folder, _codes(folder, "safety", affiliate=affiliate_snomed)),
        medicine_names=_medicine_names(folder),
        synonyms=_synonyms(folder),
        uk_words=_check(UkWordsFile, _read(folder, "uk_words.toml"), "uk_words.toml")["words"],
        message=MessageTemplate(**_check(OrderFile, _read(folder, "orders.toml"), "orders.toml")["message"]),
        sources=_table(folder, "sources.toml", SourceTable),
        rule_groups=_rule_groups(folder),
        conflicts=tuple(
            Conflict(key, **_tuples(table)) for key, table in _table(folder, "conflicts.toml", ConflictTable).items()
        ),
        debts=tuple(Debt(key, **_tuples(table)) for key, table in _table(folder, "debts.toml", DebtTable).items()),
        codes=tuple(
            code
            for name in _CHART_CODES
            for code in _codes(folder, name, affiliate=affiliate_snomed)
            # Where the licence setting leaves out every code of a site, what needs that site cannot match.
            if not code.site or f"site:{code.site}" in {answer.concept for answer in answers}
        ),
        answers=answers,
    )
    _check_references(knowledge)
    return knowledge


def _require(names: Iterable[str], known: Iterable[str], file: str, key: str) -> None:
    for name in sorted(set(names) - set(known)):
        _note(KnowledgeError(file, key, f"{name!r} is not known here"))


def _opened(knowledge: Knowledge, condition: Condition) -> frozenset[str]:
    """What a condition reads, with the named criteria in it opened."""
    return knowledge.opened(condition.findings())


# What can be said in a condition of what has such a value.
_SAYABLE = {
    "boolean": ("is",),
    "quantity": ("at_least", "at_most"),
    "coded": ("one_of",),
    "date": (),
}
_READ_AS = {
    "boolean": "is present or absent, and compared with nothing",
    "quantity": "is a quantity, compared by >=, <=, < or > with a number",
    "coded": "has a coded value, compared by in (…)",
    "date": "is a date, read by the days since then (derived.days_since of engine.toml)",
}


def _check_words(knowledge: Knowledge, condition: Condition, file: str, key: str) -> None:
    """Of everything that is read is said what can be said of it."""
    for leaf in condition.leaves():
        value = knowledge.value_of(leaf.finding)
        anything_known = leaf.operand == UNKNOWN and value != "date"
        if leaf.word not in _SAYABLE[value] and not anything_known:
            raise KnowledgeError(file, key, f"{leaf.finding} {_READ_AS[value]}")


def _check_references(knowledge: Knowledge) -> None:
    """Everything that is named exists, and no rule reads what a later step makes."""
    _check_names(knowledge)
    early = {*knowledge.findings, *knowledge.definitions, *OF_THE_PATIENT, *knowledge.engine.derived.quantities}
    after_red_flags = early | {*knowledge.engine.after_red_flags, *(f"considers-{cause}" for cause in knowledge.causes)}
    after_plan = after_red_flags | {*AFTER_PLAN}
    readable = {"red-flag": early, "plan": after_red_flags, "closing": after_plan, "treatment": after_plan}
    readable |= {kind: after_plan | {*facts} for kind, facts in knowledge.facts.items()}
    for name, (_title, condition) in knowledge.definitions.items():
        with _part():
            read = _opened(knowledge, condition)
            if name in read:
                raise KnowledgeError("definitions.toml", name, "is defined by itself")
            _require(read, after_plan, "definitions.toml", name)
            _check_words(knowledge, condition, "definitions.toml", name)
    for recommendation in knowledge.every_recommendation():
        file = f"recommendations/{recommendation.id}.toml"
        with _part():
            for condition in recommendation.conditions():
                _require(_opened(knowledge, condition), readable[recommendation.kind], file, "when")
                _check_words(knowledge, condition, file, "when")
        _check_recommendation(knowledge, recommendation, file)
    with _part():
        _check_differential(knowledge, early)
    with _part():
        _check_ratings(knowledge, after_plan)
    for finding in knowledge.findings.values():
        _require(finding.statements, knowledge.statements, "findings.toml", f"{finding.id}.statements")
        named = [finding.suspicion] if finding.suspicion else ()
        _require(named, knowledge.findings, "findings.toml", f"{finding.id}.suspicion")
        if finding.due:
            _check_due(knowledge, finding.id, finding.due)
    _check_questions(knowledge, early)
    _require({code.concept for code in knowledge.codes}, knowledge.findings, "value_sets", "concept")
    _require(knowledge.health_status, knowledge.findings, "guideline.toml", "health_status")
    _check_accounts(knowledge)
    _check_engine(knowledge)


def _check_due(knowledge: Knowledge, date: str, due: Due) -> None:
    """A date that lies ahead states a finding and a quantity in weeks."""
    present = {finding.id for finding in knowledge.findings.values() if finding.value == "boolean"}
    weeks = {finding.id for finding in knowledge.findings.values() if finding.unit == "wk"}
    _require([due.present], present, "findings.toml", f"{date}.due.present")
    _require([due.weeks], weeks, "findings.toml", f"{date}.due.weeks")


def _check_engine(knowledge: Knowledge) -> None:
    """What the service is told by name is there."""
    file, engine = "engine.toml", knowledge.engine
    _require(knowledge.wording.suspicions, engine.red_flags, "wording.toml", "suspicions")
    _require(engine.red_flags, knowledge.wording.suspicions, "wording.toml", "suspicions")
    for role, topic in engine.topics.items():
        _require([topic], knowledge.wording.topics, file, f"topics.{role}")
    imaging = engine.imaging
    _require([imaging.recent], knowledge.thresholds, file, "imaging.recent")
    criteria = {
        "complaint.criterion": engine.complaint,
        "imaging.radiograph_at_hand": imaging.radiograph_at_hand,
        "imaging.recent_injury": imaging.recent_injury,
        "imaging.child": imaging.child,
    }
    for key, name in criteria.items():
        _require([name] if name else (), knowledge.definitions, file, key)
    for key in _REGIONS:
        _require(getattr(imaging, key), knowledge.regions, file, f"imaging.{key}")
    for shown in imaging.shown_by:
        _require([shown.finding], knowledge.findings, file, "imaging.shown_by.finding")
        _require(shown.regions, knowledge.regions, file, "imaging.shown_by.regions")
    _require(imaging.results, knowledge.findings, file, "imaging.results")
    for group in imaging.asked_for_by:
        _require(group, knowledge.findings, file, "imaging.asked_for_by")
    taken = {finding.id for finding in knowledge.findings.values() if finding.kind == "medication"}
    for role, medicine in engine.medicines.items():
        _require([medicine.finding], taken, file, f"medicines.{role}.finding")
        _require([medicine.treatment], engine.treatments, file, f"medicines.{role}.treatment")
        for key, known in (("order", knowledge.medicines), ("low_dose", knowledge.thresholds)):
            name = getattr(medicine, key)
            _require([name] if name else (), known, file, f"medicines.{role}.{key}")
    if engine.emergency and f"referral-{engine.emergency}" not in knowledge.orders:
        _note(KnowledgeError(file, "referrals.emergency", f"{engine.emergency!r} is no referral of orders.toml"))
    _require(engine.at_discharge.values(), engine.red_flags, file, "red_flags.at_discharge")
    facts = {*knowledge.facts_of_offers(), *(fact for facts in ADVICE_FACTS.values() for fact in facts)}
    _require(knowledge.wording.facts, facts, "wording.toml", "facts")
    _check_derived(knowledge)


def _check_derived(knowledge: Knowledge) -> None:
    file, derived = "engine.toml", knowledge.engine.derived
    of_value = {
        value: {finding.id for finding in knowledge.findings.values() if finding.value == value}
        for value in ("boolean", "date")
    }
    onset = knowledge.engine.onset
    _require([onset] if onset else (), of_value["date"], file, "complaint.onset")
    for name, date in derived.days_since.items():
        _require([date], of_value["date"], file, f"derived.days_since.{name}")
    for name, counted in derived.count_of.items():
        _require(counted, of_value["boolean"], file, f"derived.count_of.{name}")
    for name, made_of in derived.on_both_sides.items():
        _require([name, *made_of], of_value["boolean"], file, f"derived.on_both_sides.{name}")
    for name, other in derived.on_either_side.items():
        _require([name, other], of_value["boolean"], file, f"derived.on_either_side.{name}")
    for name, made_of in derived.on_the_other_side.items():
        _require([name, *made_of], of_value["boolean"], file, f"derived.on_the_other_side.{name}")


def _check_names(knowledge: Knowledge) -> None:
    """What conditions read can be written in them."""
    read = {
        "findings.toml": knowledge.findings,
        "definitions.toml": knowledge.definitions,
        "causes.toml": knowledge.causes,
        "guideline.toml": [f"thresholds.{name}" for name in knowledge.thresholds],
    }
    for file, names in read.items():
        for name in names:
            if not is_name(name.removeprefix("thresholds.")):
                reason = "is no name: small letters and digits with hyphens between, and no word of conditions"
                _note(KnowledgeError(file, name, reason))


def _check_questions(knowledge: Knowledge, early: set[str]) -> None:
    file = "questions.toml"
    askable = {id_ for id_, finding in knowledge.findings.items() if finding.kind != "diagnosis"} | {"age"}
    asked: set[str] = set()
    for question in knowledge.questions:
        _require(question.findings, askable, file, "findings")
        if question.when:
            _require(_opened(knowledge, question.when), early, file, "when")
        for _percent, when in question.priors:
            _require(_opened(knowledge, when) if when else (), early, file, "priors.when")
        for id_ in () if question.first else sorted(asked & set(question.findings)):
            raise KnowledgeError(file, "findings", f"{id_!r} stands in another question too")
        asked |= set() if question.first else set(question.findings)


def _check_accounts(knowledge: Knowledge) -> None:
    """What the knowledge says of itself names what exists."""
    rules = knowledge.rules()
    ids = {recommendation.id for recommendation in knowledge.every_recommendation()}
    for conflict in knowledge.conflicts:
        _require(conflict.statements, knowledge.statements, "conflicts.toml", f"{conflict.id}.statements")
        _require(conflict.recommendations, ids, "conflicts.toml", f"{conflict.id}.recommendations")
        _check_evidence(knowledge, conflict.evidence, "conflicts.toml", f"{conflict.id}.evidence")
    medicines = {
        code.code
        for code in knowledge.codes
        if code.system == SYSTEMS["rxnorm"] and knowledge.findings[code.concept].kind == "medication"
    }
    taken = {finding.id for finding in knowledge.findings.values() if finding.kind == "medication"}
    for finding in knowledge.findings.values():
        _require(finding.allergy_to, taken, "findings.toml", f"{finding.id}.allergy_to")
    for name, medicine in knowledge.medicine_names.items():
        _require([medicine.of] if medicine.of else (), medicines, "medicine_names.toml", f"{name}.of")
        _require(medicine.findings, taken, "medicine_names.toml", f"{name}.findings")
        _check_evidence(knowledge, medicine.evidence, "medicine_names.toml", f"{name}.evidence")
    nameable = {f.id for f in knowledge.findings.values() if f.defines_complaint and f.kind in KINDS_IN_WORDS}
    for words, synonym in knowledge.synonyms.items():
        _require([synonym.of], nameable, "synonyms.toml", f"{words}.of")
        _check_evidence(knowledge, synonym.evidence, "synonyms.toml", f"{words}.evidence")
    for debt in knowledge.debts:
        _require(debt.rules, rules, "debts.toml", f"{debt.id}.rules")
    for entry in knowledge.differential.entries():
        weighs = isinstance(entry, Points | WeightedTest)
        _require(entry.rules, rules, WEIGHTS if weighs else "differential.toml", f"{entry.cause}.rules")


def _check_evidence(knowledge: Knowledge, evidence: Iterable[str], file: str, key: str) -> None:
    for tag in evidence:
        kind, _, reference = tag.partition(":")
        if reference:
            _require([reference], knowledge.sources, file, key)
        _require([kind], {*knowledge.provenance, *knowledge.statements}, file, key)


def _check_recommendation(knowledge: Knowledge, recommendation: Recommendation, file: str) -> None:
    _require(recommendation.statements, knowledge.statements, file, "statements")
    _require([recommendation.topic], knowledge.wording.topics, file, "card.topic")
    for key, lines in (("summary", [recommendation.summary]), ("do", recommendation.do)):
        for line in lines:
            _require(PLACE.findall(line), {*CARD_PLACES, *knowledge.wording.facts}, file, f"card.{key}")
    if len(PLACE.sub("", recommendation.summary)) > _SUMMARY:
        raise KnowledgeError(file, "card.summary", f"is longer than {_SUMMARY} characters, what is filled in apart")
    _check_evidence(knowledge, recommendation.evidence, file, "evidence")
    _require(recommendation.rules, knowledge.rules(), file, "rules")
    engine, flag = knowledge.engine, recommendation.red_flag
    if flag:
        _require([flag.id], engine.red_flags, file, "red_flag.id")
        _require(flag.blocks, ("ranking", *engine.blocks), file, "red_flag.blocks")
    _require([treatment.id for treatment in recommendation.treatment], engine.treatments, file, "treatment")
    if recommendation.in_emergency and recommendation.kind != "plan":
        raise KnowledgeError(file, "in_emergency", "is said of a plan: nothing else waits for an emergency")
    ordered = [f"{call.modality}-{call.region}" for call in recommendation.imaging if call.modality != "none-now"]
    _require(ordered, knowledge.orders, file, "imaging")
    _require([f"referral-{call.to}" for call in recommendation.referrals], knowledge.orders, file, "referrals")


def _check_ratings(knowledge: Knowledge, readable: set[str]) -> None:
    file = "ratings.toml"
    _require(RATINGS, knowledge.rating_words, file, "categories")
    readable = readable | {RADIOGRAPH_AT_HAND, *(f"flag-{flag}" for flag in knowledge.engine.red_flags)}
    for presentation in knowledge.presentations:
        named = {region for rating in presentation.ratings for region in rating.regions}
        _require(named, knowledge.regions, file, f"{presentation.id}.ratings.regions")
        _check_evidence(knowledge, presentation.evidence, file, f"{presentation.id}.evidence")
        _require(presentation.rules, knowledge.rules(), file, f"{presentation.id}.rules")
        for condition in presentation.conditions():
            _require(_opened(knowledge, condition), readable, file, f"{presentation.id}.when")
            _check_words(knowledge, condition, file, f"{presentation.id}.when")


def _check_differential(knowledge: Knowledge, early: set[str]) -> None:
    file, differential = "differential.toml", knowledge.differential
    _require(differential.tenderness, knowledge.findings, file, "rules.tenderness")
    for test in differential.tests:
        _require([test.finding], early, WEIGHTS, test.cause)
        if knowledge.value_of(test.finding) != "boolean":
            raise KnowledgeError(WEIGHTS, test.cause, f"{test.finding} is no test: it is neither present nor absent")
    families = {(test.cause, test.family) for test in differential.tests}
    for cap in differential.caps:
        _require([cap.cause], knowledge.causes, file, "caps.cause")
        if (cap.cause, cap.family) not in families:
            raise KnowledgeError(file, "caps", f"{cap.family!r} is no family of tests of {cap.cause}")
    for veto in differential.vetoes:
        _require([veto.cause], knowledge.causes, file, "vetoes.cause")
    conditions = [(WEIGHTS, entry.cause, entry.when) for entry in differential.points]
    conditions += [(WEIGHTS, test.cause, test.negative_when) for test in differential.tests if test.negative_when]
    conditions += [(file, f"caps.{cap.cause}", cap.when) for cap in differential.caps]
    conditions += [(file, f"vetoes.{veto.cause}", veto.when) for veto in differential.vetoes]
    if differential.unranked:
        conditions.append((file, "rules.unranked", differential.unranked))
    for where, key, condition in conditions:
        _require(_opened(knowledge, condition), early, where, key)
        _check_words(knowledge, condition, where, key)
