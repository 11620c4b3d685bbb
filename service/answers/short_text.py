"""The card that is read in five seconds: what to do, because of what, what has to wait, what to ask.

It has so many words at most, all cards of an answer together too, and no sentence stands on two of them. What is never
cut stands on it even so: each red flag with its action, what speaks against a treatment, what is left out of one, which
medicine is given where it says with what care or that another is not, and what is missing or could not be read. Of the
rest, questions are cut first, then lines that are not urgent, then reasons.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from service.answers.card_lines import CardLines, Line, Saying, is_named
from service.answers.content import Content
from service.answers.status_line import status_line
from service.knowledge_model.model import Knowledge
from service.release.states import Standings

# Up to how many words there is room: for what to do beside the holds, and for medicines with it; for both and the
# holds; with questions; with reasons and the safety net; for a whole card, without the line that says what knowledge it
# is; and for all cards of an answer.
_DO = 60
_MEDICINES = 75
_DO_AND_HOLD = 85
_WITH_QUESTIONS = 90
_WITH_REASONS = 110
_LONGEST = 120
_OF_AN_ANSWER = 200
_ASKED = 2
_REASONS = 6
LONGEST_SUMMARY = 139


class ShortText:
    """Writes the cards of one answer, one after the other; `sayings` has what each recommendation says, by its id."""

    def __init__(
        self, knowledge: Knowledge, lines: CardLines, standings: Standings, sayings: Mapping[str, Saying]
    ) -> None:
        self.knowledge, self.lines, self.words, self.standings = knowledge, lines, knowledge.wording, standings
        self.sayings = sayings
        self._said: set[str] = set()
        self._left = _OF_AN_ANSWER
        # The words of the card that is being written.
        self._written = 0

    def summary(self, content: Content) -> str:
        """What, why, where, by when: below 140 characters."""
        return next(text for text in self.lines.summaries(content) if len(text) <= LONGEST_SUMMARY)

    def detail(self, content: Content, summary: str) -> str:
        """GitHub Flavored Markdown; `summary` is that of the card: what it names is not said again."""
        self._written, needed, against = 0, dict[str, list[str]](), [summary]
        waiting, of_medicines = list[tuple[Line, bool]](), 0
        # Red flags come first, then what is said in the order in which it is written.
        places: dict[str, tuple[bool, int]] = {}
        sayings = [self.sayings[fired.recommendation.id] for fired in content.fired]
        # Whoever reads with what care a medicine is given, or that one is not, asks which one is.
        medicines = frozenset[str]().union(*[saying.medicines for saying in sayings])
        which = not medicines.isdisjoint(chain.from_iterable([saying.leads_to for saying in sayings]))
        for number, (fired, saying) in enumerate(zip(content.fired, sayings, strict=True)):
            label = "hold" if saying.holds else "care" if saying.cares else "do"
            speaks_against = saying.holds or saying.warns
            for place, line in enumerate(self.lines.do(content, fired, saying.do, summary)):
                places.setdefault(line.sentence, (number > 0 and not fired.recommendation.red_flag, len(places)))
                is_medicine = bool(saying.medicines)
                if speaks_against or number == 0 or (place == 0 and saying.begins) or (which and is_medicine):
                    of_medicines += line.words if is_medicine else 0
                    self._add(needed, label, line)
                    against += [line.text] if speaks_against else []
                else:
                    waiting.append((line, is_medicine))
        if content.beyond:
            orders = self.lines.all_of(content.beyond)
            self._add(needed, "do", Line.of(self.words.say("also_order", orders=orders)))
        cause = self.lines.causes() if content.causes else ""
        if cause and cause.lower() not in summary.lower():
            self._add(needed, "because", Line.of(cause))
        for note in content.notes:
            self._add(needed, "because", Line.of(note))
        for check in content.checks:
            self._add(needed, "check", Line.of(check))
        for label in ("care", "hold"):
            lines = needed.get(label, [])
            needed[label] = list(_together(lines))
            self._written += _words(needed[label]) - _words(lines)
        beyond = _words(needed["hold"]) + of_medicines
        net = list(self._safety_net(content))
        of_net = _words(net)
        self._left -= of_net
        self._add_waiting(needed, waiting, beyond, min(_DO_AND_HOLD + of_medicines, _LONGEST - of_net, self._left))
        do = needed.setdefault("do", [])
        do.sort(key=lambda line: places.get(line, (True, len(places))))
        do += needed["care"]
        self._add_reasons(needed, content, ". ".join(against), min(_WITH_REASONS - of_net, self._left))
        self._add_questions(needed, content, min(_WITH_QUESTIONS, _LONGEST - of_net, self._left))
        self._left = max(0, self._left - self._written)
        headings = self.words.headings
        labels = ("do", "because", "hold", "ask_short", "check")
        written = [f"**{headings[label]}** {' '.join(needed[label])}" for label in labels if needed.get(label)]
        status = status_line(self.knowledge, self.standings, [fired.recommendation for fired in content.fired])
        return "\n\n".join([*written, *net, status])

    def _add(self, lines: dict[str, list[str]], label: str, line: Line) -> None:
        if line.text not in self._said:
            self._said.add(line.text)
            self._written += _cost(lines, label, line)
            lines.setdefault(label, []).append(line.sentence)

    def _add_waiting(
        self, lines: dict[str, list[str]], waiting: Iterable[tuple[Line, bool]], beyond: int, room: int
    ) -> None:
        """What to do as far as there is room, each line with whether it offers a medicine. `beyond`: the words of what
        has to wait and of medicines that have to be named, which take no room of what may be done instead.
        """
        full = False
        for line, is_medicine in waiting:
            of_kind = _MEDICINES if is_medicine else _DO
            if self._written + _cost(lines, "do", line) > min(of_kind + beyond, room):
                # No medicine is offered in place of one before it that had no room.
                full |= is_medicine
            elif not (full and is_medicine):
                self._add(lines, "do", line)

    def _add_reasons(self, lines: dict[str, list[str]], content: Content, said: str, room: int) -> None:
        if self._written >= room:
            return
        reasons = self.lines.reasons(content, said)
        for at_most in range(_REASONS, 0, -1):
            because = Line.of(self.lines.because(reasons, at_most))
            if because.text and self._written + _cost(lines, "because", because) <= room:
                self._add(lines, "because", because)
                return

    def _add_questions(self, lines: dict[str, list[str]], content: Content, room: int) -> None:
        for asked in content.asks[:_ASKED]:
            question = Line.of((asked.short or self.knowledge.short_of(asked.finding)) + "?")
            if self._written + _cost(lines, "ask_short", question) <= room:
                self._add(lines, "ask_short", question)

    def _safety_net(self, content: Content) -> Iterator[str]:
        """Once, and only where the patient may go home with this card, which none about an order or a date says."""
        sentence = self.words.sentences["safety_net_short"]
        urgent = any(fired.indicator != "info" for fired in (content.fired[0], *self.lines.assessment.fired))
        of_a_thing = content.about or content.topic == self.knowledge.engine.topics["appointment"]
        if not (urgent or of_a_thing or sentence in self._said):
            self._said.add(sentence)
            yield f"**{self.words.headings['safety_net']}** {sentence}"


def _cost(lines: Mapping[str, Sequence[str]], label: str, line: Line) -> int:
    """The words that this line adds; a label is one of its own, and stands there once."""
    return line.words + (label not in lines)


def _together(lines: Sequence[str]) -> Iterator[str]:
    """What must not be given, or given with care, said once, with all that speaks against it."""
    reasons: dict[str, list[str]] = {}
    for line in lines:
        what, _, reason = line.removesuffix(".").partition(": ")
        reasons.setdefault(what, []).append(reason)
    for what, against in reasons.items():
        each = list(dict.fromkeys(chain.from_iterable(reason.split("; ") for reason in against)))
        # One that stands within another is said by it.
        named = (any(is_named(one, other) for other in each if other != one) for one in each)
        said = "; ".join(one for one, is_said in zip(each, named, strict=True) if one and not is_said)
        yield f"{what}: {said}." if said else f"{what}."


def _words(lines: Iterable[str]) -> int:
    return sum([len(line.split()) for line in lines])
