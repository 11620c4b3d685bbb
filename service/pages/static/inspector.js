// What an integrator asks about a call: request, response, why, and how to send it from a terminal.
import { byId, fill, h } from "./dom.js";

const TABS = [["request", "Request"], ["response", "Response"], ["why", "Why"], ["curl", "curl"]];
const VERDICTS = [["yes", "Fired"], ["cannot-tell", "Could not tell"], ["no", "Did not fire"]];

/** Opens the dialog on one call and tab. `send` sends a changed request in the place of this call's. */
export function inspector(call, first, titles, send) {
  const dialog = byId("inspector");
  byId("inspector-close").onclick = () => dialog.close();
  byId("inspector-title").textContent = call.service.title ?? call.service.id;
  let shown = first;

  function draw() {
    fill(byId("inspector-tabs"), TABS.map(([id, title]) => h("button", {
      type: "button", role: "tab", id: `tab-${id}`, "aria-selected": String(id === shown), "aria-controls": "inspector-body", tabindex: id === shown ? 0 : -1,
      onclick: () => { shown = id; draw(); },
      onkeydown: (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        shown = TABS[(TABS.findIndex(([each]) => each === shown) + step + TABS.length) % TABS.length][0];
        draw();
        byId(`tab-${shown}`).focus();
      },
    }, title)));
    byId("inspector-body").setAttribute("aria-labelledby", `tab-${shown}`);
    fill(byId("inspector-body"), body());
  }

  function body() {
    if (shown === "why") return why(call, titles);
    if (shown === "request") return request();
    const text = { response: () => JSON.stringify(call.response, null, 2), curl: () => curl(call) }[shown]();
    const copy = h("button", { type: "button", class: "small", onclick: async () => { await navigator.clipboard.writeText(text); copy.textContent = "Copied"; } }, "Copy");
    return [h("p", { class: "where" }, shown === "response" ? `HTTP ${call.status}, ${call.milliseconds} ms in the browser` : `POST ${call.url}`, copy), h("pre", {}, text)];
  }

  /** The request as text that can be changed and sent. */
  function request() {
    const text = h("textarea", { id: "request-text", rows: 24, spellcheck: "false", "aria-label": "Request, to be changed", value: JSON.stringify(call.request, null, 2) });
    const wrong = h("p", { class: "problem", role: "alert", hidden: true });
    const sent = async () => {
      let body;
      try {
        body = JSON.parse(text.value);
      } catch (problem) {
        if (!(problem instanceof SyntaxError)) throw problem;
        wrong.textContent = `Not JSON: ${problem.message}`;
        wrong.hidden = false;
        return;
      }
      await send(body);
      shown = "response";
      draw();
      byId("tab-response").focus();
    };
    return [h("p", { class: "where" }, `POST ${call.url}`, h("button", { type: "button", id: "request-send", class: "small primary", onclick: sent }, "Send")), wrong, text];
  }

  draw();
  dialog.showModal();
}

function curl(call) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  return `curl -s -H 'Content-Type: application/json' \\\n  --data ${quoted(JSON.stringify(call.request))} \\\n  ${quoted(call.url)}`;
}

function why(call, titles) {
  const told = call.explanation;
  const chart = told ? told.recommendations : fired(call.response, titles);
  const judged = (told?.judged ?? []).map((each, place) => h("section", {}, h("h3", {}, `Hook context, ${place + 1}: ${each.kind.replaceAll("-", " ")}`), verdicts(each.recommendations)));
  return [
    told ? false : h("p", { class: "quiet" }, "What stands on the cards. The whole decision is told where no token is needed to ask for it."),
    judged,
    judged.length && chart.length ? h("h3", {}, "About the chart") : false,
    verdicts(chart),
    told ? ranking(told.ranking) : false,
    chart.length || judged.length ? false : h("p", {}, "No recommendation was asked: the chart has nothing to do with this pain."),
  ];
}

function verdicts(recommendations) {
  return VERDICTS.map(([verdict, word]) => {
    const of = recommendations.filter((each) => each.verdict === verdict);
    return of.length ? h("details", { open: verdict === "yes" }, h("summary", {}, `${word} (${of.length})`), h("ul", { class: "recommendations" }, of.map(recommendation))) : false;
  });
}

function recommendation({ id, title, verdict, indicator, heldBack, findings, unknown }) {
  const stated = findings.map((each) => [each.title, [each.state, each.side, each.date].filter(Boolean).join(", ")].filter(Boolean).join(": "));
  return h("li", {},
    h("a", { href: `knowledge/${id}.html`, target: "_blank", rel: "noopener" }, title, h("span", { class: "hidden" }, " (opens a new tab)")),
    verdict === "yes" ? h("span", { class: "tag" }, heldBack ? heldBack.replaceAll("-", " ") : indicator) : false,
    stated.length ? h("p", {}, stated.join("; ")) : false,
    unknown.length ? h("p", {}, `Unknown: ${unknown.map((each) => each.title).join("; ")}`) : false);
}

function ranking({ waits, sides }) {
  if (waits) return h("p", { class: "quiet" }, "The ranking of causes waits for the red flag.");
  const weighed = sides.flatMap(({ side, causes }) => causes.filter((each) => each.points || each.made.length).map((each) => ({ side, ...each })));
  if (!weighed.length) return false;
  return h("details", {}, h("summary", {}, `Ranking of causes (${weighed.length} with points)`),
    h("ul", { class: "recommendations" }, weighed.map(({ side, title, band, points, made }) => h("li", {},
      h("strong", {}, `${title}: ${points}`), ` ${[side, band.replaceAll("-", " ")].filter(Boolean).join(", ")}`,
      h("p", {}, made.map((each) => `${each.points > 0 ? "+" : ""}${each.points} ${each.findings.join(" and ").replaceAll("-", " ")}`).join("; "))))));
}

/** Without an explanation: what the cards say of themselves. */
function fired(response, titles) {
  const named = (id) => ({ id, title: titles.get(id)?.title ?? id });
  const all = (response?.cards ?? []).flatMap((each) => each.extension?.["org.sitbone.basis"]?.recommendations ?? []);
  const found = all.map((each) => [each.id, { ...each, title: each.id, verdict: "yes", findings: each.findings.map(named), unknown: [] }]);
  return [...new Map(found).values()];
}
