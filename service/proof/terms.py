"""Propositional terms, each once: a number stands for a term, the negative number for what is not so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ctypes import c_int
from functools import cache
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
        self._declared: dict[int, Any] = {}
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
        # By the functions below z3.And and z3.Not, which look at the sort of every part: there are a hundred thousand.
        context = z3.main_ctx()
        return z3.BoolRef(z3.Z3_mk_and(context.ref(), len(parts), self._asts(parts)), context)

    @staticmethod
    def _asts(parts: Sequence[z3.BoolRef]) -> Any:
        return (z3.Ast * len(parts))(*(part.as_ast() for part in parts))

    def _signed(self, term: int) -> z3.BoolRef:
        if term not in self._written:
            context = z3.main_ctx()
            self._written[term] = z3.BoolRef(z3.Z3_mk_not(context.ref(), self._written[-term].as_ast()), context)
        return self._written[term]

    def stated_in(self, model: z3.ModelRef) -> Callable[[str], bool]:
        """Whether a variable is so in a model; what the model leaves open is as good one way as the other."""
        context, true = model.ctx.ref(), self._written[TRUE].as_ast().value

        # By the functions below those of the model, which make an object of every value: thousands are read of a chart.
        @cache
        def stated(name: str) -> bool:
            number = self._number[name]
            if number not in self._written:
                # A variable that the solver has never read is open.
                return False
            if number not in self._declared:
                self._declared[number] = z3.Z3_get_app_decl(context, self._written[number].as_ast())
            value: int | None = z3.Z3_model_get_const_interp(context, model.model, self._declared[number]).value
            return bool(value == true)

        return stated

    @property
    def variables(self) -> list[str]:
        """The names of all variables so far."""
        return [made for made in self._made[TRUE + 1 :] if isinstance(made, str)]

    def reader(self, stated: Callable[[str], int], everywhere: int = True) -> Callable[[int], int]:
        """On which charts a term is so, by the charts on which each variable is. A bit stands for a chart: everywhere
        has those of all; of one chart it is whether the term is so.
        """
        # Of a term and of what is not so: most parts of a term are known when it is read.
        known: dict[int, int] = {TRUE: everywhere, FALSE: everywhere ^ everywhere}

        def read(term: int) -> int:
            if term not in known:
                made = self._made[abs(term)]
                if isinstance(made, str):
                    bits = stated(made)
                else:
                    bits = everywhere
                    for part in made:
                        bits &= known[part] if part in known else read(part)
                        if not bits:
                            break
                known[abs(term)], known[-abs(term)] = bits, bits ^ everywhere
            return known[term]

        return read
