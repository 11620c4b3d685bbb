// The chart as a clinician reads it.
import { age, asList, nameOf, reference, today, whenOf } from "./ehr.js";
import { h } from "./dom.js";

const MARKS = { present: "●", absent: "○", unknown: "?", value: "–" };

/** The whole chart. `act` has change(finding id), sign(), order(key, side), medicine(coding), book(date), drop(reference). */
export function chart(ehr, act, about, data) {
  if (ehr.server) return [elsewhere(ehr, data), drafts(ehr, act), appointment(ehr, act)];
  const observed = ehr.of("Observation");
  const placed = ehr.of("ServiceRequest", "Procedure", "ImagingStudy", "DiagnosticReport", "CommunicationRequest", "Appointment");
  return [
    banner(ehr, about),
    section("Problems", "problems", ehr.of("Condition").map((each) => finding(ehr, act, each, status(each))), "None on the list"),
    section("Findings", "findings", [...observed].sort(byState(ehr)).map((each) => finding(ehr, act, each)), "None documented"),
    ehr.of("QuestionnaireResponse").length ? section("Answers to forms", "forms", ehr.of("QuestionnaireResponse").flatMap(answers), "") : false,
    section("Medications", "medications", ehr.of("MedicationRequest", "MedicationStatement").map((each) => row(nameOf(each.medicationCodeableConcept), each.status, whenOf(each))), "None recorded"),
    section("Allergies", "allergies", ehr.of("AllergyIntolerance").map((each) => row(nameOf(each.code), status(each), whenOf(each))), "None recorded"),
    section("Orders and results", "orders", placed.map((each) => row(titleOf(ehr, each), each.status, whenOf(each))), "None yet"),
    drafts(ehr, act),
    appointment(ehr, act),
  ];
}

function banner(ehr, about) {
  const { gender, birthDate } = ehr.patient;
  const sex = gender ?? "sex not recorded";
  const who = birthDate ? [`${sex}, ${age(birthDate)} years, `, h("span", { class: "unbroken" }, `born ${birthDate}`)] : [`${sex}, age not recorded`];
  return h("div", { class: "banner" },
    h("p", {}, h("strong", {}, about ? about.title.split(",")[0] : "An empty chart"), who),
    about ? h("p", {}, about.story) : false,
    h("p", { class: "quiet" }, "A made-up patient"));
}

/** A chart that only the service reads: of each kind of data, what became of it. */
function elsewhere(ehr, data) {
  return [
    h("div", { class: "banner" }, h("p", {}, h("strong", {}, `Patient/${ehr.patientId}`)), h("p", { class: "quiet" }, `On ${ehr.server.address}, read by the service`)),
    section("What the service has read", "data", Object.entries(data ?? {}).map(([key, state]) => row(key, state)), "Nothing yet"),
  ];
}

function section(title, id, rows, none) {
  return h("section", { class: rows.length ? "part" : "part none", "aria-labelledby": `part-${id}` }, h("h3", { id: `part-${id}` }, title), rows.length ? h("ul", { class: "rows" }, rows) : h("p", { class: "quiet" }, none));
}

function row(title, ...marks) {
  return h("li", {}, h("span", { class: "what" }, title || "Without a name"), h("span", { class: "marks" }, marks.filter(Boolean).join(" · ")));
}

function finding(ehr, act, resource, said) {
  const ids = ehr.findingsIn(resource);
  const { state, text } = said ? { state: "present", text: said } : ehr.stateOf(resource);
  const title = named(resource.code) || ehr.byId.get(ids[0])?.title || "Without a name";
  const details = [text ?? state, ehr.sideOf(resource), whenOf(resource)].filter(Boolean).join(" · ");
  const inside = [h("span", { class: "mark", "aria-hidden": "true" }, MARKS[state]), h("span", { class: "what" }, title), h("span", { class: "marks" }, details)];
  if (!ids.length) return h("li", { class: state }, inside);
  return h("li", { class: state }, h("button", { type: "button", id: `row-${resource.id}`, title: "Change this finding", onclick: () => act.change(ids[0], resource) }, inside));
}

/** A code without words is shown with its system, as nobody reads it otherwise. */
function named(concept) {
  const [coding] = asList(concept?.coding);
  return concept?.text || coding?.display || !coding?.code ? nameOf(concept) : `${coding.code} (${coding.system?.split("/").at(-1) ?? "no system"})`;
}

const RANK = { present: 0, value: 1, absent: 2, unknown: 3 };
const byState = (ehr) => (one, other) => RANK[ehr.stateOf(one).state] - RANK[ehr.stateOf(other).state];

function status(resource) {
  const word = (concept) => (typeof concept === "string" ? concept : asList(concept?.coding)[0]?.code);
  return [word(resource.clinicalStatus), word(resource.verificationStatus)].filter((each) => each && each !== "confirmed").join(", ") || "recorded";
}

function answers(response) {
  const shown = (answer) => answer.valueCoding?.display ?? answer.valueCoding?.code ?? answer.valueString ?? answer.valueDate ?? answer.valueInteger ?? answer.valueDecimal
    ?? (answer.valueBoolean === undefined ? "no answer" : answer.valueBoolean ? "yes" : "no");
  return asList(response.item).map((item) => row(item.text ?? item.linkId, asList(item.answer).map(shown).join(", ") || "no answer"));
}

function titleOf(ehr, resource) {
  if (resource.resourceType === "Appointment") return `Appointment ${resource.start?.slice(0, 10) ?? ""}`;
  if (resource.resourceType === "CommunicationRequest") return nameOf(asList(resource.category)[0]) || "Message to the patient";
  return ehr.orderName(resource.code) || nameOf(resource.medicationCodeableConcept) || asList(resource.modality)[0]?.display || resource.resourceType;
}

function drafts(ehr, act) {
  const rows = ehr.drafts.map((each) =>
    h("li", {},
      h("span", { class: "what" }, titleOf(ehr, each)),
      h("span", { class: "marks" }, ["draft", each.priority].filter(Boolean).join(" · ")),
      h("button", { type: "button", id: `drop-${each.id}`, class: "small", onclick: () => act.drop(reference(each)) }, "Remove", h("span", { class: "hidden" }, ` ${titleOf(ehr, each)}`))),
  );
  const side = h("select", { id: "order-side" }, ["left", "right", "bilateral", "unspecified"].map((each) => h("option", { value: each }, each)));
  const what = h("select", { id: "order-what" },
    h("optgroup", { label: "Imaging" }, ehr.vocabulary.orders.filter(({ key }) => !key.startsWith("referral")).map(option)),
    h("optgroup", { label: "Referral" }, ehr.vocabulary.orders.filter(({ key }) => key.startsWith("referral")).map(option)),
    h("optgroup", { label: "Medicine" }, ehr.vocabulary.medicines.map(({ code, display }) => h("option", { value: `medicine|${code}` }, display))));
  const add = () => {
    const [kind, code] = what.value.split("|");
    if (kind === "medicine") act.medicine(ehr.vocabulary.medicines.find((each) => each.code === code));
    else act.order(what.value, side.value);
  };
  return h("section", { class: rows.length ? "part drafts" : "part drafts none", "aria-labelledby": "part-drafts" },
    h("h3", { id: "part-drafts" }, "Draft orders"),
    rows.length ? h("ul", { class: "rows" }, rows) : h("p", { class: "quiet" }, "None"),
    rows.length ? h("button", { type: "button", id: "sign", class: "primary", onclick: act.sign }, `Sign ${rows.length} draft${rows.length > 1 ? "s" : ""}`) : false,
    h("details", { id: "order-form" }, h("summary", { id: "order-add" }, "Draft an order"),
      h("div", { class: "form" }, h("label", { for: "order-what" }, "Order"), what, h("label", { for: "order-side" }, "Side"), side, h("button", { type: "button", id: "order-put", onclick: add }, "Add the draft"))));
}

const option = ({ key, title }) => h("option", { value: key }, title);

function appointment(ehr, act) {
  const date = h("input", { type: "date", id: "book-date", min: today(), required: true, value: ehr.appointments[0]?.start?.slice(0, 10) ?? "" });
  return h("section", { class: ehr.appointments.length ? "part" : "part none", "aria-labelledby": "part-appointment" },
    h("h3", { id: "part-appointment" }, "Appointment"),
    ehr.appointments.length ? h("ul", { class: "rows" }, ehr.appointments.map((each) => row(titleOf(ehr, each), each.status))) : h("p", { class: "quiet" }, "None proposed"),
    h("details", { id: "book-form" }, h("summary", { id: "book-add" }, "Propose a day"),
      h("div", { class: "form" }, h("label", { for: "book-date" }, "Day"), date, h("button", { type: "button", id: "book", onclick: () => (date.reportValidity() ? act.book(date.value) : false) }, "Propose this day"))));
}
