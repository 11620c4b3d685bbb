"""What a run found, as a page for people: counts with intervals, plots and their tables, no script, no patient.

It is for those who decide whether a recommendation is switched on. A number of patients that is smaller than the site
allows is not shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from service import pages
from service.knowledge_model.model import Knowledge
from service.knowledge_model.vocabulary import CHART_KINDS, INDICATORS
from service.pages.plots import Row, bars
from service.pages.templates import templates_in
from service.population.assessing import AGE_BANDS, DATA_TYPES
from service.population.run import REPORT_FILE
from service.population.summary import NO_TIER, Summary, shown
from service.proportions import wilson

_HERE, _PAGES = Path(__file__).parent, Path(pages.__file__).parent
# So many rows can be told apart in a plot.
_PLOTTED = 25
_COMPLAINT = ("present", "unknown", "absent")
_STATES = ("supplied", "empty", "incomplete", "missing")
_LEFT_OUT = {
    "other_patient": "resources of another patient",
    "outdated": "findings that are too old",
    "future": "findings of a day to come",
    "unreadable": "findings that could not be read",
}
_FAILED = {
    "too-large": "more resources than are read of one patient",
    "PreconditionFailed": "a chart that a hook would refuse",
}


@dataclass(frozen=True, slots=True)
class Section:
    """A question with its answer: a plot, where there is one, and a table."""

    id: str
    title: str
    tells: str
    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    plot: Markup | None = None
    # How many columns come before those with numbers.
    words: int = 1
    # Whether the colours of the plot are those of tiers.
    of_tiers: bool = False


class _Report:
    """What the template asks of a run."""

    def __init__(self, knowledge: Knowledge, summary: Summary, smallest: int) -> None:
        self.knowledge, self.summary, self.smallest = knowledge, summary, smallest
        self.titles = {each.id: each.title for each in knowledge.every_recommendation()}

    def number(self, count: int | None) -> str:
        """A number of patients as it is shown."""
        if count is None or 0 < count < self.smallest:
            return f"fewer than {self.smallest}" if count is not None else "not shown"
        return f"{count:,}"

    def share(self, count: int | None, of: int) -> str:
        """The share with its interval, where the number is shown."""
        if count is None or 0 < count < self.smallest or not of:
            return "-"
        low, high = wilson(count, of)
        return f"{100 * count / of:.2f} % ({100 * low:.2f} to {100 * high:.2f})"

    def drawn(self, count: int | None) -> int:
        """A number of patients as a bar: what is not shown has none."""
        return 0 if count is None or 0 < count < self.smallest else count

    def drawn_together(self, *of_tiers: Mapping[str, int]) -> int:
        """The sum of what is shown: in its order nothing tells of what is not."""
        return sum(self.drawn(count) for tiers in of_tiers for count in tiers.values())

    def sections(self, *, compared: bool) -> list[Section]:
        """All of the report, in the order in which it is read."""
        found = [self._recommendations(), self._bands(), self._data(), self._complaint(), self._calls(), self._lead()]
        if compared:
            found.insert(1, self._differences())
        return [*found, self._left_out(), self._failures()]

    def _complaint(self) -> Section:
        counts = {name: self.summary.complaint[name] for name in _COMPLAINT}
        if 0 < self.summary.complaint["unknown"] < self.smallest:
            # Together they are no small number, and how many have the pain can be said.
            present = counts["present"]
            counts = {"present": present, "absent or unknown": self.summary.complaint.total() - present}
        pairs = [*zip(counts, shown([*counts.values()], self.smallest), strict=True)]
        return Section(
            "complaint",
            "Whose chart tells of this pain",
            "Unknown: part of the chart is missing or cannot be read, so that nobody can tell.",
            ("complaint", "patients", "share of all, 95 % interval"),
            [(name, self.number(count), self.share(count, self.summary.judged)) for name, count in pairs],
            bars(
                "complaint-plot",
                "Patients by complaint",
                ("patients",),
                [Row(name, (self.drawn(count),)) for name, count in pairs],
                "patients",
            ),
        )

    def _recommendations(self) -> Section:
        by_count = sorted(self.summary.fired.items(), key=lambda item: (-self.drawn_together(item[1]), item[0]))
        plotted = [
            Row(id_, [self.drawn(tiers[tier]) for tier in INDICATORS], of=self.titles.get(id_, ""))
            for id_, tiers in by_count[:_PLOTTED]
            if any(self.drawn(tiers[tier]) for tier in INDICATORS)
        ]
        return Section(
            "recommendations",
            "How often each would be said",
            "Of the patients whose chart could be assessed, each counted once. The recommendations that nobody would "
            "see stand below the table.",
            ("recommendation", "id", "urgency", "patients", "share of all, 95 % interval"),
            [
                (
                    self.titles.get(id_, id_),
                    id_,
                    tier,
                    self.number(tiers[tier]),
                    self.share(tiers[tier], self.summary.judged),
                )
                for id_, tiers in by_count
                for tier in INDICATORS
                if tiers[tier]
            ],
            bars("recommendations-plot", "Patients by recommendation", INDICATORS, plotted, "patients")
            if plotted
            else None,
            words=3,
            of_tiers=True,
        )

    def not_seen(self) -> list[tuple[str, str]]:
        """The recommendations about the chart that would be said to nobody, with their titles."""
        return [
            (each.id, each.title)
            for each in self.knowledge.recommendations
            if each.kind in CHART_KINDS and each.id not in self.summary.fired
        ]

    def _bands(self) -> Section:
        tiers = (*INDICATORS, NO_TIER)
        cells = [self.summary.bands[band][tier] for band in AGE_BANDS for tier in tiers]
        # Only the whole adds up to a number that is known.
        each = iter(shown(cells, self.smallest))
        table, plotted = [], []
        for band in AGE_BANDS:
            counts = [next(each) for _tier in tiers]
            table.append((band, *map(self.number, counts)))
            if any(map(self.drawn, counts[:-1])):
                plotted.append(Row(band, [self.drawn(count) for count in counts[:-1]]))
        return Section(
            "ages",
            "How urgent, by age",
            "Each patient once, by the most urgent recommendation. The plot leaves out those to whom nothing would be "
            "said, and what is not shown.",
            ("age in years", *INDICATORS, "nothing said"),
            table,
            bars("ages-plot", "Patients by age and urgency", INDICATORS, plotted, "patients") if plotted else None,
            of_tiers=True,
        )

    def _data(self) -> Section:
        table, plotted = [], []
        for kind in DATA_TYPES:
            given = [self.summary.data[kind][state] for state in _STATES]
            counts = shown(given, self.smallest)
            words = [*map(self.number, counts)]
            # All but fewer than are shown: that is no secret either.
            nearly = self.summary.judged - self.smallest + 1
            if counts.count(None) == sum(map(bool, given)) == 2 and max(given) >= nearly > 0:
                most = given.index(max(given))
                words[most], counts[most] = f"{nearly:,} or more", nearly
            table.append((kind, *words))
            plotted.append(Row(kind, [self.drawn(count) for count in counts]))
        return Section(
            "data",
            "Who has which data",
            "Empty: exported, and nothing there is of this patient. Missing: not exported. Incomplete: the export says "
            "that it failed. What is missing is unknown, never absent.",
            ("type", *_STATES),
            table,
            bars("data-plot", "Patients by type of resource and what became of it", _STATES, plotted, "patients"),
        )

    def _calls(self) -> Section:
        return self._counted(
            "calls",
            "Imaging and referrals called for",
            "Whether they are ordered or done already is not looked at.",
            "imaging or referral, priority",
            self.summary.calls,
        )

    def _lead(self) -> Section:
        named = {self.knowledge.causes[id_].title: count for id_, count in self.summary.lead.items()}
        return self._counted("lead", "Causes that lead", "With two sides, a patient may count for two.", "cause", named)

    def _left_out(self) -> Section:
        named = {_LEFT_OUT[name]: self.summary.left_out[name] for name in _LEFT_OUT}
        return self._counted(
            "left-out",
            "What was left out of charts",
            "Patients of whom something was in the data and did not count.",
            "left out",
            named,
        )

    def _failures(self) -> Section:
        named = {_FAILED.get(name, name): count for name, count in self.summary.failed.items()}
        # They are few by their nature, and say nothing of anybody.
        rows = [(name, f"{count:,}") for name, count in sorted(named.items())]
        return Section(
            "failed", "Patients that failed", "Nothing is known of what would be said.", ("why", "patients"), rows
        )

    def _counted(self, id_: str, title: str, tells: str, what: str, counts: Mapping[str, int]) -> Section:
        by_count = sorted(
            ((name, count) for name, count in counts.items() if count),
            key=lambda item: (-self.drawn(item[1]), item[0]),
        )
        plotted = [Row(name, (self.drawn(count),)) for name, count in by_count[:_PLOTTED] if self.drawn(count)]
        return Section(
            id_,
            title,
            tells,
            (what, "patients", "share of all, 95 % interval"),
            [(name, self.number(count), self.share(count, self.summary.judged)) for name, count in by_count],
            bars(f"{id_}-plot", title, ("patients",), plotted, "patients") if plotted else None,
        )

    def _differences(self) -> Section:
        lost, new = self.summary.lost, self.summary.new
        rows: list[tuple[str, ...]] = []
        plotted = []
        for id_ in sorted({*lost, *new}, key=lambda id_: (-self.drawn_together(lost[id_], new[id_]), id_)):
            for tier in INDICATORS:
                went, came = lost[id_][tier], new[id_][tier]
                if went or came:
                    rows.append((self.titles.get(id_, id_), id_, tier, self.number(went), self.number(came)))
            counts = [self.drawn_together(found[id_]) for found in (lost, new)]
            if any(counts):
                plotted.append(Row(id_, counts, of=self.titles.get(id_, "")))
        return Section(
            "differences",
            "What differs from the other knowledge",
            f"{self.number(self.summary.changed)} patients differ. Lost: said by the other knowledge alone; new: by "
            "this one alone. What is said at another urgency is lost at the one and new at the other.",
            ("recommendation", "id", "urgency", "lost", "new"),
            rows,
            bars("differences-plot", "Patients by what differs", ("lost", "new"), plotted[:_PLOTTED], "patients")
            if plotted
            else None,
            words=3,
        )


def write_report(folder: Path, knowledge: Knowledge, summary: Summary, said: Mapping[str, Any], smallest: int) -> None:
    """Writes report.html; `said`: what run.json says, `smallest`: the smallest number of patients that is shown."""
    report = _Report(knowledge, summary, smallest)
    style = "".join((_PAGES / name).read_text(encoding="utf-8") for name in ("style.css", "insights.css"))
    page = (
        templates_in(_HERE, _PAGES)
        .get_template("report.html")
        .render(
            title=knowledge.title,
            # A file of the product that holds no word of the knowledge.
            style=Markup(style),  # noqa: S704
            said=said,
            summary=summary,
            report=report,
            sections=report.sections(compared=said["compared"] is not None),
            smallest=smallest,
        )
    )
    (folder / REPORT_FILE).write_text(page, encoding="utf-8")
