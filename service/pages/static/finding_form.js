// The form that changes any finding: present, absent or unknown, its side, its date.
import { today, whenOf } from "./ehr.js";
import { byId, fill, h } from "./dom.js";

const KINDS = {
  symptom: "Symptoms", history: "History", exam: "Examination", test: "Tests", result: "Results", measurement: "Measurements",
  diagnosis: "Diagnoses", risk: "Risks", medication: "Medications", allergy: "Allergies",
};
// An order that is not there and an allergy that is not listed say nothing by themselves.
const NEVER_ABSENT = ["medication", "allergy"];

/** A form in `place`. `document(id, said)` is called with what was documented; returns what opens it for a finding. */
export function findingForm(place, ehr, document) {
  const search = h("input", { type: "search", id: "finding-search", autocomplete: "off", placeholder: "numbness, bruising", oninput: () => list() });
  const found = h("div", { id: "finding-list" });
  const form = h("div", { id: "finding-form" });
  fill(place, h("label", { for: "finding-search" }, "Find a finding"), search, found, form);

  function list() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = words.length ? ehr.vocabulary.findings.filter(({ title, id }) => words.every((word) => `${title} ${id}`.toLowerCase().includes(word))) : [];
    fill(form);
    fill(found, words.length && !fits.length ? h("p", { class: "quiet" }, "No finding of that name.") : false,
      Object.entries(KINDS).map(([kind, label]) => {
        const of = fits.filter((each) => each.kind === kind);
        return of.length ? [h("h3", {}, label), h("ul", { class: "rows" }, of.map((each) => h("li", {}, h("button", { type: "button", id: `find-${each.id}`, onclick: () => open(each.id) }, each.title))))] : false;
      }));
  }

  function open(id, resource) {
    const finding = ehr.byId.get(id);
    const stated = resource ?? ehr.stating(id)[0];
    const held = stated ? (stated.resourceType === "Observation" ? ehr.stateOf(stated) : { state: "present" }) : { state: "unknown" };
    const measured = finding.value !== "boolean";
    const side = h("select", { id: "finding-side" }, ["", "left", "right", "bilateral"].map((each) => h("option", { value: each, selected: (stated ? ehr.sideOf(stated) : commonSide()) === each }, each || "no side")));
    const date = h("input", { type: "date", id: "finding-date", max: today(), value: (stated && whenOf(stated)) || today() });
    const value = h("input", { type: finding.value === "date" ? "date" : "number", step: "any", id: "finding-value", value: measured && held.text ? (finding.value === "date" ? held.text : (Number.parseFloat(held.text) || "")) : "" });
    const states = (measured ? [] : NEVER_ABSENT.includes(finding.kind) ? ["present", "unknown"] : ["present", "absent", "unknown"]).map((each) =>
      h("span", { class: "choice" }, h("input", { type: "radio", name: "finding-state", id: `state-${each}`, value: each, checked: held.state === each }), h("label", { for: `state-${each}` }, each === "unknown" && NEVER_ABSENT.includes(finding.kind) ? "not recorded" : each)));
    search.value = "";
    fill(found);
    fill(form,
      h("h3", { id: "finding-name", tabindex: "-1" }, finding.title),
      measured
        ? [h("label", { for: "finding-value" }, finding.value === "date" ? "Date" : `Value in ${finding.unit}`), value, h("p", { class: "quiet" }, "Empty: unknown.")]
        : h("fieldset", { class: "states" }, h("legend", { class: "hidden" }, finding.title), states),
      finding.sided ? [h("label", { for: "finding-side" }, "Side"), side] : false,
      h("label", { for: "finding-date" }, "Documented on"), date,
      h("div", { class: "buttons" },
        h("button", {
          type: "button", id: "finding-set", class: "primary",
          onclick: () => {
            const state = measured ? "value" : (form.querySelector("input[name=finding-state]:checked")?.value ?? "unknown");
            document(id, { state, side: finding.sided ? side.value : "", date: date.value || today(), value: value.value });
            fill(form);
          },
        }, "Put it into the chart"),
        h("button", { type: "button", onclick: () => fill(form) }, "Cancel")));
    byId("finding-name").focus();
  }

  /** The side that most of the chart is about. */
  function commonSide() {
    const sides = ehr.of("Observation", "Condition").map((each) => ehr.sideOf(each)).filter(Boolean);
    return sides.sort((one, other) => sides.filter((each) => each === other).length - sides.filter((each) => each === one).length)[0] ?? "";
  }

  return { open, commonSide };
}
