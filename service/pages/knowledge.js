// Finds recommendations by their words; without it the path of a decision leads to each of them.
(() => {
  const list = document.getElementById("found");
  const rows = [...list.children];
  const texts = rows.map((row) => `${row.textContent} ${row.dataset.words}`.toLowerCase());
  // A link to a recommendation of the time when all were on this page.
  const named = decodeURIComponent(location.hash.slice(1));
  const own = rows.find((row) => row.querySelector("a").getAttribute("href") === `knowledge/${named}.html`);
  if (own) location.replace(own.querySelector("a").href);
  const field = Object.assign(document.createElement("input"), { type: "search", id: "words", autocomplete: "off" });
  const label = Object.assign(document.createElement("label"), { htmlFor: "words", textContent: "Find a recommendation by any words in it" });
  const found = document.createElement("p");
  found.setAttribute("role", "status");
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach((row, place) => { row.hidden = !words.every((word) => texts[place].includes(word)); });
    list.hidden = !words.length;
    document.getElementById("path").hidden = Boolean(words.length);
    found.textContent = words.length ? `${rows.filter((row) => !row.hidden).length} of ${rows.length}` : "";
  });
  document.getElementById("search").append(label, field, found);
})();
