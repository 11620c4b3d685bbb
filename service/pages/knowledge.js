// Finds recommendations by their words; without it the page is complete.
(() => {
  const articles = [...document.querySelectorAll("#recommendations > article")];
  const texts = articles.map((article) => article.textContent.toLowerCase());
  const field = Object.assign(document.createElement("input"), { type: "search", id: "words", autocomplete: "off" });
  const label = Object.assign(document.createElement("label"), { htmlFor: "words", textContent: "Find a recommendation by any words in it" });
  const found = document.createElement("p");
  found.setAttribute("role", "status");
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    articles.forEach((article, place) => { article.hidden = !words.every((word) => texts[place].includes(word)); });
    const count = articles.filter((article) => !article.hidden).length;
    found.textContent = words.length ? `${count} of ${articles.length}` : "";
  });
  // A link into the page must not lead to what a search has hidden.
  addEventListener("hashchange", () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target?.closest("[hidden]")) return;
    field.value = "";
    field.dispatchEvent(new Event("input"));
    target.scrollIntoView();
  });
  document.getElementById("search").append(label, field, found);
})();
