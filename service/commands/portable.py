"""What `sitbone knowledge export --format fhir` and `--check` do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cds_hooks import CdsHooksError
from cds_hooks.request import read_envelope, request_for
from service.commands.release import release_in
from service.knowledge_model.loader import load
from service.knowledge_model.model import Knowledge
from service.pages.demo_ehr import PERSONAS, personas
from service.portable.logic import NotExported, explained
from service.portable.package import Charted, Export, packed
from service.services.evaluation import Evaluator
from service.services.registry import services_by


def export_of(folder: Path | None, *, affiliate: bool, now: datetime) -> Export:
    """The export of a folder of knowledge, with the made-up patients as its charts. Raises KnowledgeError."""
    knowledge = load(folder, affiliate_snomed=affiliate)
    standings = release_in(folder).at(now)
    # All codes read them, whatever is exported: of a code that a licence is needed for no feature tells.
    charts = tuple(_charts(load(folder, affiliate_snomed=True))) if folder is None else ()
    return Export(knowledge, standings, charts)


def _charts(knowledge: Knowledge) -> Iterator[Charted]:
    """The made-up patients that come with the service."""
    made = personas()
    evaluator = Evaluator(knowledge, lambda: made["clock"].astimezone(UTC))
    published = services_by(evaluator)
    services = published.first_of_hooks()
    for name in made["personas"]:
        envelope = read_envelope((PERSONAS / "requests" / f"{name}.json").read_bytes())
        hook = str(envelope["hook"])
        try:
            request = request_for(envelope, published.find(services[hook], hook), correlation_id=name)
            yield Charted(name, evaluator.read(request))
        except CdsHooksError:
            # A patient whose chart did not arrive has no features.
            continue


def write(export: Export, folder: Path) -> int:
    """Writes the package, as files and as package.tgz, and says how many files there are. Raises OSError."""
    files = export.files()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "package.tgz").write_bytes(packed(files))
    return len(files)


def as_text(export: Export) -> str:
    """What is not exported, each reason with what it is of."""
    lines = [f"{len(export.logic.definitions.made)} definitions; {len(export.logic.exported)} recommendations exported"]
    for why, what in explained(export.not_exported()).items():
        lines += ["", f"{len(what)} not exported: {why}", *(f"  {each}" for each in what)]
    return "\n".join(lines)


def as_json(found: list[NotExported]) -> str:
    """The same for a program."""
    return json.dumps([{"what": each.what, "why": each.why} for each in found], ensure_ascii=False, indent=2)
