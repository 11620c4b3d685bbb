// Cards as an EHR shows them. Specification: CDS Service Response.
import { h } from "./dom.js";
import { link, sections } from "./markdown.js";

const WORDS = { critical: "Critical", warning: "Warning", info: "Information" };
const SIGNS = { critical: "!!", warning: "!", info: "i" };
const OPEN_AT_FIRST = 2;

/** One card. `done` says what became of it; `act` has accept(card, suggestion), dismiss(card, reason, comment) and, where an
 * app can be launched, launch(link). */
export function card(entry, done, act) {
  const id = `card-${entry.uuid}`;
  const indicator = entry.indicator in WORDS ? entry.indicator : "info";
  const head = [
    h("p", { class: "indicator" }, h("span", { class: "sign", "aria-hidden": "true" }, SIGNS[indicator]), WORDS[indicator]),
    h("h3", { id }, entry.summary),
  ];
  const from = h("p", { class: "source" }, "From ", entry.source.url ? link(entry.source.label, entry.source.url) : entry.source.label);
  if (done?.dismissed) {
    return h("article", { class: `card ${indicator} done`, "aria-labelledby": id }, head, h("p", { class: "outcome" }, `Dismissed: ${done.dismissed}. The service was told.`));
  }
  return h(
    "article",
    { class: `card ${indicator}`, "aria-labelledby": id, tabindex: "-1", "data-topic": entry.source.topic?.code },
    head,
    suggestions(entry, done, act),
    entry.detail ? detail(entry.detail) : false,
    entry.links?.length
      ? h("ul", { class: "links" }, entry.links.map((each) => h("li", {}, linkOf(each, act))))
      : false,
    h("footer", {}, from, dismissal(entry, act)),
  );
}

function linkOf(entry, act) {
  if (entry.type === "absolute") return link(entry.label, entry.url);
  if (!act.launch) return `${entry.label} (opens in the EHR)`;
  return h("button", { type: "button", class: "small launch", onclick: () => act.launch(entry) }, entry.label);
}

function suggestions(entry, done, act) {
  if (!entry.suggestions?.length) return false;
  const taken = done?.accepted ?? [];
  const single = entry.selectionBehavior === "at-most-one";
  return h(
    "div",
    { class: "suggestions" },
    single && !taken.length ? h("p", { class: "quiet" }, "Choose one:") : false,
    entry.suggestions.map((each) => {
      if (taken.includes(each.uuid)) return h("p", { class: "outcome" }, `Accepted: ${each.label}`);
      if (single && taken.length) return false;
      return h(
        "button",
        { type: "button", id: `take-${each.uuid}`, class: each.isRecommended ? "take first" : "take", onclick: () => act.accept(entry, each) },
        h("span", {}, each.label),
        each.isRecommended ? h("span", { class: "tag" }, "recommended") : false,
      );
    }),
    taken.length && act.drafts() ? h("button", { type: "button", id: `sign-${entry.uuid}`, class: "primary", onclick: act.sign }, `Sign ${act.drafts()} draft${act.drafts() > 1 ? "s" : ""}`) : false,
  );
}

function detail(text) {
  const parts = sections(text);
  return h(
    "div",
    { class: "detail" },
    parts.map(({ heading, blocks }, place) =>
      place === 0 || !heading ? [heading ? h("h4", {}, heading) : false, blocks] : h("details", { open: place < OPEN_AT_FIRST }, h("summary", {}, heading), blocks),
    ),
  );
}

function dismissal(entry, act) {
  const name = `why-${entry.uuid}`;
  const comment = h("input", { id: `${name}-comment`, type: "text", maxlength: 200, autocomplete: "off" });
  const missing = h("p", { class: "problem", role: "alert", hidden: true }, "Choose a reason, or say it in your own words.");
  const reasons = (entry.overrideReasons ?? []).map((reason, place) => {
    const id = `${name}-${place}`;
    return h("div", { class: "choice" }, h("input", { type: "radio", id, name, value: reason.code }), h("label", { for: id }, reason.display ?? reason.code));
  });
  return h(
    "details",
    { class: "dismiss" },
    h("summary", { id: `dismiss-${entry.uuid}` }, "Dismiss"),
    h(
      "div",
      {},
      h("fieldset", { onchange: () => { missing.hidden = true; } }, h("legend", {}, "Why is it dismissed?"), reasons),
      h("label", { for: comment.id }, "In your own words (optional)"),
      comment,
      missing,
      h("button", {
        type: "button",
        onclick: (event) => {
          const chosen = event.target.closest(".dismiss").querySelector(`input[name="${name}"]:checked`)?.value;
          missing.hidden = Boolean(chosen || comment.value.trim());
          if (missing.hidden) act.dismiss(entry, entry.overrideReasons?.find((each) => each.code === chosen), comment.value.trim());
        },
      }, "Dismiss this card"),
    ),
  );
}
