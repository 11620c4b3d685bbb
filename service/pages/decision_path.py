"""The path of a decision as a picture: an SVG made from the knowledge, in which each recommendation is a link.

Stages stand one below the other in the order in which service.reasoning.assessment takes them. The colours are those of
the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from markupsafe import Markup

from service.knowledge_model.model import Knowledge, Recommendation, in_a_sentence, label
from service.knowledge_model.vocabulary import ADVICE_FACTS

# Pixels of the picture at its own size.
_WIDTH, _ASIDE, _GAP, _COLUMNS = 880, 190, 8, 3
_CHIP = (_WIDTH - _ASIDE - 16 - _GAP * (_COLUMNS - 1)) / _COLUMNS
_LINE, _LABEL, _BETWEEN = 15, 24, 34
# How wide a text may be in a chip, in the column beside and in a stage.
_IN_CHIP, _IN_ASIDE, _IN_STAGE = _CHIP - 18, _ASIDE - 28, _WIDTH - _ASIDE - 16
# The size of style.css, and the widths of letters in it as the widest of the common fonts, DejaVu Sans, has them: the
# reader's is not known.
_SIZE = 12.5
_NARROW, _SLIM, _BROAD = frozenset(" ,.;:'|ijlIJ"), frozenset("frt-()/"), frozenset("mwMW")


class _Chip(NamedTuple):
    target: str
    title: str
    tone: str


class _Group(NamedTuple):
    label: str
    chips: tuple[_Chip, ...]


class _Stage(NamedTuple):
    title: str
    note: str
    groups: tuple[_Group, ...]
    # What is written on the arrow that leads here, and in the stage before its groups.
    arrow: str = ""
    words: str = ""


def decision_path(knowledge: Knowledge) -> Markup:
    """The picture, as an element of a page. Every text of the knowledge in it is escaped."""
    drawn: list[Markup] = []
    top = 1.0
    for number, stage in enumerate(_stages(knowledge), start=1):
        if number > 1:
            drawn.append(_arrow(top, stage.arrow))
            top += _BETWEEN
        inside, height = _drawn(stage, number, top)
        drawn.append(inside)
        top += height
    return Markup(
        '<svg class="path" role="group" aria-label="The path of a decision" viewBox="0 0 {} {:.0f}" width="{}">{}</svg>'
    ).format(_WIDTH, top + 1, _WIDTH, Markup("").join(drawn))


def _stages(knowledge: Knowledge) -> Iterator[_Stage]:
    of_kind = {kind: [r for r in knowledge.recommendations if r.kind == kind] for kind in _KINDS}
    flags = of_kind["red-flag"]
    stops = [r for r in flags if r.indicator == "critical" and r.red_flag and "ranking" in r.red_flag.blocks]
    located = "; ".join(finding.title for finding in knowledge.findings.values() if finding.defines_complaint)
    pattern = knowledge.engine.complaint
    beside = f", or: {in_a_sentence(knowledge.title_of(pattern))}" if pattern else ""
    note = f"One of these findings{beside}. Otherwise there is no card about the chart."
    yield _Stage("Is it this pain?", note, (), words=located)
    yield _Stage(
        "Red flags",
        "All of them are asked, and each that holds is on a card.",
        (
            _Group("Critical, and ranking and plan wait", _chips(stops)),
            _Group("Critical", _chips(r for r in flags if r.indicator == "critical" and r not in stops)),
            _Group("Warning", _chips(r for r in flags if r.indicator != "critical")),
        ),
        "yes",
    )
    ranking = knowledge.differential
    causes = tuple(_Chip("causes", cause.title, "") for cause in knowledge.causes.values())
    yield _Stage(
        "Ranking of causes",
        f"By points. A cause leads with at least {ranking.lead_at_least}, and {ranking.lead_by} more than the next.",
        (_Group("", causes),),
        "unless a critical flag makes it wait",
    )
    yield _Stage("Plan", "What the findings and the causes call for.", (_Group("", _chips(of_kind["plan"])),))
    closing = (_Group("", _chips(of_kind["closing"])),)
    yield _Stage("Closing", "What is said of imaging once it is known what is called for.", closing)
    yield _Stage(
        "Treatment",
        "What is offered, held, or offered with care.",
        tuple(_treatments(of_kind["treatment"], knowledge.engine.treatments)),
    )
    advice = tuple(_Group(label(kind), _chips(of_kind[kind])) for kind in ADVICE_FACTS)
    yield _Stage("Hook context", "A draft order, an appointment or a discharge is held against all of this.", advice)


_KINDS = ("red-flag", "plan", "closing", "treatment", *ADVICE_FACTS)


def _treatments(recommendations: Iterable[Recommendation], treatments: Iterable[str]) -> Iterator[_Group]:
    by_first: dict[str, list[Recommendation]] = {}
    for each in recommendations:
        by_first.setdefault(each.treatment[0].id if each.treatment else "", []).append(each)
    for id_ in (*treatments, ""):
        if id_ in by_first:
            yield _Group(label(id_) if id_ else "More", _chips(by_first[id_]))


def _chips(recommendations: Iterable[Recommendation]) -> tuple[_Chip, ...]:
    return tuple(_Chip(each.id, each.title, each.indicator) for each in recommendations)


# -- drawing ----------------------------------------------------------------------------------------------------------


def _drawn(stage: _Stage, number: int, top: float) -> tuple[Markup, float]:
    """A stage with its upper edge at `top`, and how high it is."""
    parts: list[Markup] = []
    below = top + 10.0
    if stage.words:
        lines = _lines(stage.words, _IN_STAGE)
        parts.append(_text(_ASIDE, top + 26, lines, ""))
        below = top + 26 + len(lines) * _LINE
    for group in stage.groups:
        if group.label:
            parts.append(_text(_ASIDE, below + 13, [group.label], "label"))
            below += _LABEL - 4
        for start in range(0, len(group.chips), _COLUMNS):
            row = [(chip, _lines(chip.title, _IN_CHIP)) for chip in group.chips[start : start + _COLUMNS]]
            tall = max(len(lines) for _of, lines in row) * _LINE + 10
            for column, (chip, lines) in enumerate(row):
                parts.append(_chip(chip, lines, _ASIDE + column * (_CHIP + _GAP), below, tall))
            below += tall + _GAP
        below += 4
    aside = _lines(stage.note, _IN_ASIDE)
    height = max(below - top, 52.0 + len(aside) * _LINE)
    head = _text(14, top + 26, [f"{number}. {stage.title}"], "head") + _text(14, top + 46, aside, "aside")
    frame = Markup('<rect class="stage" x="1" y="{:.1f}" width="{}" height="{:.1f}" rx="8"/>').format(
        top, _WIDTH - 2, height
    )
    return frame + head + Markup("").join(parts), height


def _lines(text: str, width: float) -> list[str]:
    """The words in as few lines as this width takes; a word that is wider has a line of its own."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        lines[-1:] = [longer] if not lines or _width(longer) <= width else [lines[-1], word]
    return lines


def _width(text: str) -> float:
    return _SIZE * sum(map(_share, text))


def _share(letter: str) -> float:
    if letter in _NARROW:
        return 0.34
    if letter in _SLIM:
        return 0.42
    if letter in _BROAD:
        return 0.98
    return 0.78 if letter.isupper() else 0.64


def _chip(chip: _Chip, lines: list[str], left: float, top: float, height: float) -> Markup:
    box = Markup('<rect class="chip {}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{}" rx="5"/>').format(
        chip.tone, left, top, _CHIP, height
    )
    first = top + (height - len(lines) * _LINE) / 2 + 11
    inside = box + _text(left + 9, first, lines, "")
    return Markup('<a href="#{}">{}</a>').format(chip.target, inside) if chip.target else inside


def _text(left: float, top: float, lines: list[str], kind: str) -> Markup:
    spans = Markup("").join(
        Markup('<tspan x="{:.1f}" y="{:.1f}">{}</tspan>').format(left, top + number * _LINE, line + " ")
        for number, line in enumerate(lines)
    )
    return Markup('<text class="{}">{}</text>').format(kind, spans)


def _arrow(top: float, words: str) -> Markup:
    middle = _ASIDE / 2
    line = Markup('<path class="arrow" d="M{0} {1:.1f}V{2:.1f}m-5 -7l5 7l5 -7"/>').format(
        middle, top + 3, top + _BETWEEN - 3
    )
    return line + (_text(middle + 14, top + 21, [words], "aside") if words else Markup(""))
