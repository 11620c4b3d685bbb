"""The card that is read in five seconds: what to do, because of what, what has to wait, what to ask.

It has so many words at most, all cards of an answer together too, and no sentence stands on two of them. What is never
cut stands on it even so: each red flag with its action, what speaks against a treatment, what is left out of one, what
is missing or could not be read. Of the rest, questions are cut first, then lines that are not urgent, then reasons.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from service.answers.card_lines import CardLines, Line, Saying, is_named
from service.answers.content import Content
from service.answers.status_line import status_line
from service.knowledge_model.model import Knowledge
from service.release.states import Standings

# In words, without the line that says what knowledge it is.
OF_A_CARD = 80
_WITH_REASONS = 110
_WITHOUT_REASONS = 60
OF_AN_ANSWER = 200
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
        self._left = OF_AN_ANSWER
        # The words of the card that is being written.
        self._written = 0

    def summary(self, content: Content) -> str:
        """What, why, where, by when: below 140 characters."""
        return next(text for text in self.lines.summaries(content) if len(text) <= LONGEST_SUMMARY)

    def detail(self, content: Content, summary: str) -> str:
        """GitHub Flavored Markdown; `summary` is that of the card: what it names is not said again."""
        self._written, needed, against = 0, dict[str, list[str]](), [summary]
        waiting: list[tuple[Line, bool]] = []
        # Red flags come first, then what is said in the order in which it is written.
        places: dict[str, tuple[bool, int]] = {}
        for number, fired in enumerate(content.fired):
            saying = self.sayings[fired.recommendation.id]
            label, speaks_against = "hold" if saying.holds else "do", saying.holds or saying.warns
            for place, line in enumerate(self.lines.do(content, fired, saying.do, summary)):
                places.setdefault(line.sentence, (number > 0 and not fired.recommendation.red_flag, len(places)))
                if speaks_against or number == 0 or (place == 0 and saying.begins):
                    self._add(needed, label, line)
                    against += [line.text] if speaks_against else []
                else:
                    waiting.append((line, saying.offers_a_medicine))
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
        holds = needed.get("hold", [])
        needed["hold"] = list(_together(holds))
        of_holds = _words(needed["hold"])
        self._written += of_holds - _words(holds)
        net = list(self._safety_net(content))
        of_net = _words(net)
        self._left -= of_net
        room = min(OF_A_CARD, self._left)
        full = False
        for line, is_medicine in waiting:
            # What has to wait takes no room of what may be done instead.
            if self._written + line.words > min(_WITHOUT_REASONS + of_holds, room):
                # No medicine is offered in place of one before it that had no room.
                full |= is_medicine
            elif not (full and is_medicine):
                self._add(needed, "do", line)
        needed.get("do", []).sort(key=lambda line: places.get(line, (True, len(places))))
        self._add_reasons(needed, content, ". ".join(against), min(_WITH_REASONS - of_net, self._left))
        self._add_questions(needed, content, room)
        self._left = max(0, self._left - self._written)
        headings = self.words.headings
        labels = ("do", "because", "hold", "ask_short", "check")
        written = [f"**{headings[label]}** {' '.join(needed[label])}" for label in labels if needed.get(label)]
        status = status_line(self.knowledge, self.standings, [fired.recommendation for fired in content.fired])
        return "\n\n".join([*written, *net, status])

    def _add(self, lines: dict[str, list[str]], label: str, line: Line) -> None:
        if line.text not in self._said:
            self._said.add(line.text)
            lines.setdefault(label, []).append(line.sentence)
            self._written += line.words

    def _add_reasons(self, lines: dict[str, list[str]], content: Content, said: str, room: int) -> None:
        if self._written >= room:
            return
        reasons = self.lines.reasons(content, said)
        for at_most in range(_REASONS, 0, -1):
            because = Line.of(self.lines.because(reasons, at_most))
            if because.text and self._written + because.words <= room:
                self._add(lines, "because", because)
                return

    def _add_questions(self, lines: dict[str, list[str]], content: Content, room: int) -> None:
        for asked in content.asks[:_ASKED]:
            question = Line.of((asked.short or self.knowledge.short_of(asked.finding)) + "?")
            if self._written + question.words <= room:
                self._add(lines, "ask_short", question)

    def _safety_net(self, content: Content) -> Iterator[str]:
        """Once, and only where the patient may go home with this card, which none about an order or a date says."""
        sentence = self.words.sentences["safety_net_short"]
        urgent = any(fired.indicator != "info" for fired in (content.fired[0], *self.lines.assessment.fired))
        of_a_thing = content.about or content.topic == self.knowledge.engine.topics["appointment"]
        if not (urgent or of_a_thing or sentence in self._said):
            self._said.add(sentence)
            yield f"**{self.words.headings['safety_net']}** {sentence}"


def _together(lines: Iterable[str]) -> Iterator[str]:
    """What must not be given said once, with all that speaks against it."""
    reasons: dict[str, list[str]] = {}
    for line in lines:
        what, _, reason = line.removesuffix(".").partition(": ")
        reasons.setdefault(what, []).append(reason)
    for what, against in reasons.items():
        # One that stands within another is said by it.
        others = [(reason, [other for other in against if other != reason]) for reason in dict.fromkeys(against)]
        said = "; ".join(r for r, rest in others if r and not any(is_named(r, other) for other in rest))
        yield f"{what}: {said}." if said else f"{what}."


def _words(lines: Iterable[str]) -> int:
    return sum([len(line.split()) for line in lines])
