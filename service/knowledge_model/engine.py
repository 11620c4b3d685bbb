"""What the service is told of one body of knowledge by name (engine.toml), as frozen objects.

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
    right; radiograph_at_hand: the criterion under which no imaging waits for a radiograph; recent_injury, child: those
    under which no draft is only taken away; results: the findings that imaging shows, history where they are older than
    this episode; asked_for_by: what it is asked for by, in groups, of which the first that is documented tells when the
    episode began where no onset does.
    """

    recent: str
    regions_of_complaint: frozenset[str]
    other_regions: frozenset[str]
    shown_on_both_sides: frozenset[str]
    radiograph_at_hand: str
    recent_injury: str
    child: str
    shown_by: tuple[ShownBy, ...]
    results: frozenset[str]
    asked_for_by: tuple[frozenset[str], ...]


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
class Derived:
    """What follows from findings, each by its name.

    days_since: of which date; count_of: of how many tests, or other findings, that are present; on_both_sides,
    on_either_side: findings that are also present by others, of which on the left and on the right, or by which one;
    on_the_other_side: those that are present where one of these is on the other side and none of them on this one.
    """

    days_since: Mapping[str, str]
    count_of: Mapping[str, tuple[str, ...]]
    on_both_sides: Mapping[str, tuple[str, ...]]
    on_either_side: Mapping[str, str]
    on_the_other_side: Mapping[str, tuple[str, ...]]

    @property
    def quantities(self) -> frozenset[str]:
        """The names that are no finding."""
        return frozenset((*self.days_since, *self.count_of))

    def behind(self, name: str) -> tuple[str, ...]:
        """The findings that a quantity is derived from; none for any other name."""
        if name in self.days_since:
            return (self.days_since[name],)
        return self.count_of.get(name, ())

    def made_of(self, name: str) -> tuple[str, ...]:
        """The findings that this one, or a quantity, also follows from."""
        either = (self.on_either_side[name],) if name in self.on_either_side else ()
        return (*self.behind(name), *self.on_both_sides.get(name, ()), *self.on_the_other_side.get(name, ()), *either)


@dataclass(frozen=True, slots=True)
class Engine:
    """The roles of one body of knowledge: services, topics, imaging, medicines by their names in forms.EngineFile.

    complaint: the criterion that is the complaint, besides the findings that locate it; onset: the date when it began;
    body_words: the words for where it is, as they stand beside a side; order_words: parts of the words of its orders;
    red_flags: their ids; blocks: what one can make wait besides the ranking; at_discharge: what the recommendations of
    a discharge read, and of which red flag; emergency: the referral by which an emergency is seen.
    """

    complaint: str
    onset: str
    body_words: tuple[str, ...]
    order_words: tuple[str, ...]
    derived: Derived
    red_flags: tuple[str, ...]
    blocks: tuple[str, ...]
    at_discharge: Mapping[str, str]
    treatments: tuple[str, ...]
    services: Mapping[str, Presented]
    topics: Mapping[str, str]
    imaging: ImagingRoles
    medicines: Mapping[str, JudgedMedicine]
    emergency: str

    @property
    def after_red_flags(self) -> tuple[str, ...]:
        """What the red flags make of a chart for what follows them."""
        return ("critical-red-flag", *(f"{block}-red-flag" for block in self.blocks), "insufficient-data")

    def thresholds(self) -> frozenset[str]:
        """The numbers that have a role."""
        return frozenset((self.imaging.recent, *(medicine.low_dose for medicine in self.medicines.values())))

    def names(self) -> frozenset[str]:
        """The findings and criteria that have a role."""
        shown = (each.finding for each in self.imaging.shown_by)
        medicines = (medicine.finding for medicine in self.medicines.values())
        imaging = self.imaging
        criteria = (self.complaint, imaging.radiograph_at_hand, imaging.recent_injury, imaging.child)
        derived = self.derived
        sides = (
            name for of in (derived.on_both_sides, derived.on_the_other_side) for names in of.values() for name in names
        )
        return frozenset(
            (*shown, *medicines, *criteria, *sides, *derived.on_either_side.values(), *imaging.results)
        ) - {""}
