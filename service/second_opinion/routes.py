"""`/app`: launch, callback, the page, and the public keys of the apps.

Every page may be framed by the origins of its own client alone, is kept by no cache, and tells no other page where it
was. Nothing that a browser sends is ever where a browser is sent to.
Specification: SMART App Launch 2.2.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit
from uuid import UUID, uuid4, uuid5

import msgspec
from flask import Blueprint, Response, g, request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import RequestEntityTooLarge

from cds_hooks.errors import CdsHooksError, PreconditionFailed
from cds_hooks.request import HookRequest
from cds_hooks.trust.signing import key_set
from service.access.clients import Client
from service.access.smart_app import ORDER
from service.audit import PageStep
from service.features.resources import bundle, reader_of
from service.pages.templates import templates_in
from service.prefetch_keys import kind_of
from service.second_opinion import refusals, sealing
from service.second_opinion.answers import NO, SIDES, About, Item, Vocabulary
from service.second_opinion.drafting import may_draft, proposals
from service.second_opinion.opinion import Group, Opinion, Opinions, with_answers
from service.second_opinion.refusals import Refused, Why
from service.second_opinion.saving import Saved, Saver, creatable, kind_to_save
from service.second_opinion.sealing import LaunchState, Seal, Session
from service.second_opinion.smart import Access, SmartClient
from service.second_opinion.view import Answering, View
from service.why_address import APP, LAUNCH_PATH

_HERE = Path(__file__).parent
_LOG = logging.getLogger("sitbone")
# Of this host alone, by its name: browsers take it from https only, and no other host can set it.
COOKIE = "__Host-app"
_LARGEST_FORM = 200_000
# In seconds: a token that ends sooner is renewed before the chart is read with it.
_SOON = 30.0
# For so many seconds what a FHIR server says it creates is not asked for again.
_KEPT = 600.0
_UNAUTHORIZED = "refused: 401"
_DRAFTED = re.compile(rf"{ORDER}(/[A-Za-z0-9.-]{{1,256}})?")
_TYPES = {"css": "text/css", "js": "text/javascript"}


class FirstUse(Protocol):
    """See service.access.store.Store.first_use."""

    def __call__(self, issuer: str, jti: str, expires: float) -> bool: ...


@dataclass(frozen=True, slots=True)
class Setting:
    """Where the app stands. `base_url` is the public one; `clock` gives seconds since 1970; `first_use` says whether
    what is used once was; `belongs_to` counts a request as one of a client; `waiting` see Place.elsewhere."""

    base_url: str
    keys: tuple[str, ...]
    clock: Callable[[], float]
    first_use: FirstUse
    belongs_to: Callable[[str], None]
    correlation_id: Callable[[], str]
    # What is told of each step; None where there is no audit trail.
    keep: Callable[[PageStep], None] | None = None
    # Whether a page hands on what was read, as FHIR.
    features: bool = False


class _Page(msgspec.Struct, frozen=True):
    """What a page says of where it stands; see Answering."""

    answers: dict[str, str] = {}
    side: str = ""
    shown: list[tuple[int, list[str]]] = []
    asked: list[str] = []
    enough: bool = False
    kept: dict[str, str] = {}
    saves: int = 0
    attempt: int = 0
    drafted: dict[str, str] = {}
    drafts: int = 0


_PAGE = msgspec.json.Decoder(_Page)


def create_blueprint(clients: Mapping[str, Client], opinions: Opinions, setting: Setting) -> Blueprint:
    """The routes of all clients that have an app."""
    app = _App(clients, opinions, setting)
    blueprint = Blueprint("second_opinion", __name__)
    files = {path.name: path.read_bytes() for path in _HERE.iterdir() if path.suffix in (".css", ".js")}
    styles = [_HERE.parent / "pages" / name for name in ("style.css", "why.css", "insights.css")]
    files["app.css"] = b"".join(path.read_bytes() for path in styles) + files["app.css"]
    keys = key_set(*(key for smart in app.smart.values() for key in smart.app.keys))

    blueprint.get(LAUNCH_PATH)(app.launch)
    blueprint.get(f"{APP}/callback/<name>")(app.called_back)
    blueprint.post(f"{APP}/callback/<name>")(app.called_back_with_secret)
    blueprint.post(f"{APP}/opinion")(app.answered)

    @blueprint.get(f"{APP}/files/<name>")
    def file(name: str) -> Response:
        if name not in files:
            raise Refused(refusals.NOT_A_LAUNCH)
        return Response(files[name], mimetype=_TYPES[name.rpartition(".")[2]])

    @blueprint.get(f"{APP}/jwks.json")
    def published_keys() -> Response:
        return Response(msgspec.json.encode(keys), content_type="application/json")

    @blueprint.errorhandler(Refused)
    def refused(problem: Refused) -> Response:
        return app.message(problem.why, problem.note, problem.missing)

    @blueprint.errorhandler(RequestEntityTooLarge)
    def too_large(_problem: RequestEntityTooLarge) -> Response:
        return app.message(refusals.NOT_UNDERSTOOD)

    @blueprint.errorhandler(CdsHooksError)
    def unavailable(problem: CdsHooksError) -> Response:
        response = app.message(Why(type(problem).__name__, problem.status, "This cannot be done now", _BUSY))
        response.headers.update(problem.headers)
        return response

    @blueprint.after_request
    def guard(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = app.policy()
        response.headers["Cache-Control"] = "no-store"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return blueprint


_BUSY = "The service is busy, or something that it needs is away. Try again in a few seconds."


class _App:
    """What the routes share."""

    def __init__(self, clients: Mapping[str, Client], opinions: Opinions, setting: Setting) -> None:
        self._setting, self._opinions = setting, opinions
        self._seal = Seal(setting.keys, setting.clock)
        self._vocabulary = Vocabulary(opinions.knowledge)
        self._view = View(opinions, self._vocabulary)
        self.smart = {
            name: SmartClient(client, f"{setting.base_url}{APP}/callback/{name}", setting.clock)
            for name, client in clients.items()
            if client.app is not None
        }
        self._creatable: dict[str, tuple[float, frozenset[str]]] = {}
        self._base_path = urlsplit(setting.base_url).path
        self._by_issuer = {smart.app.iss: smart for smart in self.smart.values()}
        self._templates = templates_in(_HERE)
        self._reader = reader_of(opinions.knowledge)

    # -- launch -------------------------------------------------------------------------------------------------------

    def launch(self) -> Response:
        """The EHR opens the app: on to its authorization server. Specification: Launch App: EHR Launch."""
        iss, launch = _single(request.args, "iss"), _single(request.args, "launch")
        if iss is None or launch is None or not iss or not launch:
            raise Refused(refusals.NOT_A_LAUNCH)
        smart = self._by_issuer.get(iss.removesuffix("/"))
        if smart is None:
            raise Refused(refusals.UNKNOWN_ISSUER)
        self._is_for(smart)
        known = request.cookies.get(COOKIE, "")
        again = {"iss": iss, "launch": launch}
        if not sealing.is_secret(known) and "cookie" not in request.args:
            # Whether this browser keeps a cookie here is seen when it comes back with it.
            response = _sent_on(f"{self._setting.base_url}{LAUNCH_PATH}?{urlencode({**again, 'cookie': 'set'})}")
            response.set_cookie(
                COOKIE, sealing.new_secret(), secure=True, httponly=True, samesite="None", path="/", partitioned=True
            )
            return response
        secret = known if sealing.is_secret(known) else sealing.new_secret()
        verifier, nonce = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
        state = LaunchState(
            secrets.token_urlsafe(24), smart.name, smart.app.iss, verifier, nonce, sealing.owner_of(secret)
        )
        sealed = self._seal.close(state)
        to = smart.authorization_url(launch, sealed, verifier, nonce)
        self._log("launch", smart)
        if known == secret:
            return _sent_on(to)
        window = f"{self._setting.base_url}{LAUNCH_PATH}?{urlencode(again)}"
        return self._shown(
            "hand_over.html", key=_stored_under(sealed), secret=secret, next=to, answer=None, window=window
        )

    # -- callback -----------------------------------------------------------------------------------------------------

    def called_back(self, name: str) -> Response:
        """The authorization server answers. Specification: Obtain authorization code; Obtain access token."""
        state, smart = self._launched(name, request.args)
        secret = request.cookies.get(COOKIE, "")
        if not sealing.belongs_to(state, secret):
            if secret:
                raise Refused(refusals.NO_SECRET)
            answer = {name: _single(request.args, name) or "" for name in ("code", "state", "iss")}
            answer["action"] = f"{self._base_path}{APP}/callback/{name}"
            key = _stored_under(answer["state"])
            return self._shown("hand_over.html", key=key, secret="", next="", answer=answer, window="")
        return self._redeemed(state, smart, request.args, key="")

    def called_back_with_secret(self, name: str) -> Response:
        """The same from a browser that keeps no cookie, with the secret out of its storage."""
        form = self._form()
        state, smart = self._launched(name, form)
        if not sealing.belongs_to(state, _single(form, "secret") or ""):
            raise Refused(refusals.NO_SECRET)
        return self._redeemed(state, smart, form, key=_stored_under(_single(form, "state") or ""))

    def _launched(self, name: str, given: MultiDict[str, str]) -> tuple[LaunchState, SmartClient]:
        """The launch that a callback of this client answers. Raises Refused."""
        smart = self.smart.get(name)
        if smart is None:
            raise Refused(refusals.UNKNOWN_ISSUER)
        self._is_for(smart)
        if "error" in given:
            raise Refused(refusals.DENIED)
        sealed = _single(given, "state")
        state = self._seal.open(LaunchState, sealed) if sealed else None
        if state is None or not _single(given, "code"):
            raise Refused(refusals.OLD_LINK)
        if state.client != name or state.iss != smart.app.iss:
            raise Refused(refusals.OTHER_CLIENT)
        return state, smart

    def _redeemed(self, state: LaunchState, smart: SmartClient, given: MultiDict[str, str], *, key: str) -> Response:
        """The first page, for a code. Raises Refused."""
        issuer = _single(given, "iss")
        if issuer and not smart.is_issuer(issuer):
            raise Refused(refusals.OTHER_CLIENT)
        now = self._setting.clock()
        if not self._setting.first_use(f"{APP}/state", state.id, now + sealing.LAUNCH):
            raise Refused(refusals.USED_LINK)
        with g.place.elsewhere():
            access = smart.redeem(_single(given, "code") or "", state.verifier, state.nonce)
        if not access.patient:
            raise Refused(refusals.NO_PATIENT)
        session = Session(
            client=smart.name,
            iss=smart.app.iss,
            access_token=access.token,
            refresh_token=access.refresh_token,
            scope=access.scope,
            patient=access.patient,
            encounter=access.encounter,
            user=access.user,
            page=str(uuid4()),
            owner=state.owner,
            ends=now + sealing.SESSION,
            token_ends=access.ends,
        )
        self._log("opened", smart)
        session, chart = self._chart(session, smart, Answering({}))
        first = Answering({}, shown=self._opinions.groups(chart, ()))
        self._keep("shown", session, chart, first)
        return self._page(session, chart, chart, None, first, key=key)

    # -- the page -----------------------------------------------------------------------------------------------------

    def answered(self) -> Response:
        """An answer, or another button of the page."""
        form = self._form()
        session = self._seal.open(Session, _single(form, "session") or "")
        smart = self.smart.get(session.client) if session else None
        at = self._read_page(_single(form, "answering") or "")
        if session is None or smart is None or session.iss != smart.app.iss:
            raise Refused(refusals.ENDED, self._view.note(None, at))
        self._is_for(smart)
        secret = request.cookies.get(COOKIE) or _single(form, "secret") or ""
        if not sealing.belongs_to(session, secret):
            raise Refused(refusals.NO_SECRET)
        do = _single(form, "do") or ""
        if do == "done":
            with g.place.elsewhere():
                smart.revoke(session.refresh_token or session.access_token)
            return self.message(Why("done", 200, "Done", "This page can be closed. Nothing of it is kept here."))
        key = _single(form, "key") or ""
        session, chart = self._chart(session, smart, at)
        then, next_screen = self._done(do, form, at, chart)
        opinion = self._with(chart, session, then)
        if do == "features" and self._setting.features:
            return self._handed_on(session, opinion, then)
        if then.answers != at.answers or then.side != at.side:
            self._keep("answered", session, opinion, then)
        saved = drafted = None
        if do == "save" and then.answers != then.kept:
            saved, then = self._save(session, smart, opinion, then)
        elif do.startswith("draft:"):
            drafted, then = self._draft(session, smart, opinion, then, do.removeprefix("draft:"))
        before = self._with(chart, session, at) if then.answers != at.answers or then.side != at.side else None
        if next_screen:
            asked = then.asked | {item.finding for group in then.shown for item in self._opinions.items(chart, group)}
            but = asked | {item.finding for item in then.answers}
            then = then._replace(asked=asked, shown=self._opinions.groups(opinion, but))
        return self._page(session, chart, opinion, before, then, key=key, saved=saved, drafted=drafted)

    def _save(
        self, session: Session, smart: SmartClient, opinion: Opinion, at: Answering
    ) -> tuple[Saved | None, Answering]:
        """Save the answers in the EHR: what came of it, and where the page stands then."""
        kind = self._kind(session, smart)
        if not kind:
            return None, at
        about = self._about(session, opinion)._replace(identifier=str(uuid5(UUID(session.page), str(at.saves))))
        note = self._view.note(opinion, at)
        with g.place.elsewhere():
            saver = self._saver(session, smart)
            saved = saver.save(kind, at.answers, at.side, about, note, attempt=at.attempt)
        self._log("saved" if not saved.open_ else "not saved", smart)
        self._keep("saved", session, opinion, at, written=(kind, len(saved.references)))
        if saved.open_:
            return saved, at._replace(attempt=at.attempt + 1)
        return saved, at._replace(kept=at.answers, saves=at.saves + 1, attempt=0)

    def _draft(
        self, session: Session, smart: SmartClient, opinion: Opinion, at: Answering, id_: str
    ) -> tuple[Saved | None, Answering]:
        """Put the order of this id into the chart as a draft; nothing where there is none, or it may not be."""
        proposal = next((each for each in proposals(opinion, session) if each.id == id_ and each.resource), None)
        if proposal is None or not self._may_draft(session, smart):
            return None, at
        with g.place.elsewhere():
            drafted = self._saver(session, smart).draft(proposal, attempt=at.drafts)
        self._log("not drafted" if drafted.open_ else "drafted", smart)
        self._keep("drafted", session, opinion, at, written=(ORDER, len(drafted.references)))
        if drafted.open_:
            return drafted, at._replace(drafts=at.drafts + 1)
        return drafted, at._replace(drafted={**at.drafted, id_: drafted.references[0]})

    def _handed_on(self, session: Session, opinion: Opinion, at: Answering) -> Response:
        """What was read from the chart, and the answers, as a file of FHIR."""
        self._keep("features", session, opinion, at)
        read = bundle(opinion.evaluation.case, session.patient, self._reader)
        response = Response(msgspec.json.encode(read), content_type="application/fhir+json")
        response.headers.set("Content-Disposition", "attachment", filename="case-features.json")
        return response

    def _saver(self, session: Session, smart: SmartClient) -> Saver:
        def first(attempt: str) -> bool:
            return self._setting.first_use(f"{APP}/save", attempt, session.ends)

        return Saver(smart, session, self._vocabulary, first)

    def _kind(self, session: Session, smart: SmartClient) -> str:
        """What answers are saved as; empty where they cannot be."""
        return kind_to_save(smart, session.scope, partial(self._declared, smart))

    def _may_draft(self, session: Session, smart: SmartClient) -> bool:
        return may_draft(smart, session.scope, partial(self._declared, smart))

    def _declared(self, smart: SmartClient) -> frozenset[str]:
        """What the FHIR server says it creates."""
        now = time.monotonic()
        known = self._creatable.get(smart.name)
        if known is None or now - known[0] > _KEPT:
            with g.place.elsewhere():
                known = self._creatable[smart.name] = now, creatable(smart)
        return known[1]

    def _done(self, do: str, form: MultiDict[str, str], at: Answering, chart: Opinion) -> tuple[Answering, bool]:
        """Where the page stands after a button was pressed, and whether the next questions are wanted."""
        answers = dict(at.answers)
        for name, text in form.items():
            if name.startswith("value:") and text.strip():
                self._set(answers, name.removeprefix("value:"), text)
        what, _, which = do.partition(":")
        if what == "set" and which:
            key, _, answer = which.rpartition("=")
            self._set(answers, key, answer)
        elif what == "none":
            group = next((group for group in at.shown if str(group.number) == which), None)
            items = self._opinions.items(chart, group) if group else ()
            answers |= {item: NO for item in items if item not in answers}
        side = do.removeprefix("side=") if do.startswith("side=") else at.side
        if side and side not in SIDES:
            raise Refused(refusals.NOT_UNDERSTOOD)
        return at._replace(answers=answers, side=side, enough=at.enough or do == "enough"), do == "next"

    def _set(self, answers: dict[Item, str], key: str, text: str) -> None:
        item = self._vocabulary.item(key)
        value = self._vocabulary.value(item, text) if item else None
        # A number that cannot be is left out: the question stays open.
        if item and value:
            answers[item] = value

    def _with(self, chart: Opinion, session: Session, at: Answering) -> Opinion:
        """The opinion on the chart with these answers."""
        if not at.answers:
            return chart
        form = self._vocabulary.questionnaire_response(at.answers, self._about(session, chart), at.side)
        return self._opinions.of(with_answers(chart.evaluation.request, form))

    def _about(self, session: Session, chart: Opinion) -> About:
        at = chart.evaluation.now.isoformat(timespec="seconds")
        return About(session.patient, session.encounter, session.user, at, session.page)

    def _page(
        self,
        session: Session,
        chart: Opinion,
        opinion: Opinion,
        before: Opinion | None,
        at: Answering,
        *,
        key: str,
        saved: Saved | None = None,
        drafted: Saved | None = None,
    ) -> Response:
        smart = self.smart[session.client]
        page = _Page(
            {item.key: answer for item, answer in at.answers.items()},
            at.side,
            [(group.number, list(group.changes)) for group in at.shown],
            sorted(at.asked),
            at.enough,
            {item.key: answer for item, answer in at.kept.items()},
            at.saves,
            at.attempt,
            dict(at.drafted),
            at.drafts,
        )
        return self._shown(
            "page.html",
            session=self._seal.close(session),
            answering=msgspec.json.encode(page).decode(),
            action=f"{self._base_path}{APP}/opinion",
            key=key,
            hands_on=self._setting.features,
            given_by=session.user,
            given_at=f"{opinion.evaluation.now:%Y-%m-%d %H:%M}",
            **self._view.page(chart, opinion, before, at),
            **self._view.saving(self._kind(session, smart), at, saved),
            **self._view.drafting(
                opinion, proposals(opinion, session), at, drafted, may_draft=self._may_draft(session, smart)
            ),
        )

    def _read_page(self, text: str) -> Answering:
        """Where the page stands, as it says itself. Raises Refused."""
        try:
            page = _PAGE.decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError):
            raise Refused(refusals.NOT_UNDERSTOOD) from None
        answers: dict[Item, str] = {}
        kept: dict[Item, str] = {}
        for found, given in ((answers, page.answers), (kept, page.kept)):
            for key, answer in given.items():
                self._set(found, key, answer)
        known = range(len(self._opinions.knowledge.questions))
        groups = tuple(Group(number, tuple(changes)) for number, changes in page.shown if number in known)
        asked = frozenset(page.asked) & self._opinions.knowledge.findings.keys()
        side = page.side if page.side in SIDES else ""
        drafted = {id_: name for id_, name in page.drafted.items() if _DRAFTED.fullmatch(name)}
        return Answering(
            answers, side, groups[:3], asked, page.enough, kept, page.saves, page.attempt, drafted, page.drafts
        )

    # -- the chart ----------------------------------------------------------------------------------------------------

    def _chart(self, session: Session, smart: SmartClient, at: Answering) -> tuple[Session, Opinion]:
        """The opinion on the chart without the answers of the page, and the session, whose token may be new."""
        note = self._view.note(None, at)
        if session.token_ends - _SOON < self._setting.clock():
            session = self._renewed(session, smart, note)
        received = self._read(session)
        if _is_refused(received):
            session = self._renewed(session, smart, note)
            received = self._read(session)
            if _is_refused(received):
                raise Refused(refusals.ENDED, note)
        try:
            return session, self._opinions.of(received)
        except PreconditionFailed:
            raise Refused(refusals.NO_CHART, note, self._not_read(received)) from None

    def _read(self, session: Session) -> HookRequest:
        left = session.token_ends - self._setting.clock()
        return self._opinions.read(session, left, self._setting.correlation_id())

    def _renewed(self, session: Session, smart: SmartClient, note: str) -> Session:
        """The session with new access to the same chart. Raises Refused."""
        if not session.refresh_token:
            raise Refused(refusals.ENDED, note)
        try:
            with g.place.elsewhere():
                access: Access = smart.refresh(session.refresh_token)
        except Refused:
            raise Refused(refusals.ENDED, note) from None
        if access.patient not in ("", session.patient):
            raise Refused(refusals.ENDED, note)
        return msgspec.structs.replace(
            session,
            access_token=access.token,
            refresh_token=access.refresh_token or session.refresh_token,
            scope=access.scope or session.scope,
            token_ends=access.ends,
        )

    def _not_read(self, received: HookRequest) -> tuple[str, ...]:
        """The kinds of data that did not come."""
        lacking = (key for key, value in received.prefetch.items() if not value.resources and value.note)
        words = self._opinions.knowledge.wording.data
        return tuple(dict.fromkeys(words.get(kind_of(key), kind_of(key).capitalize()) for key in lacking))

    # -- every response -----------------------------------------------------------------------------------------------

    def message(self, why: Why, note: str = "", missing: Sequence[str] = ()) -> Response:
        """A page that says why there is no other."""
        self._log(why.name, g.get("smart"))
        response = self._shown(
            "message.html", title=why.title, advice=why.advice, note=note, missing=missing, window=""
        )
        response.status_code = why.status
        return response

    def policy(self) -> str:
        """What a browser may do with the page: load from here, send to here, be framed by its client."""
        smart: SmartClient | None = g.get("smart")
        frames = " ".join(smart.app.frame_origins if smart else ()) or "'none'"
        return (
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
            f"form-action 'self'; frame-ancestors {frames}"
        )

    def _shown(self, template: str, **members: Any) -> Response:
        files = f"{self._base_path}{APP}/files"
        text = self._templates.get_template(template).render(files=files, **members)
        return Response(text, content_type="text/html; charset=utf-8")

    def _is_for(self, smart: SmartClient) -> None:
        """From here on the request is one of this client."""
        g.smart = smart
        self._setting.belongs_to(smart.name)

    def _form(self) -> MultiDict[str, str]:
        """What the page sent."""
        request.max_content_length = request.max_form_memory_size = _LARGEST_FORM
        if request.mimetype != "application/x-www-form-urlencoded":
            raise Refused(refusals.NOT_UNDERSTOOD)
        return request.form

    def _keep(
        self, step: str, session: Session, opinion: Opinion, at: Answering, *, written: tuple[str, int] = ("", 0)
    ) -> None:
        """Tell the audit trail of a step; `written`: the type of what was written, and how many are in the chart."""
        if self._setting.keep is not None:
            self._setting.keep(
                PageStep(
                    step=step,
                    correlation_id=self._setting.correlation_id(),
                    client=session.client,
                    patient_id=session.patient,
                    page=session.page,
                    answered=opinion.answered,
                    answers=len(at.answers),
                    written_as=written[0],
                    written=written[1],
                )
            )

    def _log(self, step: str, smart: SmartClient | None) -> None:
        """A line of what was done, without anything that a browser or a server sent."""
        # Not the correlation id: a caller may have put anything there.
        members = {"step": step, "client": smart.name if smart else None}
        _LOG.info("second opinion", extra={"members": members})


def _sent_on(url: str) -> Response:
    return Response(status=302, headers={"Location": url})


def _single(given: MultiDict[str, str], name: str) -> str | None:
    """The one value of this name; None where there is none, or more than one."""
    values = given.getlist(name)
    return values[0] if len(values) == 1 else None


def _stored_under(state: str) -> str:
    """The name under which the secret lies in the storage of a browser that keeps no cookie."""
    return sha256(state.encode("utf-8", "replace")).hexdigest()[:32]


def _is_refused(received: HookRequest) -> bool:
    """Whether the FHIR server does not take the token any more."""
    patient = received.prefetch.get("patient")
    return patient is not None and _UNAUTHORIZED in patient.note
