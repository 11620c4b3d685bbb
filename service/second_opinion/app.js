// The page without a reload: what a button sends is what the form would send. It works without this file as well.
const KEY = "sitbone:";

/** The secret of this browser, where it lies in the storage because no cookie is kept. */
function fillSecret() {
  const field = document.querySelector("[data-secret]");
  const key = document.querySelector("main")?.dataset.key;
  if (!field || !key) return;
  try {
    field.value = sessionStorage.getItem(KEY + key) ?? "";
  } catch {
    field.value = "";
  }
}

/** Yes, No and Unknown of an item are one stop for Tab; the arrows go from one to the other. */
function oneStop() {
  for (const item of document.querySelectorAll(".item")) {
    if (item.querySelector("input")) continue;
    const buttons = [...item.querySelectorAll("button")];
    const stop = buttons.find((button) => button.ariaPressed === "true") ?? buttons[0];
    item.setAttribute("role", "toolbar");
    for (const button of buttons) button.tabIndex = button === stop ? 0 : -1;
  }
}

let watched;

/** The line of advice above the questions is there while the advice itself is out of sight. */
function lineInSight() {
  watched?.disconnect();
  const [line, advice] = [document.querySelector(".in-sight"), document.querySelector(".card .summary")];
  if (!line || !advice) return;
  line.classList.add("over", "away");
  watched = new IntersectionObserver(([seen]) => line.classList.toggle("away", seen.isIntersecting));
  watched.observe(advice);
}

/** Shows the page that came back; the focus stays where it was. */
function show(text, focused) {
  const next = new DOMParser().parseFromString(text, "text/html");
  document.title = next.title;
  for (const name of ["header", "form", "main", "footer"]) {
    const [old, made] = [document.querySelector(name), next.querySelector(name)];
    if (old && made) old.replaceWith(document.adoptNode(made));
    else old?.remove();
  }
  fillSecret();
  oneStop();
  lineInSight();
  const status = document.querySelector("[role=status]");
  // Said anew: a live region that comes with its words is not read out.
  if (status) {
    const words = status.textContent;
    status.textContent = "";
    // What else was said meanwhile stays.
    setTimeout(() => { status.textContent ||= words; }, 50);
  }
  const again = focused && document.getElementById(focused);
  (again ?? document.querySelector(".group button, h1"))?.focus();
}

let busy = false;

async function send(form, button) {
  if (busy) return;
  busy = true;
  document.body.setAttribute("aria-busy", "true");
  const focused = document.activeElement?.id;
  try {
    const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form, button)), credentials: "same-origin" });
    // A fault of the service, or of what lies before it, is no page: the one that is there stays.
    if (!answer.headers.get("Content-Type")?.startsWith("text/html")) throw new Error("no page");
    show(await answer.text(), focused);
  } catch {
    const status = document.querySelector("[role=status]");
    if (status) status.textContent = "The service could not answer. Nothing was lost: try again.";
  } finally {
    busy = false;
    document.body.removeAttribute("aria-busy");
  }
}

document.addEventListener("submit", (event) => {
  // The browser keeps a file itself, and the page stays.
  if ("file" in (event.submitter?.dataset ?? {})) return;
  event.preventDefault();
  send(event.target, event.submitter);
});

// Y, N and U answer the question that has the focus, the arrows go within it; no single key does anything elsewhere.
document.addEventListener("keydown", (event) => {
  // By its place: with Alt some keyboards write another letter.
  if (event.altKey && !event.ctrlKey && !event.metaKey && event.code === "KeyS") {
    event.preventDefault();
    document.getElementById("save")?.click();
    return;
  }
  const item = document.activeElement?.closest(".item");
  if (!item || event.ctrlKey || event.altKey || event.metaKey || document.activeElement.tagName === "INPUT") return;
  const beside = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
  if (beside && item.role === "toolbar") {
    document.activeElement[beside]?.focus();
    return;
  }
  const answer = { y: "yes", n: "no", u: "unknown" }[event.key.toLowerCase()];
  const button = answer && item.querySelector(`[data-answer=${answer}]`);
  if (!button) return;
  event.preventDefault();
  button.focus();
  button.click();
});

fillSecret();
oneStop();
lineInSight();
// The code of the launch is of no more use, and need not stand in the address.
if (location.search) history.replaceState(null, "", location.pathname);
