"""The export for other engines: whole, of the declared part of CQL, valid FHIR, the same each time, and equal."""

import base64
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import pytest
from click.testing import CliRunner

from service.commands.knowledge import export as command
from service.commands.portable import export_of, write
from service.features.resources import SYSTEM
from service.knowledge_model.conditions import Condition
from service.knowledge_model.loader import load
from service.knowledge_model.vocabulary import CHART_KINDS
from service.portable.cql_text import written
from service.portable.elm import MOST, OPERATORS, every, is_false, literal, no, ref, some
from service.portable.logic import Logic, explained
from service.portable.package import ENGINES, LIBRARY, NOTICES, STATE, Export, packed
from service.release.signatures import Signature
from service.release.states import SUSPENDED, Standing, unsigned
from tests.charts import packaged
from tests.portable.charts import Charts
from tests.portable.engines import FOLDER, Asked, InstallError, javascript

NOW = datetime(2026, 11, 30, tzinfo=UTC)
# What is tried on the engine here; all of it is tried by `make portable`.
FIXTURES, CONDITIONS = 8, frozenset({"rl07-suspected-tear", "rl16-pregnancy", "proximal-hamstring-tear"})


@cache
def exported() -> Export:
    return export_of(None, affiliate=False, now=NOW)


@cache
def files() -> dict[str, bytes]:
    return exported().files()


@cache
def resources() -> list[dict[str, Any]]:
    return exported().resources()


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [each for each in resources() if each["resourceType"] == kind]


def operators(value: Any) -> Iterator[str]:
    """Every operator in a part of ELM."""
    if isinstance(value, dict):
        if isinstance(value.get("type"), str):
            yield value["type"]
        for inner in value.values():
            yield from operators(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from operators(inner)


def test_every_condition_of_the_knowledge_is_exported_or_said_not_to_be() -> None:
    knowledge, logic = packaged(), exported().logic
    left_out = {each.what for each in exported().not_exported()}
    for r in knowledge.recommendations:
        assert (f"Verdict {r.id}" in logic.definitions) is (f"recommendation {r.id}" not in left_out), r.id
        assert (r.kind in CHART_KINDS) is (f"Verdict {r.id}" in logic.definitions)
        if f"Verdict {r.id}" in logic.definitions:
            calls = [("imaging", len(r.imaging)), ("referral", len(r.referrals))]
            names = [f"Calls {r.id} {kind} {n}" for kind, count in calls for n in range(1, count + 1)]
            assert all(name in logic.definitions for name in names)
    for name in knowledge.definitions:
        is_there = any(f"{name} ({chart})" in logic.definitions for chart in ("A", "A+", "B", "B+"))
        assert is_there is (f"criterion {name}" not in left_out), name
    for presentation in knowledge.presentations:
        assert f"rating {presentation.id}" in left_out
    assert sum(what.startswith("question ") for what in left_out) == len(knowledge.questions)
    for cause in knowledge.causes:
        assert f"Points {cause} A" in logic.definitions


def test_every_name_that_an_exported_condition_reads_is_defined() -> None:
    made = exported().logic.definitions.made
    read = {node["name"] for node in nodes(list(made.values())) if node.get("type") == "ExpressionRef"}
    assert read <= {*made}


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from nodes(inner)


def test_only_the_declared_part_of_elm_is_used() -> None:
    assert {*operators(list(exported().logic.definitions.made.values()))} <= OPERATORS


def test_every_query_returns_all_and_what_is_aggregated_is_a_query_or_a_list() -> None:
    found = [*nodes(list(exported().logic.definitions.made.values()))]
    assert all(node["return"]["distinct"] is False for node in found if node.get("type") == "Query")
    aggregates = [node for node in found if node.get("type") in ("Min", "Max")]
    assert {node["source"]["type"] for node in aggregates} == {"Query", "List"}


def test_the_thresholds_are_those_of_the_knowledge() -> None:
    knowledge = packaged()
    limits: set[float] = set()
    counted = {*knowledge.engine.derived.count_of}
    for r in knowledge.recommendations:
        if r.kind in CHART_KINDS:
            leaves = (leaf for condition in r.conditions() for leaf in condition.leaves())
            limits |= {float(leaf.operand) for leaf in leaves if leaf.threshold and leaf.finding not in counted}
    decimals = {
        float(node["value"])
        for node in nodes(list(exported().logic.definitions.made.values()))
        if node.get("type") == "Literal" and node["valueType"].endswith("Decimal")
    }
    assert limits <= decimals


def test_the_text_says_what_the_machine_form_says() -> None:
    expression = every((ref("a"), no(is_false(ref('b "c"'))), some((ref("d"), literal("it's"), literal(2.5)))))
    assert written(expression) == '("a" and (not ("b \\"c\\"" is false)) and ("d" or \'it\\\'s\' or 2.5))'.replace(
        '"a" and (not', '"a" and (not'
    )
    for name, names in exported().logic.definitions.parts(LIBRARY).items():
        defined = re.findall(r'^define "((?:[^"\\]|\\.)*)":$', exported().cql(name), re.MULTILINE)
        assert defined == names


def test_the_export_is_the_same_each_time() -> None:
    again = export_of(None, affiliate=False, now=NOW).files()
    assert again == files()
    assert packed(again) == packed(files())


def test_each_kind_of_resource_is_valid_fhir() -> None:
    for each in resources():
        kind = each["resourceType"]
        model = getattr(import_module(f"fhir.resources.R4B.{kind.lower()}"), kind)
        model.model_validate(each)


def test_each_resource_has_what_crmi_asks_of_one_that_is_shared() -> None:
    for each in resources():
        kind = each["resourceType"].lower()
        assert f"http://hl7.org/fhir/uv/crmi/StructureDefinition/crmi-shareable{kind}" in each["meta"]["profile"]
        assert {"url", "version", "title", "status", "experimental", "description", "publisher"} <= {*each}


def test_each_chart_is_a_valid_bundle_of_features_with_what_is_expected() -> None:
    charts = [json.loads(content) for name, content in files().items() if name.startswith("package/tests/")]
    assert len(charts) > 20
    from fhir.resources.R4B.bundle import Bundle  # noqa: PLC0415 - it takes a second to load

    for chart in charts[:5]:
        Bundle.model_validate(chart)
    expected = charts[0]["entry"][-1]["resource"]
    assert expected["resourceType"] == "Parameters"
    assert {"Complaint", "Verdict rl07-suspected-tear"} <= {each["name"] for each in expected["parameter"]}


def test_a_chart_holds_what_it_is_named_after_though_its_code_needs_a_licence() -> None:
    chart = json.loads(files()["package/tests/cauda-equina.json"])
    coded = {node["code"] for node in nodes(chart) if node.get("system") == SYSTEM}
    assert "saddle-numbness" in coded
    told = {each["name"]: each.get("valueBoolean") for each in chart["entry"][-1]["resource"]["parameter"]}
    assert told["Said rl01-cauda-equina"] is True
    assert told["Calls rl01-cauda-equina referral 1"] is True


def test_each_library_holds_the_text_and_the_machine_form() -> None:
    parts = exported().logic.definitions.parts(LIBRARY)
    assert [each["id"] for each in of_kind("Library")] == [*parts]
    for library in of_kind("Library"):
        name = library["id"]
        content = {each["contentType"]: base64.b64decode(each["data"]) for each in library["content"]}
        assert content["text/cql"].decode().startswith(f"library {name} version '{packaged().version}'")
        elm = json.loads(content["application/elm+json"])
        names = [each["name"] for each in elm["library"]["statements"]["def"]]
        # The Java engine looks for a definition by halves.
        assert names == sorted(["Patient", *parts[name]])


def test_a_library_names_the_engines_that_are_tried() -> None:
    tried = json.loads((FOLDER / "package.json").read_text("utf-8"))["dependencies"]
    versions = {f"{name} {version}" for name, version in tried.items()}
    pom = (FOLDER / "pom.xml").read_text("utf-8")
    versions |= {f"CQL framework {each}" for each in re.findall(r"engine-fhir</artifactId>\s*<version>(.*)</", pom)}
    assert len(versions) == 3
    assert versions < {*ENGINES}
    assert all(each in library["usage"] for library in of_kind("Library") for each in ENGINES)


def test_no_part_has_more_definitions_than_an_engine_keeps_and_none_reads_a_later_one() -> None:
    parts = exported().logic.definitions.parts(LIBRARY)
    assert all(len(names) <= MOST for name, names in parts.items() if name != LIBRARY)
    assert [name for names in parts.values() for name in names if name not in exported().logic.definitions.made] == []
    order = [*parts]
    for name, library in exported().libraries.items():
        read = {node["libraryName"] for node in nodes(library) if "libraryName" in node}
        assert all(order.index(each) < order.index(name) for each in read)


def test_what_an_action_refers_to_is_in_the_package() -> None:
    urls = {f"{each['url']}|{each['version']}" for each in resources()}
    found = [node for node in nodes(of_kind("PlanDefinition")) if "definitionCanonical" in node]
    assert {node["definitionCanonical"] for node in found} <= urls
    made = exported().logic.definitions
    conditions = [node for node in nodes(of_kind("PlanDefinition")) if node.get("language") == "text/cql-identifier"]
    assert all(node["expression"] in made for node in conditions)


def test_an_order_has_its_priority_and_its_side() -> None:
    by_id = {each["id"]: each for each in of_kind("ActivityDefinition")}
    order = by_id["mri-hip-urgent-left"]
    assert order["priority"] == "urgent"
    assert "left" in order["code"]["text"]


def test_an_order_that_an_engine_makes_has_its_priority_though_it_copies_none() -> None:
    for each in of_kind("ActivityDefinition"):
        (computed,) = each["dynamicValue"]
        assert (computed["path"], computed["expression"]["expression"]) == ("priority", f"'{each['priority']}'")


def test_the_strategy_has_a_recommendation_where_it_is_said_and_tells_what_it_is() -> None:
    (strategy,) = (each for each in of_kind("PlanDefinition") if each["id"] == "strategy")
    for action in strategy["action"]:
        id_ = action["definitionCanonical"].rpartition("|")[0].rpartition("/")[2]
        (condition,) = action["condition"]
        assert condition["expression"]["expression"] == f"Said {id_}"
        # The profile cpg-strategydefinition wants all three of them.
        assert action["title"]
        assert action["description"]
        assert action["code"][0]["coding"][0]["code"] in ("triage", "guideline-based-care")


def test_the_form_asks_for_each_finding_once_and_has_no_group_without_a_question() -> None:
    (form,) = of_kind("Questionnaire")
    links = [node["linkId"] for node in nodes(form) if "linkId" in node]
    assert len(links) == len({*links})
    assert all(group["item"] for group in form["item"])
    findings = {item["linkId"] for group in form["item"] for item in group["item"]}
    assert {name for question in packaged().questions for name in question.findings} <= findings


def test_every_id_is_one_of_fhir_and_no_list_is_empty() -> None:
    every = [*resources(), *(json.loads(content) for name, content in files().items() if "/tests/" in name)]
    for resource in every:
        for node in nodes(resource):
            assert re.fullmatch(r"[A-Za-z0-9.-]{1,64}", node.get("id", "none")) or "path" in node
            assert (
                re.fullmatch(r"\w+/[A-Za-z0-9.-]{1,64}", node.get("reference", "Patient/none"))
                or node["reference"] == "#options"
            )
            assert [] not in node.values()


def test_where_codes_stand_the_notice_of_their_holder_stands() -> None:
    for each in (*of_kind("ValueSet"), *of_kind("ConceptMap")):
        systems = {node["system"] for node in nodes(each) if "system" in node and node["system"] in NOTICES}
        systems |= {group["source"] for group in each.get("group", ())} & {*NOTICES}
        assert all(NOTICES[system] in each["copyright"] for system in systems)


def test_codes_that_need_a_licence_are_there_only_where_they_are_asked_for() -> None:
    open_, whole = load(affiliate_snomed=False), packaged()
    needs = {(c.system, c.code) for c in whole.codes} - {(c.system, c.code) for c in open_.codes}
    assert needs
    told = {(each["system"], each["code"]) for vs in of_kind("ValueSet") for each in vs["expansion"]["contains"]}
    assert not needs & told


def test_nothing_is_approved_that_nobody_has_signed() -> None:
    assert not any("approvalDate" in each for each in resources())
    assert {each["status"] for each in of_kind("PlanDefinition")} == {"draft"}


def test_what_is_suspended_is_a_draft_that_says_so_and_what_is_signed_has_its_date() -> None:
    knowledge = packaged()
    suspended, signed = (r.id for r in exported().logic.exported[:2])
    drafts = unsigned(knowledge)
    signature = _signature()
    by_id = {
        **drafts.by_id,
        suspended: Standing(suspended, SUSPENDED, ""),
        signed: Standing(signed, "active", "", "", signature, signature),
    }
    plans = {each["id"]: each for each in Export(knowledge, replace(drafts, by_id=by_id)).resources()}
    assert plans[suspended]["status"] == "draft"
    assert plans[suspended]["extension"] == [{"url": STATE, "valueCode": SUSPENDED}]
    assert (plans[signed]["status"], plans[signed]["approvalDate"]) == ("active", "2026-11-20")


def _signature() -> Signature:
    # What else a signature holds makes no difference here.
    signature = object.__new__(Signature)
    for name, value in {"signed": date(2026, 11, 20), "review_by": date(2027, 11, 20)}.items():
        object.__setattr__(signature, name, value)
    return signature


def test_the_package_can_be_installed(tmp_path: Path) -> None:
    count = write(exported(), tmp_path)
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "package.tgz").read_bytes())) as tar:
        names = tar.getnames()
        manifest = json.loads(tar.extractfile("package/package.json").read())  # type: ignore[union-attr]
    assert len(names) == count == len(list(tmp_path.rglob("*.json")))
    assert manifest["fhirVersions"] == ["4.0.1"]
    assert "package/.index.json" in names


def test_the_command_says_what_it_leaves_out_and_why() -> None:
    said = CliRunner().invoke(command, ["--check"]).stdout
    for why, what in explained(exported().not_exported()).items():
        assert f"{len(what)} not exported: {why}" in said
    told = json.loads(CliRunner().invoke(command, ["--check", "--json"]).stdout)
    assert {"what", "why"} == {*told[0]}


def test_the_command_needs_a_folder_to_write_files_to() -> None:
    refused = CliRunner().invoke(command, ["--format", "fhir"])
    assert refused.exit_code == 2
    assert "name the DIR" in refused.stderr


def test_a_condition_about_what_is_beside_the_chart_is_refused_by_name() -> None:
    from service.portable.logic import A, NotExportedError  # noqa: PLC0415

    with pytest.raises(NotExportedError, match="nsaid-drafted"):
        exported().logic.condition(Condition("is", "nsaid-drafted", "present", ()), A)


def test_the_toy_pack_can_be_exported() -> None:
    toy = load(Path(__file__).parent / "toy_pack")
    logic = Logic(toy)
    assert any(name.startswith("Verdict ") for name in logic.definitions.made)
    assert {*operators(list(logic.definitions.made.values()))} <= OPERATORS


@pytest.mark.needs_system("npm", "it installs the CQL engine that the export is tried on")
def test_another_engine_decides_the_same(leave_out: Callable[[str], NoReturn], tmp_path: Path) -> None:
    try:
        engine = javascript()
    except InstallError as problem:
        leave_out(str(problem))
    charts = Charts()
    library = tmp_path / "library.json"
    library.write_text(json.dumps([*exported().libraries.values()]), "utf-8")
    whole = [chart for _, chart in zip(range(FIXTURES), charts.whole(0, ("fixture",)), strict=False)]
    tables = [*charts.tables(6, CONDITIONS)]
    unread = _without_marker(whole[0])
    found = dict(engine.differences(library, [*whole, *tables, unread]))
    assert len(found) == len(whole) + len(tables) + 1
    assert {name: differs for name, differs in found.items() if differs} == {}


def _without_marker(chart: Asked) -> Asked:
    """The same chart as it would come raw: every verdict is null, and that nothing was read is told."""
    entries = [
        each for each in chart.bundle["entry"] if "features-read" not in json.dumps(each["resource"].get("code", {}))
    ]
    names = (name for name in chart.expected if name.startswith(("Verdict", "Complaint", "Calls", "Fires", "Leads")))
    return Asked("raw", {**chart.bundle, "entry": entries}, {**dict.fromkeys(names), "Not read": True})
