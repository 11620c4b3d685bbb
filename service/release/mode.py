"""Live or silent mode: a silent call is read, assessed and recorded like any other, and its answer says nothing.

So a site looks at what would be advised before anybody sees it. One client may be live while the others are silent, as
on a pilot ward.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from service.settings import MODES

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
