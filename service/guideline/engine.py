"""What the service is told of one knowledge by name (engine.toml), as frozen objects.

The code knows the roles; which finding, topic, number or region has a role is knowledge. An optional role that nothing
has is an empty name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Presented:
    """How discovery presents a service."""

    title: str
    description: str


@dataclass(frozen=True, slots=True)
class ShownBy:
    """A finding that is the result of imaging, and which imaging it may be of."""

    finding: str
    modalities: frozenset[str]
    regions: frozenset[str]


@dataclass(frozen=True, slots=True)
class ImagingRoles:
    """What is judged of imaging orders.

    recent: the number of days that imaging counts as done not long ago; regions_of_complaint: what the pain is imaged
    by; other_regions: what is judged besides; shown_on_both_sides: the regions of which a radiograph shows left and
    right; recent_injury, child: the criteria under which no draft is only taken away.
    """

    recent: str
    regions_of_complaint: frozenset[str]
    other_regions: frozenset[str]
    shown_on_both_sides: frozenset[str]
    recent_injury: str
    child: str
    shown_by: tuple[ShownBy, ...]


@dataclass(frozen=True, slots=True)
class JudgedMedicine:
    """A medicine whose orders are judged.

    finding: that it is in use; treatment: the one whose reasons are about it; order: the medicine of orders.toml that
    is proposed in place of another; low_dose: the number up to which it does not count as an NSAID.
    """

    finding: str
    treatment: str
    order: str
    low_dose: str


@dataclass(frozen=True, slots=True)
class Engine:
    """The roles of one knowledge: services, topics, imaging, medicines by their names in forms.EngineFile.

    emergency: the referral by which an emergency is seen.
    """

    services: Mapping[str, Presented]
    topics: Mapping[str, str]
    imaging: ImagingRoles
    medicines: Mapping[str, JudgedMedicine]
    emergency: str

    def thresholds(self) -> frozenset[str]:
        """The numbers that have a role."""
        return frozenset((self.imaging.recent, *(medicine.low_dose for medicine in self.medicines.values())))

    def names(self) -> frozenset[str]:
        """The findings and criteria that have a role."""
        shown = (each.finding for each in self.imaging.shown_by)
        medicines = (medicine.finding for medicine in self.medicines.values())
        return frozenset((*shown, *medicines, self.imaging.recent_injury, self.imaging.child)) - {""}
