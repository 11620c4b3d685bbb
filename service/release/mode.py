"""Live or silent mode: a silent call is read, assessed and recorded like any other, and its answer says nothing.

So a site looks at what would be advised before anybody sees it. One client may be live while the others are silent, as
on a pilot ward.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType

from service.release.muting import NOTHING, Muted
from service.release.states import DRAFT, Release, Standings
from service.settings import MODES, REFUSE, SHOW, Settings, SettingsError

LIVE, SILENT = MODES
# How readiness calls it where one client is live and another silent.
MIXED = "mixed"
# The member of discovery that says it.
RELEASE_KEY = "org.sitbone.release"


class Modes:
    """The mode of each client: its own where it has one, otherwise that of the site."""

    def __init__(self, of_site: str = LIVE, of_clients: Mapping[str, str] = MappingProxyType({})) -> None:
        self._of_site, self._of_clients = of_site, of_clients

    def of(self, client: str | None) -> str:
        """The mode of the calls of this client, None where nobody needs an entry among the clients."""
        return self._of_clients.get(client or "", self._of_site)

    def overall(self) -> str:
        """The mode of all clients, or MIXED."""
        found = {*self._of_clients.values()} if self._of_clients else {self._of_site}
        return found.pop() if len(found) == 1 else MIXED


ALL_LIVE = Modes()


class Muting:
    """What is not said at a time: what is suspended, what the site has set silent, and what it does with drafts.

    Raises SettingsError where clients may call and it is not said what drafts do, where they are refused and there is
    one, and where what is set silent does not exist.
    """

    def __init__(
        self, settings: Settings, release: Release, now: datetime, suspended: Callable[[], Muted] = lambda: NOTHING
    ) -> None:
        if settings.draft is None and settings.clients is not None:
            raise SettingsError(
                "SITBONE_DRAFT must say what draft knowledge does where SITBONE_CLIENTS names who may call: show (cards"
                " say that it is a draft), silent (it is assessed and recorded, and not said) or refuse (the service"
                " does not start)."
            )
        self._release, self._suspended, self._shows_drafts = release, suspended, settings.draft in (None, SHOW)
        self._set_silent, known = (
            frozenset(settings.silent or ()),
            {each.id for each in release.knowledge.every_recommendation()},
        )
        if unknown := sorted(self._set_silent - known):
            raise SettingsError(f"SITBONE_SILENT names {unknown[0]}, which is no recommendation of this knowledge.")
        self._made: tuple[Muted, object, Muted] | None = None
        standings = release.at(now)
        drafts = _drafts(standings)
        if settings.draft == REFUSE and drafts:
            example = min(drafts)
            why = standings.by_id[example].why
            raise SettingsError(
                f"SITBONE_DRAFT is refuse, and {len(drafts)} recommendations are drafts, such as {example}: {why}."
            )

    def at(self, now: datetime) -> Muted:
        """What a call at this time does not say."""
        suspended = self._suspended()
        if self._shows_drafts and not self._set_silent:
            return suspended
        standings = self._release.at(now, frozenset(suspended.suspended))
        # Of two threads at once both come to the same.
        if self._made is None or self._made[0] is not suspended or self._made[1] is not standings:
            silent = self._set_silent | (frozenset() if self._shows_drafts else _drafts(standings))
            spoken = {each.id for each in self._release.knowledge.recommendations} - silent
            self._made = (suspended, standings, replace(suspended, silent=silent, nothing_live=not spoken))
        return self._made[2]


def _drafts(standings: Standings) -> frozenset[str]:
    return frozenset(id_ for id_, each in standings.by_id.items() if each.state == DRAFT)
