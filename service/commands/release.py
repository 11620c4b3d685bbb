"""What `sitbone knowledge sign`, `revoke`, `verify`, `status` and `closure` do: what of a folder is signed and how."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from service.commands.replay import answers, in_process, read_folder
from service.knowledge_model.loader import load
from service.knowledge_model.model import PACKAGED, Knowledge
from service.release.archive import SUFFIX, pack
from service.release.canonical_json import canonical_json, digest_of
from service.release.diff import as_text as changes_as_text
from service.release.signatures import REVOCATIONS, SIGNATURES, RefusedError, SignedReader
from service.release.signatures import SUFFIX as MINISIG
from service.release.signers import CLINICAL, GOVERNANCE, Signers
from service.release.since import changes_since, part_in_words, since_signed
from service.release.states import Release, Standings, release_of
from service.settings import Settings

# A clinical signature is to be made anew after so many days, unless its signer says otherwise.
_REVIEW_DAYS = 365
_STATEMENTS = {
    CLINICAL: "I have read these recommendations and all that they stand on, and they are right.",
    GOVERNANCE: "The signers were entitled; the test report, the proof and the hazard log of this release were seen.",
}


class NotSignedError(Exception):
    """Nothing is written to be signed. The text says why, in one sentence."""


class NotCountedError(Exception):
    """A file was not signed, or not by whom it names. The text says why, in one sentence."""


def settings_in(folder: Path | None) -> Settings:
    """The settings, with the knowledge in a folder where one is named. Raises SettingsError."""
    settings = Settings.from_environment(os.environ)
    return replace(settings, knowledge_dir=folder, snomed_ct="all") if folder else settings


def release_in(folder: Path | None, knowledge: Knowledge | None = None) -> Release:
    """The release of the knowledge in a folder, by the signers of the settings; without one that of the settings.

    Raises SettingsError and KnowledgeError.
    """
    settings = settings_in(folder)
    return release_of(settings, knowledge or load(settings.knowledge_dir))


def behaviour(folder: Path | None, requests: Path) -> str:
    """The behaviour digest: that of the answers to the requests of a folder, at its time, by this knowledge.

    Nothing of signatures is in it, nor of digests. Raises ReplayError and KnowledgeError.
    """
    asked = read_folder(requests)
    return digest_of(answers(asked, in_process(Settings(knowledge_dir=folder), asked.clock)))


def draft_signature(
    release: Release,
    role: str,
    signer: str,
    *,
    registration: str = "",
    organisation: str = "",
    today: date,
    effective_from: date | None = None,
    review_by: date | None = None,
    statement: str = "",
    only: Iterable[str] = (),
    behaviour_digest: str = "",
) -> dict[str, Any]:
    """What is to be signed. Raises NotSignedError where `only` names what is not there."""
    digests = release.digests.recommendations
    if unknown := sorted(set(only) - digests.keys()):
        raise NotSignedError(f"There is no recommendation {', '.join(unknown)}.")
    begins = effective_from or today
    members: dict[str, Any] = {
        "role": role,
        "signer": signer,
        "knowledge": release.knowledge.id,
        "signed": today.isoformat(),
        "effectiveFrom": begins.isoformat(),
        "reviewBy": (review_by or begins + timedelta(days=_REVIEW_DAYS)).isoformat(),
        "statement": statement or _STATEMENTS[role],
        **({"registration": registration} if registration else {}),
        **({"organisation": organisation} if organisation else {}),
    }
    if role == GOVERNANCE:
        return {**members, "release": release.digests.release, "behaviour": behaviour_digest}
    return {**members, "covers": {id_: digests[id_] for id_ in only} if only else dict(digests)}


def write_draft(members: Mapping[str, Any], knowledge: Path | None, folder: Path) -> Path:
    """Write what is to be signed, and the folder that it is about beside it; the path of the file.

    Raises NotSignedError where a signature of this name is there: signatures are only added.
    """
    path = folder / SIGNATURES / f"{members['signed']}-{members['role']}-{_slug(members['signer'])}.json"
    if path.exists():
        raise NotSignedError(
            f"{path} is there already: signatures are only added. Move it away if it was never signed."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(canonical_json(dict(members)), encoding="utf-8")
    path.with_suffix(SUFFIX).write_bytes(pack(knowledge or PACKAGED))
    return path


def draft_revocation(
    release: Release,
    folder: Path,
    signers: Signers,
    signer: str,
    why: str,
    *,
    signature: str = "",
    recommendation: str = "",
    digest: str = "",
    key_of: str = "",
    since: date,
) -> dict[str, Any]:
    """What is to be signed to take one thing back: a signature of this folder, a recommendation at its digest or at
    another, or the key of a signer, who is named or whose key it is. Raises NotSignedError where there is none.
    """
    if sum(map(bool, (signature, recommendation, key_of))) != 1:
        raise NotSignedError("Name one thing to take back: --signature, --recommendation or --key-of.")
    if digest and not recommendation:
        raise NotSignedError("--digest goes with --recommendation.")
    names = [each.name for each in signers]
    there = sorted(path.stem for path in (folder / SIGNATURES).glob("*.json"))
    keys = [each.key.text for each in signers if key_of in (each.name, each.key.text)]
    for kind, name, known in (("signer", signer, names), ("signature", signature, there)):
        if name and name not in known:
            raise NotSignedError(f"There is no {kind} {name} here. There are: {', '.join(known) or 'none'}.")
    if key_of and len(keys) != 1:
        which = f"has several keys, name one: {', '.join(keys)}" if keys else f"is no signer: {', '.join(names)} are"
        raise NotSignedError(f"{key_of} {which}.")
    if recommendation:
        digests = release.digests.recommendations
        if recommendation not in digests:
            raise NotSignedError(f"There is no recommendation {recommendation}.")
        revokes = {"recommendation": recommendation, "digest": digest or digests[recommendation]}
    else:
        revokes = {"signature": signature} if signature else {"key": keys[0]}
    return {
        "signer": signer,
        "knowledge": release.knowledge.id,
        "revokes": revokes,
        "why": why,
        "from": since.isoformat(),
    }


def sign_revocation(
    members: Mapping[str, Any], about: str, folder: Path, *, signers: Signers, today: date, secret_key: Path | None
) -> tuple[Path, list[str]]:
    """Let minisign sign a revocation, and lay it beside the signatures of this folder once it counts; its path, and the
    command that is left to be run where minisign is not installed: then it is written to the present folder, for one
    without a signature would end the start.

    Raises NotSignedError where one of this name is there, and NotCountedError where it is not signed or does not count.
    """
    name = f"{today}-{_slug(about)}.json"
    path = folder / REVOCATIONS / name
    if path.exists():
        raise NotSignedError(f"{path} is there already: revocations are only added.")
    with tempfile.TemporaryDirectory() as apart:
        draft = Path(apart) / name
        draft.write_text(canonical_json(dict(members)), encoding="utf-8")
        signed = run_minisign(minisign_command(draft, secret_key))
        if signed is None:
            here = Path(name)
            here.write_bytes(draft.read_bytes())
            return here, minisign_command(here, secret_key)
        if not signed:
            raise NotCountedError("minisign did not sign; nothing is left of it.")
        try:
            SignedReader(members["knowledge"], signers).revocation(draft)
        except RefusedError as refusal:
            raise NotCountedError(f"What was signed does not count: it {refusal}; nothing is left of it.") from None
        path.parent.mkdir(parents=True, exist_ok=True)
        # A start that comes between the two finds a signature alone, and is refused as it is without one.
        for file in (draft.with_name(name + MINISIG), draft):
            (path.parent / file.name).write_bytes(file.read_bytes())
    return path, []


def _slug(text: str) -> str:
    """As the name of a file."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def minisign_command(path: Path, secret_key: Path | None) -> list[str]:
    """The command by which its signer signs a file; the key never passes through the service."""
    return ["minisign", "-S", *(["-s", str(secret_key)] if secret_key else []), "-m", str(path)]


def run_minisign(command: list[str]) -> bool | None:
    """Let minisign sign, which asks its user for the password; None where it is not installed."""
    if shutil.which(command[0]) is None:
        return None
    return subprocess.run(command, check=False).returncode == 0  # noqa: S603 - the program of the signer


def changes_in_words(release: Release, knowledge: Path | None, folder: Path, signer: str) -> str:
    """What changed since this person signed last: of each recommendation the parts, then every entry."""
    mine = [each for each in release.signed.signatures if each.signer.name == signer]
    if not mine:
        return f"{signer} has signed nothing here that counts, so everything is new."
    last = max(mine, key=lambda each: each.signed)
    lines = [f"Since {signer} signed last, on {last.signed} ({last.name}):"]
    found = since_signed(release, folder, signer)
    lines += [f"  {id_}: {'; '.join(each.parts)}" for id_, each in sorted(found.items())]
    new = sorted(release.digests.recommendations.keys() - {id_ for each in mine for id_ in each.covers})
    if last.role == CLINICAL:
        lines += [f"  {id_}: never signed" for id_ in new]
    if len(lines) == 1:
        lines.append("  no recommendation has other content.")
    changes = changes_since(last, folder, knowledge or PACKAGED)
    lines.append("The folder as it was then is not kept." if changes is None else changes_as_text(changes))
    return "\n".join(lines)


class Verified(NamedTuple):
    """What became of one file of signatures or revocations, and of what governance says of the answers."""

    file: str
    counts: bool
    words: str

    def __str__(self) -> str:
        return f"{'ok' if self.counts else 'refused':8} {self.file}: {self.words}"


def verified(release: Release, found_behaviour: str = "") -> Iterator[Verified]:
    """Every file, and where the behaviour is known whether it is the one that governance signed."""
    refused = {each.file for each in release.refused}
    for signature in release.signed.signatures:
        file = f"{SIGNATURES}/{signature.name}.json"
        if file not in refused:
            days = f"from {signature.effective_from}, to be read again by {signature.review_by}"
            yield Verified(file, True, f"{signature.role}, {signature.in_words}, {days}")
    for revocation in release.signed.revocations:
        yield Verified(f"{REVOCATIONS}/{revocation.name}.json", True, f"{revocation.signer.name}, {revocation.why}")
    yield from (Verified(each.file, False, each.reason) for each in release.refused)
    if found_behaviour:
        for signature in release.released:
            same = signature.behaviour == found_behaviour
            yield Verified(f"behaviour of {signature.name}", same, found_behaviour)


def status_as_text(release: Release, standings: Standings) -> str:
    """How many are in each state, then a line for each recommendation."""
    counted = ", ".join(f"{count} {state}" for state, count in standings.counts().items())
    head = [f"{release.knowledge.id} {standings.version}: {counted}"]
    head += [f"content  {standings.digest}"]
    if standings.governance:
        head.append(f"released {standings.governance.in_words}")
    if standings.earliest_review:
        head.append(f"review   by {standings.earliest_review}")
    width = max(map(len, standings.by_id))
    rows = [
        f"{each.state:<14}  {each.id:<{width}}  "
        + (each.why or "; ".join(f"{one.role} {one.in_words}" for one in each.signatures))
        for each in standings.by_id.values()
    ]
    return "\n".join([*head, "", *(row.rstrip() for row in rows)])


def status_as_json(standings: Standings) -> dict[str, Any]:
    """The same for programs."""
    return {
        **standings.described(),
        "recommendations": [
            {"id": each.id, "state": each.state, "digest": each.digest, **({"lacks": each.why} if each.why else {})}
            for each in standings.by_id.values()
        ],
    }


def closure_of(release: Release, id_: str) -> dict[str, Any]:
    """What a signature of a recommendation covers: its digest, and each part with its digest and content.

    Raises NotSignedError where there is none of this id.
    """
    found = next((each for each in release.knowledge.every_recommendation() if each.id == id_), None)
    if found is None:
        raise NotSignedError(f"There is no recommendation {id_}.")
    content = release.digests.content_of(found)
    parts = {name: {"digest": digest, "content": content[name]} for name, digest in release.digests.closure(found)}
    return {"id": id_, "digest": release.digests.recommendations[id_], "parts": parts}


def closure_as_text(closure: Mapping[str, Any]) -> str:
    """The digest, then a line for each part."""
    lines = [f"{closure['id']}  {closure['digest']}", ""]
    lines += [f"{part['digest'][:15]}  {part_in_words(name)}" for name, part in closure["parts"].items()]
    return "\n".join([*lines, "", f"{len(closure['parts'])} parts; an edit of any of them needs a new signature."])
