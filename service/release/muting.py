"""What of the knowledge is not said in a call: what a site has suspended, and what is silent.

Nothing is muted before the decision: what is muted fires, blocks and holds as ever. Only what it says and orders goes,
where the answer is made (answers/muting.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property


@dataclass(frozen=True)
class Muted:
    """What is muted in one call; of the suspended since when, in UTC.

    suspended: recommendations by id; services: services by the id that discovery has; everything: the whole service;
    silent: recommendations that are not said and not named either, because they are not live yet; nothing_live: whether
    these are all that there are.
    """

    suspended: Mapping[str, datetime] = field(default_factory=dict)
    services: Mapping[str, datetime] = field(default_factory=dict)
    everything: datetime | None = None
    silent: frozenset[str] = frozenset()
    nothing_live: bool = False

    @property
    def answers(self) -> bool:
        """Whether anything is answered at all."""
        return not (self.everything or self.nothing_live)

    @cached_property
    def ids(self) -> frozenset[str]:
        """The recommendations whose words and orders go."""
        return self.silent | self.suspended.keys()

    @property
    def count(self) -> int:
        """How much is suspended."""
        return len(self.suspended) + len(self.services) + (self.everything is not None)


NOTHING = Muted()
# Before the id of a service, where services and recommendations stand in one list.
SERVICE = "service:"
