// The EHR behind the page: the chart, what a CDS client sends of it, and what the actions of a card do to it. No DOM.
// Specification: Prefetch Template; CDS Service Response, Action; CDS Hooks Library.

export const STEPS = [
  { hook: "patient-view", title: "Open chart" },
  { hook: "encounter-start", title: "Start visit" },
  { hook: "order-select", title: "Select order" },
  { hook: "order-sign", title: "Sign orders" },
  { hook: "appointment-book", title: "Book" },
  { hook: "encounter-discharge", title: "Discharge" },
];
const USER = "Practitioner/4451";
const SCT = "http://snomed.info/sct";
const LATERALITY = { left: ["7771000", "Left"], right: ["24028007", "Right"], bilateral: ["51440002", "Right and left"] };
const STATUS = "http://terminology.hl7.org/CodeSystem/";
const FULL_DATE = /(?<![\d-])\d{4}-\d\d-\d\d(?![\d-])/g;
const DAY = 86_400_000;

/** The day in UTC, as the service counts days. */
export const today = () => new Date().toISOString().slice(0, 10);
export const asList = (value) => (Array.isArray(value) ? value : value ? [value] : []);
export const reference = (resource) => `${resource.resourceType}/${resource.id}`;

/** A JSON value with every full date in it moved by so many days; a month or a year alone stays. */
function moved(value, days) {
  if (typeof value === "string") {
    return value.replace(FULL_DATE, (text) => (Number.isNaN(Date.parse(text)) ? text : dayAfter(text, days)));
  }
  if (Array.isArray(value)) return value.map((each) => moved(each, days));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, moved(inner, days)]));
  }
  return value;
}

export const dayAfter = (day, days) => new Date(Date.parse(day) + days * DAY).toISOString().slice(0, 10);

/** An EHR knows when a thing was documented; examples that say nothing of it were documented today. */
function documented(resource) {
  const date = { Observation: "effectiveDateTime", Condition: "recordedDate" }[resource.resourceType];
  return date && !whenOf(resource) ? { ...resource, [date]: today() } : resource;
}

function resourcesOf(value) {
  if (!value || typeof value !== "object") return [];
  if (Array.isArray(value)) return value.filter((each) => each?.resourceType);
  if (value.resourceType === "Bundle") return (value.entry ?? []).map((entry) => entry.resource).filter(Boolean);
  return value.resourceType && value.resourceType !== "OperationOutcome" ? [value] : [];
}

/** One patient's chart, drafts and appointment. */
export class Ehr {
  /** `base` is the address of this EHR's own FHIR server, from which an app reads the chart; it may be empty. */
  constructor(vocabulary, base) {
    this.vocabulary = vocabulary;
    this.base = base;
    this.byId = new Map(vocabulary.findings.map((finding) => [finding.id, finding]));
    const codings = vocabulary.orders.flatMap(({ sides }) => Object.values(sides)).flatMap(({ code }) => asList(code?.coding));
    this.orderNames = new Map(codings.map(({ system, code, display }) => [`${system}|${code}`, display]));
    this.empty();
  }

  empty() {
    this.patientId = "sitbone-1";
    this.encounterId = "visit-1";
    this.resources = [{ resourceType: "Patient", id: this.patientId, gender: "female", birthDate: `${new Date().getFullYear() - 40}-01-01` }];
    this.drafts = [];
    this.appointments = [];
    this.asSent = {};
    this.sentKeys = null;
    this.touched = new Set();
    this.made = 0;
    this.server = null;
  }

  /** A chart that stays on a FHIR server: the service fetches it. `token` and `encounter` may be empty. */
  connect({ address, patient, encounter, token }) {
    this.empty();
    this.server = { address, token };
    this.patientId = patient.replace(/^Patient\//, "");
    this.encounterId = encounter.replace(/^Encounter\//, "");
    this.resources = [];
  }

  /** Take over the chart of a request, as of today. */
  load(request, clock) {
    this.empty();
    const then = clock ? Date.parse(clock.slice(0, 10)) : Date.parse(today());
    const { context, prefetch = {} } = moved(request, Math.round((Date.parse(today()) - then) / DAY));
    this.patientId = context.patientId.replace(/^Patient\//, "");
    this.encounterId = (context.encounterId ?? this.encounterId).replace(/^Encounter\//, "");
    this.resources = Object.values(prefetch).flatMap(resourcesOf).map(documented);
    this.drafts = resourcesOf(context.draftOrders);
    this.appointments = resourcesOf(context.appointments);
    this.asSent = prefetch;
    this.sentKeys = new Set(Object.keys(prefetch));
    this.touched = new Set();
  }

  get patient() {
    return this.resources.find((each) => each.resourceType === "Patient") ?? {};
  }

  of(...types) {
    return this.resources.filter((each) => types.includes(each.resourceType));
  }

  // -- what is sent -------------------------------------------------------------------------------------------------

  request(service, hookInstance) {
    if (this.server) {
      const { address, token } = this.server;
      const granted = { access_token: token, token_type: "Bearer", expires_in: 300, scope: "patient/*.rs", subject: "sitbone-page" };
      return { hook: service.hook, hookInstance, fhirServer: address, ...(token ? { fhirAuthorization: granted } : {}), context: this.context(service.hook) };
    }
    const fhirServer = this.base ? { fhirServer: this.base } : {};
    return { hook: service.hook, hookInstance, ...fhirServer, context: this.context(service.hook), prefetch: this.prefetch(service.prefetch ?? {}) };
  }

  context(hook) {
    const context = { userId: USER, patientId: this.patientId, ...(this.encounterId ? { encounterId: this.encounterId } : {}) };
    if (hook.startsWith("order-")) context.draftOrders = bundle(this.drafts, "collection");
    if (hook === "order-select") context.selections = this.drafts.map(reference);
    if (hook === "appointment-book") context.appointments = bundle(this.appointments, "collection");
    return context;
  }

  prefetch(templates) {
    const filled = {};
    for (const [key, template] of Object.entries(templates)) {
      const [path, query = ""] = template.split("?");
      const [type, id] = path.split("/");
      // What the example holds back or could not read stays so, until the visitor puts something there.
      if (this.sentKeys && !this.touched.has(type)) {
        if (!this.sentKeys.has(key)) continue;
        if (this.asSent[key] === null || this.asSent[key].resourceType === "OperationOutcome") {
          filled[key] = this.asSent[key];
          continue;
        }
      }
      filled[key] = id ? (this.of(type)[0] ?? null) : bundle(this.search(type, new URLSearchParams(query)), "searchset");
    }
    return filled;
  }

  search(type, parameters) {
    const wanted = (name) => parameters.get(name)?.split(",").map((each) => each.split("|").at(-1));
    const [statuses, codes] = [wanted("status"), wanted("code")];
    return this.of(type).filter(
      (each) =>
        (!statuses || !each.status || statuses.includes(each.status)) &&
        (!codes || codingsIn(each).some((coding) => codes.includes(coding.code))),
    );
  }

  // -- what is done to the chart ------------------------------------------------------------------------------------

  /** Carry out an action of an accepted suggestion. What is created is a draft, as nobody has signed it. */
  apply(action) {
    const { type, resource, resourceId } = action;
    if (type === "create") {
      const made = { ...resource, id: this.newId(resource.resourceType) };
      if (isOrder(made)) this.drafts.push(made);
      else this.put(made);
      return;
    }
    for (const name of type === "delete" ? asList(resourceId ?? (resource && reference(resource))) : [reference(resource)]) {
      const same = (each) => reference(each) === name || each.id === name;
      const instead = type === "update" ? [resource] : [];
      for (const list of ["drafts", "resources", "appointments"]) {
        this[list] = this[list].flatMap((each) => (same(each) ? instead : [each]));
      }
      this.touched.add(name.split("/")[0]);
    }
  }

  /** Make the drafts orders. */
  sign() {
    for (const draft of this.drafts) {
      this.put({ ...draft, status: draft.resourceType === "Appointment" ? "booked" : "active", intent: "order", authoredOn: new Date().toISOString() });
    }
    this.drafts = [];
  }

  put(resource) {
    this.resources.push(resource);
    this.touched.add(resource.resourceType);
  }

  newId(type) {
    this.made += 1;
    return `${type.toLowerCase()}-here-${this.made}`;
  }

  remove(name) {
    this.apply({ type: "delete", resourceId: name });
  }

  draftOrder(key, side) {
    const order = this.vocabulary.orders.find((each) => each.key === key);
    this.drafts.push({
      resourceType: "ServiceRequest", id: this.newId("ServiceRequest"), status: "draft", intent: "plan", priority: "routine",
      subject: this.subject(), ...this.encounter(), authoredOn: new Date().toISOString(),
      ...order.sides[order.sided ? side : "unspecified"],
    });
  }

  draftMedicine(coding) {
    this.drafts.push({
      resourceType: "MedicationRequest", id: this.newId("MedicationRequest"), status: "draft", intent: "plan",
      subject: this.subject(), ...this.encounter(), authoredOn: new Date().toISOString(),
      medicationCodeableConcept: { coding: [coding], text: coding.display },
    });
  }

  book(date) {
    const start = `${date}T09:00:00Z`;
    const end = `${date}T09:30:00Z`;
    const participant = [{ actor: this.subject(), status: "accepted" }, { actor: { reference: USER }, status: "accepted" }];
    this.appointments = [{ resourceType: "Appointment", id: "appointment-here", status: "proposed", start, end, participant }];
  }

  encounter() {
    return this.encounterId ? { encounter: { reference: `Encounter/${this.encounterId}` } } : {};
  }

  subject() {
    return { reference: `Patient/${this.patientId}` };
  }

  /** What an order is called, also where it has a code and no words. */
  orderName(concept) {
    const known = asList(concept?.coding).map(({ system, code, display }) => display ?? this.orderNames.get(`${system}|${code}`));
    return concept?.text ?? known.find(Boolean) ?? nameOf(concept);
  }

  // -- findings -----------------------------------------------------------------------------------------------------

  /** Ids of the findings that a resource states by code. */
  findingsIn(resource) {
    const found = codingsIn(resource).flatMap(({ system, code }) =>
      system === this.vocabulary.system ? (this.byId.has(code) ? [code] : []) : this.lookup(system, code),
    );
    return [...new Set(found)];
  }

  lookup(system, code = "") {
    for (let length = code.length; length >= 3; length -= 1) {
      const found = this.vocabulary.codes[`${system}|${code.slice(0, length)}`];
      if (found) return found;
      if (!system?.includes("icd-10")) return [];
    }
    return [];
  }

  /** present, absent or unknown, or what was measured, as the chart says it. */
  stateOf(resource) {
    const { valueBoolean, valueCodeableConcept: concept, valueQuantity: quantity, valueString: text } = resource;
    if (resource.dataAbsentReason) return { state: "unknown" };
    if (quantity) return { state: "value", text: `${quantity.comparator ?? ""}${quantity.value} ${quantity.unit ?? quantity.code ?? ""}`.trim() };
    const date = resource.valueDateTime ?? resource.valueDate ?? resource.valuePeriod?.start;
    if (date) return { state: "value", text: date.slice(0, 10) };
    if (resource.valueInteger !== undefined) return { state: "value", text: String(resource.valueInteger) };
    const coded = asList(concept?.coding).map(({ system, code }) => this.vocabulary.answers[`${system}|${code}`]);
    const yes = valueBoolean ?? coded.find((each) => each !== undefined);
    if (yes === null || (["unknown"].includes(text?.toLowerCase()))) return { state: "unknown" };
    if (yes === undefined && (concept || text)) return { state: "value", text: concept ? nameOf(concept) : text };
    return { state: yes === false ? "absent" : "present" };
  }

  sideOf(resource) {
    const codings = asList(resource.bodySite).flatMap((site) => asList(site?.coding));
    const said = codings.map(({ system, code }) => this.vocabulary.sides[`${system}|${code}`]).filter(Boolean);
    if (said.length) return said.includes("bilateral") || new Set(said).size > 1 ? "bilateral" : said[0];
    const words = `${asList(resource.bodySite).map((site) => site?.text).join(" ")} ${nameOf(resource.code)}`;
    return /\b(left|right|bilateral)\b/i.exec(words)?.[1].toLowerCase() ?? "";
  }

  /** What the chart says of a finding: the resources that state it. */
  stating(id) {
    return this.of("Observation", "Condition", "MedicationRequest", "AllergyIntolerance").filter((each) => this.findingsIn(each).includes(id));
  }

  /** Document a finding: what stated it and nothing else goes, as the clinician has looked again. */
  set(id, { state, side = "", date = today(), value = "" }) {
    const finding = this.byId.get(id);
    for (const each of this.stating(id)) {
      if (this.findingsIn(each).length === 1 && (!side || !this.sideOf(each) || this.sideOf(each) === side || finding.value !== "boolean")) this.remove(reference(each));
    }
    const type = TYPE_OF[finding.kind] ?? "Observation";
    this.touched.add(type);
    if (state === "unknown" || (state === "value" && value === "")) return;
    const code = { coding: [{ system: this.vocabulary.system, code: id, display: finding.title }], text: finding.title };
    const bodySite = side && finding.sided ? { bodySite: site(side, type) } : {};
    const made = { resourceType: state === "absent" ? "Observation" : type };
    made.id = this.newId(made.resourceType);
    if (made.resourceType === "Observation") {
      this.put({ ...made, status: "final", code, subject: this.subject(), ...bodySite, effectiveDateTime: date, ...valued(finding, state, value) });
    } else if (type === "MedicationRequest") {
      this.put({ ...made, status: "active", intent: "order", medicationCodeableConcept: code, subject: this.subject(), authoredOn: date });
    } else if (type === "AllergyIntolerance") {
      this.put({ ...made, ...standing("allergyintolerance"), code, patient: this.subject(), recordedDate: date });
    } else {
      this.put({ ...made, ...standing("condition"), code, subject: this.subject(), ...bodySite, recordedDate: date });
    }
  }
}

const TYPE_OF = { medication: "MedicationRequest", allergy: "AllergyIntolerance", diagnosis: "Condition", risk: "Condition" };
const isOrder = (resource) => ["ServiceRequest", "MedicationRequest", "CommunicationRequest", "Appointment"].includes(resource.resourceType);

function site(side, type) {
  const [code, display] = LATERALITY[side];
  const concept = { coding: [{ system: SCT, code, display }] };
  return type === "Condition" ? [concept] : concept;
}

function standing(kind) {
  const [clinical, verification] = kind === "condition" ? ["condition-clinical", "condition-ver-status"] : [`${kind}-clinical`, `${kind}-verification`];
  return {
    clinicalStatus: { coding: [{ system: STATUS + clinical, code: "active" }] },
    verificationStatus: { coding: [{ system: STATUS + verification, code: "confirmed" }] },
  };
}

function valued(finding, state, value) {
  if (finding.value === "quantity") return { valueQuantity: { value: Number(value), unit: finding.unit, system: "http://unitsofmeasure.org", code: finding.unit } };
  if (finding.value === "date") return { valueDateTime: value };
  return { valueBoolean: state === "present" };
}

function bundle(resources, type) {
  return { resourceType: "Bundle", type, ...(type === "searchset" ? { total: resources.length } : {}), entry: resources.map((resource) => ({ resource })) };
}

function codingsIn(resource) {
  return [resource.code, resource.medicationCodeableConcept].flatMap((concept) => asList(concept?.coding));
}

/** What a concept is called, in the chart's own words. */
export function nameOf(concept) {
  return concept?.text ?? asList(concept?.coding).find((coding) => coding.display)?.display ?? asList(concept?.coding)[0]?.code ?? "";
}

/** When a resource says that it holds, as a day. */
export function whenOf(resource) {
  const when = resource.effectiveDateTime ?? resource.effectivePeriod?.start ?? resource.onsetDateTime ?? resource.recordedDate
    ?? resource.authoredOn ?? resource.authored ?? resource.started ?? resource.issued ?? resource.start ?? "";
  return when.slice(0, 10);
}

export function age(birthDate) {
  if (!birthDate) return "";
  const [year, month = "01", day = "01"] = birthDate.split("-");
  const now = new Date();
  const years = now.getFullYear() - Number(year);
  return String(now.getMonth() + 1 < Number(month) || (now.getMonth() + 1 === Number(month) && now.getDate() < Number(day)) ? years - 1 : years);
}
