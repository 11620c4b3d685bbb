// The page: which patient, which step of the visit, and the calls of a CDS client to the public endpoints.
import { inspector } from "./inspector.js";
import { card } from "./cards.js";
import { chart } from "./chart.js";
import { findingForm } from "./finding_form.js";
import { Ehr, STEPS, today } from "./ehr.js";
import { byId, fill, h, say } from "./dom.js";

let underWay = 0;
const JSON_TYPE = { "Content-Type": "application/json" };
const [listed, vocabulary, discovery] = await Promise.all(["demo/patients", "demo/vocabulary", "cds-services"].map(read));
const services = discovery.services ?? [];
const ehr = new Ehr(vocabulary, document.body.dataset.server);
const form = findingForm(byId("document"), ehr, document_);
const state = { name: null, step: "patient-view", calls: [], outcomes: new Map(), turn: 0, top: null, refused: discovery.issue?.[0]?.diagnostics ?? "" };

async function read(path) {
  return (await asking(path)).body;
}

/** Status and body of an answer in JSON; the page says that it is busy as long as anything is under way. */
async function asking(path, options) {
  const main = document.querySelector("main");
  underWay += 1;
  main.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(path, options);
    return { status: answer.status, body: await answer.json().catch(() => ({})) };
  } finally {
    underWay -= 1;
    if (!underWay) main.removeAttribute("aria-busy");
  }
}

// -- calling --------------------------------------------------------------------------------------------------------

async function post(url, body) {
  const start = performance.now();
  const { status, body: response } = await asking(url, { method: "POST", headers: JSON_TYPE, body: JSON.stringify(body) });
  return { url: new URL(url, location).href, request: body, response, status, milliseconds: Math.round(performance.now() - start) };
}

/** Call every service of the step, as an EHR does when the step is reached; where a day is to be booked, with the day. */
async function call() {
  const turn = (state.turn += 1);
  const called = asksDay() ? [] : services.filter((service) => service.hook === state.step);
  const calls = await Promise.all(called.map(async (service) => ({ ...(await post(`cds-services/${service.id}`, ehr.request(service, crypto.randomUUID()))), service })));
  if (turn !== state.turn) return;
  state.calls = calls;
  state.outcomes = new Map();
  draw();
  followTop();
  const cards = calls.flatMap((each) => each.response.cards ?? []);
  say(cards.length ? `${counted(cards.length, "card")}: ${cards.map((each) => `${each.indicator}, ${each.summary}`).join(". ")}` : "No card.");
}

/** Bring a top card that reads otherwise than the one before into view, with the keyboard on it. */
function followTop() {
  const cards = state.calls.flatMap((each) => each.response.cards ?? []);
  const top = cards.find((each) => !state.outcomes.get(each.uuid)?.dismissed);
  const reads = top ? `${top.indicator} ${top.summary} ${top.detail}` : "";
  const changed = state.top !== null && reads !== state.top;
  state.top = reads;
  if (!changed) return;
  show("cards");
  const target = top ? byId(`card-${top.uuid}`).closest(".card") : byId("cards");
  target.focus({ preventScroll: true });
  target.scrollIntoView({ block: top ? "start" : "nearest" });
}

function counted(number, what) {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}

async function feedback(service, entry) {
  const sent = await post(`cds-services/${service.id}/feedback`, { feedback: [{ ...entry, outcomeTimestamp: new Date().toISOString() }] });
  if (sent.status !== 200) say("The feedback was refused.");
}

// -- acting ---------------------------------------------------------------------------------------------------------

const acting = (service) => ({
  drafts: () => ehr.drafts.length,
  sign,
  // A chart that lies on a FHIR server is not this EHR's to open there.
  launch: ehr.base && !ehr.server ? launch : null,
  async accept(entry, suggestion) {
    for (const action of suggestion.actions ?? []) ehr.apply(action);
    const outcome = state.outcomes.get(entry.uuid) ?? { accepted: [] };
    outcome.accepted.push(suggestion.uuid);
    state.outcomes.set(entry.uuid, outcome);
    draw();
    byId(`sign-${entry.uuid}`)?.focus();
    const drafted = suggestion.actions?.some((action) => action.type === "create");
    if (drafted) byId("part-drafts").parentElement.scrollIntoView({ block: "nearest" });
    await feedback(service, { card: entry.uuid, outcome: "accepted", acceptedSuggestions: [{ id: suggestion.uuid }] });
    say(`Accepted: ${suggestion.label}.${drafted ? " It is among the draft orders." : ""}`);
  },
  async dismiss(entry, reason, comment) {
    state.outcomes.set(entry.uuid, { dismissed: comment || reason?.display || "no reason given" });
    draw();
    byId("cards").focus();
    followTop();
    const overrideReason = { ...(reason ? { reason } : {}), ...(comment ? { userComment: comment } : {}) };
    await feedback(service, { card: entry.uuid, outcome: "overridden", ...(Object.keys(overrideReason).length ? { overrideReason } : {}) });
    say("The card was dismissed, and the service was told why.");
  },
});

/** Open an app beside the chart, as an EHR does: the chart goes to the FHIR server of this EHR, and the app fetches it. */
async function launch(link) {
  // The name by which the page calls the patient is the only one that this chart has.
  const name = listed.patients.find((each) => each.name === state.name)?.title.replace(/, \d+$/, "");
  const withName = (each) => (name && each.resourceType === "Patient" && !each.name ? { ...each, name: [{ text: name }] } : each);
  const chart = { patient: ehr.patientId, encounter: ehr.encounterId, resources: ehr.resources.map(withName) };
  const { status, body } = await asking("demo/ehr/charts", { method: "POST", headers: JSON_TYPE, body: JSON.stringify(chart) });
  if (status !== 200) {
    say("The chart could not be opened for the app.");
    return;
  }
  const frame = h("iframe", { id: "app-frame", title: link.label, src: `${link.url}?${new URLSearchParams(body)}` });
  const dialog = byId("app");
  fill(byId("app-body"), frame);
  dialog.onclose = async () => {
    fill(byId("app-body"));
    const { body: saved } = await asking(`demo/ehr/charts/${body.launch}/saved`);
    for (const resource of saved) ehr.put(resource);
    if (saved.length) await call();
    say(saved.length ? `${counted(saved.length, "resource")} saved to the chart by the app.` : "The app saved nothing.");
  };
  dialog.showModal();
}

/** Signing asks the services first; where they have nothing to say the drafts become orders, and the step is called again. */
async function sign() {
  const back = state.step === "order-sign" || state.step === "order-select" ? "patient-view" : state.step;
  state.step = "order-sign";
  await call();
  if (state.calls.some((each) => each.status !== 200 || each.response.cards?.length)) {
    show("cards");
    if (!byId("cards").contains(document.activeElement)) byId("cards").focus();
    return;
  }
  await finish(back);
}

async function finish(step = "patient-view") {
  ehr.sign();
  state.step = step;
  await call();
  if (!byId("cards").contains(document.activeElement)) byId("cards").focus();
}

async function document_(id, said) {
  ehr.set(id, said);
  await call();
}

const onChart = {
  change(id, resource) {
    show("patients");
    form.open(id, resource);
  },
  sign,
  order: (key, side) => drafted(() => ehr.draftOrder(key, side)),
  medicine: (coding) => drafted(() => ehr.draftMedicine(coding)),
  drop: (name) => drafted(() => ehr.remove(name)),
  async book(date) {
    if (!date) return;
    ehr.book(date);
    await go("appointment-book");
  },
};

async function drafted(change) {
  change();
  await go("order-select");
}

async function go(step) {
  state.step = step;
  await call();
}

async function choose(name) {
  state.name = name;
  byId("server").open = false;
  if (name) {
    const request = await read(`demo/patients/${name}`);
    ehr.load(request, listed.clock);
    state.step = request.hook;
  } else {
    ehr.empty();
    state.step = "patient-view";
  }
  history.replaceState(null, "", name ? `#${name}` : location.pathname);
  await call();
  show("cards");
  byId("cards").scrollTop = 0;
  const chosen = byId(`patient-${name}`);
  chosen.closest("details")?.setAttribute("open", "");
  chosen.scrollIntoView({ block: "nearest" });
}

// -- showing --------------------------------------------------------------------------------------------------------

function show(pane) {
  document.body.dataset.pane = pane;
  byId("app-close").addEventListener("click", () => byId("app").close());
for (const button of document.querySelectorAll(".panes button")) button.setAttribute("aria-pressed", String(button.dataset.pane === pane));
}

function draw() {
  drawSteps();
  drawPatients();
  const data = state.calls.map((each) => each.response.extension?.["org.sitbone.assessment"]?.data).find(Boolean);
  fill(byId("chart-body"), chart(ehr, onChart, listed.patients.find((each) => each.name === state.name), data));
  fill(byId("cards-body"), state.refused ? h("p", { class: "problem" }, state.refused) : false, asksDay() ? dayForm() : state.calls.length ? state.calls.map(drawCall) : h("p", { class: "quiet" }, "No service of Sitbone is called at this step."), signing(), asked());
  const count = state.calls.flatMap((each) => each.response.cards ?? []).length;
  // What is documented here would not reach a chart that lies elsewhere.
  document.querySelector(".document").hidden = Boolean(ehr.server);
  const whose = ehr.server ? `Patient/${ehr.patientId}` : listed.patients.find((each) => each.name === state.name)?.title;
  byId("cards-title").textContent = whose ? `Cards: ${whose}` : "Cards";
  byId("count").textContent = count ? `(${count})` : "";
}

function drawSteps() {
  fill(byId("steps"), STEPS.map(({ hook, title }) => h("li", {}, h("button", { type: "button", id: `step-${hook}`, "aria-current": hook === state.step ? "step" : false, onclick: () => go(hook) }, title, h("small", {}, hook)))));
}

function drawPatients() {
  const chosen = (name) => (!ehr.server && name === (state.name ?? "") ? "true" : false);
  if (byId("patient-")) {
    for (const button of byId("patient-list").querySelectorAll("button")) {
      if (chosen(button.id.slice("patient-".length))) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    return;
  }
  const entry = (name, title, story) => h("li", {}, h("button", { type: "button", id: `patient-${name}`, "aria-current": chosen(name), onclick: () => choose(name) }, h("span", { class: "what" }, title), h("span", { class: "story" }, story)));
  const groups = Map.groupBy(listed.patients, (each) => each.group);
  fill(byId("patient-list"),
    [...groups].map(([group, members]) => h("details", { open: members.some((each) => each.name === state.name) }, h("summary", {}, group, h("small", {}, String(members.length))), h("ul", { class: "rows" }, members.map((each) => entry(each.name, each.title, each.story))))),
    h("ul", { class: "rows" }, entry("", "An empty chart", "Document what you like.")));
}

/** Leave those patients in the list whose name, story or group has all these words. */
function find(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const group of byId("patient-list").querySelectorAll("details")) {
    const name = group.querySelector("summary").textContent;
    const rows = [...group.querySelectorAll("li")];
    for (const row of rows) row.hidden = !words.every((word) => `${name} ${row.textContent}`.toLowerCase().includes(word));
    const left = rows.filter((row) => !row.hidden).length;
    group.hidden = !left;
    group.open = words.length ? Boolean(left) : rows.some((row) => row.querySelector("[aria-current]"));
    found += left;
  }
  say(words.length ? `${counted(found, "patient")} found.` : "");
}

function drawCall(made) {
  const { service, response, status } = made;
  const cards = response.cards ?? [];
  return h("section", { class: "call", "aria-labelledby": `call-${service.id}` },
    h("div", { class: "call-head" }, h("h3", { id: `call-${service.id}`, class: "service" }, service.title ?? service.id), buttons(made)),
    status === 200 ? false : h("p", { class: "problem" }, `HTTP ${status}. ${response.issue?.[0]?.diagnostics ?? "The service did not answer."}`),
    status === 200 && !cards.length ? h("p", { class: "silent" }, silence(response)) : false,
    cards.map((each) => card(each, state.outcomes.get(each.uuid), acting(service))));
}

function silence(response) {
  const silenced = response.extension?.["org.sitbone.assessment"]?.silenced ?? [];
  if (silenced.length) return `No card: what was advised has been ordered (${silenced.map(({ topic }) => topic.replaceAll("-", " ")).join(", ")}).`;
  return "No card: the service has nothing to say here.";
}

function buttons(made) {
  const tabs = [["request", "Request"], ["response", "Response"], ["why", "Why"], ["curl", "curl"]];
  return h("p", { class: "buttons" }, tabs.map(([tab, title]) => h("button", {
    type: "button", id: `${tab}-${made.service.id}`, class: "small",
    onclick: async () => {
      if (tab === "why" && !made.explanation) made.explanation = await explained(made);
      inspector(made, tab, ehr.byId, (body) => resend(made, body));
    },
  }, title, h("span", { class: "hidden" }, ` of ${made.service.title ?? made.service.id}`))));
}

/** Send a changed request in the place of the one of this call; the chart stays as it is. */
async function resend(made, body) {
  Object.assign(made, await post(`cds-services/${made.service.id}`, body), { explanation: null });
  draw();
  followTop();
}

/** The whole decision, where the service tells it without a token. */
async function explained(made) {
  if (document.body.dataset.explains !== "true") return null;
  const answer = await post(`explain/${made.service.id}`, made.request);
  return answer.status === 200 ? answer.response : null;
}

/** What the services ask for, once, however many of them do. */
function asked() {
  if (ehr.server) return false;
  const every = state.calls.flatMap((each) => each.response.extension?.["org.sitbone.assessment"]?.ask ?? []);
  const ids = [...new Set(every)].filter((id) => ehr.byId.get(id)?.value === "boolean");
  if (!ids.length) return false;
  const answer = (id, state_) => document_(id, { state: state_, side: ehr.byId.get(id).sided ? form.commonSide() : "" });
  return h("section", { class: "asked", "aria-label": "What would change the advice most" }, h("h4", {}, "What would change the advice most"),
    h("ul", {}, ids.map((id) => h("li", {}, h("span", {}, ehr.byId.get(id).title), h("span", { class: "buttons" },
      [["present", "Yes"], ["absent", "No"]].map(([state_, word]) => h("button", { type: "button", class: "small", id: `ask-${id}-${state_}`, onclick: () => answer(id, state_) }, word, h("span", { class: "hidden" }, `: ${ehr.byId.get(id).title}`))))))));
}

/** Whether a visit is to be booked and nobody has said for which day. */
function asksDay() {
  return state.step === "appointment-book" && !ehr.appointments.length;
}

function dayForm() {
  const date = h("input", { type: "date", id: "day", min: today(), required: true });
  return h("div", { class: "card form" }, h("label", { for: "day" }, "For which day is the visit to be booked?"), date,
    h("button", { type: "button", id: "day-book", class: "primary", onclick: () => (date.reportValidity() ? onChart.book(date.value) : false) }, "Ask about this day"));
}

/** Where the service may read a FHIR server: the address of one, and whose chart there. */
function serverForm() {
  const field = (id, label, more = {}) => [h("label", { for: `server-${id}` }, label), h("input", { id: `server-${id}`, type: "text", autocomplete: "off", ...more })];
  const given = (id) => byId(`server-${id}`).value.trim();
  const open = async (event) => {
    event.preventDefault();
    state.name = null;
    ehr.connect({ address: given("address"), patient: given("patient"), encounter: given("encounter"), token: given("token") });
    state.step = "patient-view";
    history.replaceState(null, "", location.pathname);
    await call();
    show("cards");
  };
  return h("form", { class: "form", onsubmit: open },
    field("address", "Address of the server", { type: "url", required: true, placeholder: "http://127.0.0.1:8103/fhir/R4" }),
    field("patient", "Id of the patient", { required: true }),
    field("encounter", "Id of the encounter (optional)"),
    field("token", "Access token (optional)", { type: "password" }),
    h("p", { class: "quiet" }, "Without a file of clients the service reads servers on its own machine alone."),
    h("button", { type: "submit", id: "server-open" }, "Open this chart"));
}

function signing() {
  if (state.step !== "order-sign" || !ehr.drafts.length) return false;
  return h("button", { type: "button", id: "finish", class: "primary", onclick: () => finish() }, `Sign ${counted(ehr.drafts.length, "order")} now`);
}

// -- starting -------------------------------------------------------------------------------------------------------

for (const button of document.querySelectorAll(".panes button")) button.addEventListener("click", () => show(button.dataset.pane));
byId("patient-search").addEventListener("input", (event) => find(event.target.value));
byId("server").hidden = document.body.dataset.fetches !== "true";
fill(byId("server-form"), serverForm());
const named = decodeURIComponent(location.hash.slice(1));
const first = [named, listed.patients[0]?.name].find((name) => listed.patients.some((each) => each.name === name));
await choose(first ?? "");
document.body.dataset.ready = "true";
