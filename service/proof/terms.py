"""Propositional terms, each once: a number stands for a term, the negative number for what is not so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ctypes import c_int
from typing import Any

import z3

TRUE, FALSE = 1, -1


class Terms:
    """Variables and what is made of them by and; or and not follow from it."""

    def __init__(self) -> None:
        # Of each term its name, or its parts.
        self._made: list[str | tuple[int, ...]] = ["", "true"]
        self._number: dict[str | tuple[int, ...], int] = {}
        self._written: dict[int, z3.BoolRef] = {TRUE: z3.BoolVal(True), FALSE: z3.BoolVal(False)}
        self._sums: dict[tuple[Any, ...], z3.BoolRef] = {}

    def variable(self, name: str) -> int:
        """What may be so or not."""
        return self._term(name)

    def both(self, parts: Iterable[int]) -> int:
        """All of these."""
        found = {*parts} - {TRUE}
        if FALSE in found or any(-part in found for part in found):
            return FALSE
        if len(found) < 2:
            return found.pop() if found else TRUE
        return self._term(tuple(sorted(found)))

    def either(self, parts: Iterable[int]) -> int:
        """Any of these."""
        return -self.both(-part for part in parts)

    def implies(self, first: int, second: int) -> int:
        """The second, where the first is so."""
        return -self.both((first, -second))

    def at_most_one(self, parts: Sequence[int]) -> int:
        """No two of these."""
        return self.both(-self.both((one, other)) for number, one in enumerate(parts) for other in parts[number + 1 :])

    def _term(self, made: str | tuple[int, ...]) -> int:
        if made not in self._number:
            self._number[made] = len(self._made)
            self._made.append(made)
        return self._number[made]

    def written(self, term: int) -> z3.BoolRef:
        """A term as the solver reads it."""
        if term in self._written:
            return self._written[term]
        # Parts come before what is made of them, so that no chain of terms is too long.
        waiting = [abs(term)]
        while waiting:
            number = waiting[-1]
            made = self._made[number]
            parts = () if isinstance(made, str) else made
            if missing := [abs(part) for part in parts if abs(part) not in self._written]:
                waiting += missing
                continue
            waiting.pop()
            self._written[number] = z3.Bool(made) if isinstance(made, str) else self._all([*map(self._signed, parts)])
        return self._signed(term)

    def at_least(self, parts: Sequence[tuple[int, int]], bound: int) -> z3.BoolRef:
        """Whether the points of those parts that are so come to this, as the solver reads it; a part is a term and its
        points. What many charts share is written once.
        """
        made = (*parts, bound)
        if made not in self._sums:
            context, points = z3.main_ctx(), (c_int * len(parts))(*(points for _term, points in parts))
            asts = self._asts([self.written(term) for term, _points in parts])
            self._sums[made] = z3.BoolRef(z3.Z3_mk_pbge(context.ref(), len(parts), asts, points, bound), context)
        return self._sums[made]

    def _all(self, parts: Sequence[z3.BoolRef]) -> z3.BoolRef:
        # By the function below z3.And, which looks at the sort of every part: there are hundreds of thousands.
        context = z3.main_ctx()
        return z3.BoolRef(z3.Z3_mk_and(context.ref(), len(parts), self._asts(parts)), context)

    @staticmethod
    def _asts(parts: Sequence[z3.BoolRef]) -> Any:
        return (z3.Ast * len(parts))(*(part.as_ast() for part in parts))

    def _signed(self, term: int) -> z3.BoolRef:
        if term not in self._written:
            self._written[term] = z3.Not(self._written[-term])
        return self._written[term]

    def model_reader(self, model: z3.ModelRef) -> Callable[[int], bool]:
        """Whether a term is so in a model; what the model leaves open is as good one way as the other."""
        context = model.ctx.ref()

        # By the functions below those of the model, which make an object of every value: thousands are read of a chart.
        def stated(name: str) -> bool:
            variable = self._written.get(self._number[name])
            if variable is None:
                # A variable that the solver has never read is open.
                return False
            declared = z3.Z3_get_app_decl(context, variable.as_ast())
            value = z3.Z3_model_get_const_interp(context, model.model, declared)
            return bool(value.value) and z3.Z3_get_bool_value(context, value) == z3.Z3_L_TRUE

        return self.reader(stated)

    def reader(self, stated: Callable[[str], bool]) -> Callable[[int], bool]:
        """Whether a term is so, by whether each variable is."""
        known: dict[int, bool] = {TRUE: True}

        def read(term: int) -> bool:
            number = abs(term)
            is_so = known.get(number)
            if is_so is None:
                made = self._made[number]
                if isinstance(made, str):
                    is_so = stated(made)
                else:
                    is_so = True
                    for part in made:
                        if not read(part):
                            is_so = False
                            break
                known[number] = is_so
            return is_so is (term > 0)

        return read
