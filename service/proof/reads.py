"""What a verdict is made of: the way from it, through conditions and criteria, to the ranking of causes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

from service.reasoning.kernel import Kernel


class Reads:
    """What a place is made of."""

    def __init__(self, kernel: Kernel) -> None:
        self.operations = {operation.place: operation.of for stage in kernel.stages for operation in stage}
        self.name = {place: atom.finding for atom, places in kernel.atoms.items() for place in places}
        self.criterion = {place: name for name, node in kernel.criteria.items() for place in (node.true, node.false)}
        self.causes = {f"considers-{cause}" for cause in kernel.considered}
        # What a stage makes of its charts stands on what it was made of.
        stages = {**kernel.red_flags, **kernel.plan}
        self.operations |= {
            place: (stages[atom.finding],)
            for atom, places in kernel.atoms.items()
            if atom.finding in stages
            for place in places
        }

    def path(self, place: int) -> tuple[str, ...]:
        """The criteria on the shortest way from here to a cause that leads, and that; empty where there is none."""
        came_from = {place: place}
        waiting = deque([place])
        while waiting:
            here = waiting.popleft()
            if self.name.get(here) in self.causes:
                return tuple(dict.fromkeys(reversed([*self._back(here, came_from)])))
            for part in self.operations.get(here, ()):
                if part not in came_from:
                    came_from[part] = here
                    waiting.append(part)
        return ()

    def _back(self, place: int, came_from: Mapping[int, int]) -> Iterator[str]:
        while True:
            if name := self.name.get(place) or self.criterion.get(place):
                yield name
            if place == came_from[place]:
                return
            place = came_from[place]
