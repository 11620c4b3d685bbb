"""What a site has suspended: recommendations, services, or everything. At once, on every worker and host.

A file in the folder of the store, to which lines are only ever added, says what was suspended and what was resumed. A
call looks whether it has grown, which takes two microseconds: so a suspension holds from the next call on, in every
process of the host, and over its end. Hosts that share a database have a table of the same lines; a thread of each
worker copies twice a second what the one has and the other has not. While the database is away, the file goes on.

The lines are a set that only grows: a resumption names the suspensions that it ends, so that it does not matter in
which order hosts learn of them. It is taken only with the signature of somebody who may sign for governance.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from secrets import token_hex
from threading import Lock
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate
from sqlalchemy import Column, Engine, MetaData, String, Table, Text, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from service.access.store import address_of, store_engine
from service.background import Background
from service.database import private_folder, refusing
from service.release.muting import SERVICE, Muted
from service.release.signatures import RefusedError, SignedFile, SignedReader
from service.release.signers import GOVERNANCE, Signers
from service.settings import Settings, SettingsError

FILE = "suspensions.jsonl"
EVERYTHING = "everything"
_SUSPEND, _RESUME = "suspend", "resume"
_LOG = logging.getLogger("sitbone")
# In seconds: how often the database is looked at.
_EVERY = 0.5

_METADATA = MetaData()
# The lines of the file, each by its id.
_LINES = Table(
    "suspensions", _METADATA, Column("id", String(32), primary_key=True), Column("line", Text, nullable=False)
)


@dataclass(frozen=True, slots=True)
class Suspension:
    """What is suspended: the id of a recommendation, `service:` and the id of a service, or `everything`."""

    id: str
    what: str
    at: datetime
    by: str
    reason: str


class ResumptionError(Exception):
    """What was to be resumed stays suspended. The text says why, with the file."""


class _Line(Schema):
    id = fields.String(required=True, validate=validate.Regexp(r"[0-9a-f]{16,32}\Z"))
    event = fields.String(required=True, validate=validate.OneOf([_SUSPEND, _RESUME]))
    at = fields.AwareDateTime(required=True)
    by = fields.String(required=True)
    reason = fields.String(required=True)
    what = fields.String(load_default="")
    resumes = fields.List(fields.String(), load_default=list)
    # The file that was signed and its signature, for whoever asks later.
    signed = fields.String(load_default="")
    signature = fields.String(load_default="")


class _ResumptionFile(Schema):
    role = fields.String(required=True, validate=validate.Equal(GOVERNANCE))
    signer = fields.String(required=True)
    knowledge = fields.String(required=True)
    signed = fields.Date(required=True)
    resumes = fields.List(fields.String(), required=True, validate=validate.Length(min=1))
    statement = fields.String(required=True, validate=validate.Length(min=1))


class Suspensions:
    """The suspensions of a host, and with an `engine` of all that share that database; made before the workers are
    forked, it has neither thread nor connection until `start`.

    Raises SettingsError for a file that cannot be read: what it holds must not be let loose.
    """

    def __init__(self, file: Path, engine: Engine | None = None) -> None:
        self.file, self._engine = file, engine
        self._lock = Lock()
        self._thread = Background("suspensions", self._go_on)
        self._failing = self._unreadable = False
        self._seen: tuple[int, ...] = ()
        self._active: tuple[Suspension, ...] = ()
        self._every: tuple[Suspension, ...] = ()
        self._muted = Muted()
        try:
            self._read(self._stat())
        except (OSError, ValueError) as problem:
            raise SettingsError(f"{file}: {_why(problem)}, and what it suspends must not be let loose.") from None

    def active(self) -> tuple[Suspension, ...]:
        """What is suspended now, the oldest first."""
        self._look()
        return self._active

    def every(self) -> tuple[Suspension, ...]:
        """What was ever suspended, the oldest first."""
        self._look()
        return self._every

    def muted(self) -> Muted:
        """What of it a call that begins now does not say."""
        self._look()
        return self._muted

    def suspend(self, what: Iterable[str], by: str, reason: str, at: datetime) -> bool:
        """Suspend each of these, whatever the state of the database; whether that knows it too."""
        members = {"event": _SUSPEND, "at": at.isoformat(), "by": by, "reason": reason}
        self._add([{"id": token_hex(8), **members, "what": each} for each in what])
        return self._told()

    def resume(self, file: Path, knowledge: str, signers: Signers, at: datetime) -> tuple[tuple[str, ...], bool]:
        """End the suspensions that a signed file names: what is resumed, and whether the database knows it too.

        Raises ResumptionError where the file, its signature or its signer does not entitle to it.
        """
        read = _resumption(file, knowledge, signers, at)
        members = read.members
        active = {each.id: each.what for each in self.active()}
        if unknown := [id_ for id_ in members["resumes"] if id_ not in active]:
            raise ResumptionError(f"{file}: {unknown[0]} is no suspension that stands.")
        line = {"id": token_hex(8), "event": _RESUME, "at": at.isoformat(), "by": read.signer.name}
        line |= {"reason": members["statement"], "resumes": members["resumes"]}
        signed = {"signed": read.content.decode(), "signature": read.signature.decode("ascii", "replace")}
        self._add([{**line, **signed}])
        return tuple(active[id_] for id_ in members["resumes"]), self._told()

    def start(self) -> None:
        """Look at the database from now on; for a worker that begins."""
        if self._engine is not None:
            self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._thread.close()
        if self._engine is not None:
            self._engine.dispose()

    def exchange(self) -> None:
        """Give the database the lines that it lacks, and take those that the file lacks. Raises SQLAlchemyError."""
        if self._engine is None:
            return
        with self._engine.connect() as connection:
            is_there = self._engine.dialect.has_table(connection, _LINES.name)
        if not is_there:
            with suppress(SQLAlchemyError):
                # Another host may be making it at the same moment.
                _METADATA.create_all(self._engine)
        with self._engine.connect() as connection:
            known: Mapping[str, str] = {row.id: row.line for row in connection.execute(select(_LINES))}
        own = dict(self._lines())
        if new := [line for id_, line in known.items() if id_ not in own]:
            self._append(new)
        for id_, line in own.items():
            if id_ not in known:
                with suppress(IntegrityError), self._engine.begin() as connection:
                    connection.execute(insert(_LINES).values(id=id_, line=line))

    def _go_on(self) -> None:
        while True:
            self._told()
            if self._thread.stopping.wait(_EVERY):
                return

    def _told(self) -> bool:
        """Exchange with the database; whether it, if there is one, took part."""
        try:
            self.exchange()
        except SQLAlchemyError as problem:
            if not self._failing:
                _LOG.error("suspensions: the database does not answer, %s", type(problem).__name__)
            self._failing = True
            return False
        except (OSError, ValueError) as problem:
            self._cannot_read(problem)
        self._failing = False
        return True

    def _look(self) -> None:
        """Read the file again where it has changed; while it cannot be read, what was known stays."""
        try:
            found = self._stat()
            if found != self._seen:
                with self._lock:
                    if found != self._seen:
                        self._read(found)
        except (OSError, ValueError) as problem:
            self._cannot_read(problem)

    def _cannot_read(self, problem: Exception) -> None:
        if not self._unreadable:
            _LOG.error("suspensions: the file cannot be read, what is suspended stays so, %s", type(problem).__name__)
        self._unreadable = True

    def _stat(self) -> tuple[int, ...]:
        try:
            found = self.file.stat()
        except FileNotFoundError:
            if self._seen:
                raise
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self, found: tuple[int, ...]) -> None:
        made, ended = {}, set[str]()
        for _id, line in self._lines() if found else ():
            members = _members(line)
            if members["event"] == _SUSPEND:
                kept = ("id", "what", "at", "by", "reason")
                made[members["id"]] = Suspension(**{name: members[name] for name in kept})
            else:
                ended |= {*members["resumes"]}
        self._every = tuple(sorted(made.values(), key=lambda each: each.at))
        self._active = tuple(each for each in self._every if each.id not in ended)
        since: dict[str, datetime] = {}
        for each in self._active:
            since.setdefault(each.what, each.at)
        everything = since.pop(EVERYTHING, None)
        services = {what.removeprefix(SERVICE): at for what, at in since.items() if what.startswith(SERVICE)}
        recommendations = {what: at for what, at in since.items() if not what.startswith(SERVICE)}
        self._muted = Muted(recommendations, services, everything)
        self._seen, self._unreadable = found, False

    def _lines(self) -> list[tuple[str, str]]:
        """The lines of the file, each with its id, once nobody writes one. Raises ValueError for one that is none."""
        try:
            with self.file.open(encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                return _split(file.read())
        except FileNotFoundError:
            return []

    def _add(self, lines: Iterable[Mapping[str, Any]]) -> None:
        self._append([json.dumps(line, ensure_ascii=True, sort_keys=True) for line in lines])

    def _append(self, lines: Iterable[str]) -> None:
        """Add those of these lines that are not there, on the disk; several processes may do so at once."""
        with os.fdopen(os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            known = dict(_split(file.read()))
            file.writelines(f"{line}\n" for line in lines if str(_members(line)["id"]) not in known)
            file.flush()
            os.fsync(file.fileno())


def open_suspensions(settings: Settings) -> Suspensions:
    """What is suspended, in the folder of the store and, where it has one, in its database, which need not answer.

    Raises SettingsError.
    """
    variable, address = address_of(settings)
    with refusing(variable, address):
        folder = private_folder(settings.store, settings.port, "SITBONE_STORE")
        return Suspensions(folder / FILE, store_engine(make_url(address), 1) if address else None)


def to_be_signed(suspensions: Iterable[Suspension], knowledge: str, signer: str, statement: str, day: date) -> str:
    """The file that a person signs to resume these, as text."""
    members = {
        "role": GOVERNANCE,
        "signer": signer,
        "knowledge": knowledge,
        "signed": day.isoformat(),
        "resumes": [each.id for each in suspensions],
        "statement": statement,
    }
    return json.dumps(members, indent=1, ensure_ascii=False) + "\n"


def _resumption(file: Path, knowledge: str, signers: Signers, at: datetime) -> SignedFile:
    """The file, where somebody has signed it who may."""
    try:
        signed = SignedReader(knowledge, signers).file(file, lambda _members: _ResumptionFile)
        signed.must_be_by(GOVERNANCE)
    except RefusedError as refusal:
        raise ResumptionError(f"{file}: {refusal}.") from None
    # The day in the file is the word of whoever has the key; the day on which it resumes is not.
    for day in (signed.members["signed"], at.date()):
        if not signed.signer.is_valid_on(day):
            raise ResumptionError(f"{file}: the key of {signed.signer.name} does not count on {day}.")
    return signed


def _split(text: str) -> list[tuple[str, str]]:
    return [(str(_members(line)["id"]), line) for line in text.splitlines()]


def _members(line: str) -> dict[str, Any]:
    try:
        members: dict[str, Any] = _Line().load(json.loads(line))
    except ValidationError:
        raise ValueError("has a line that is none") from None
    return members


def _why(problem: Exception) -> str:
    return f"cannot be read: {problem.strerror}" if isinstance(problem, OSError) else "has a line that cannot be read"
