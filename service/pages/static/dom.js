// Elements are only ever made here and in markdown.js, from text: nothing that comes over the wire is read as HTML.

/** An element with attributes and children. `onclick` and its like take functions; false and null leave a thing out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== false && child !== null && child !== undefined));
  return element;
}

/** Show other children in an element; whoever had the keyboard in it has it afterwards, by id. */
export function fill(element, ...children) {
  const held = element.contains(document.activeElement) ? document.activeElement.id : "";
  element.replaceChildren(...children.flat(3).filter((child) => child !== false && child !== null && child !== undefined));
  if (held) document.getElementById(held)?.focus();
}

export const byId = (id) => document.getElementById(id);

/** Say something to those who do not see the page change. */
export function say(text) {
  byId("said").textContent = text;
}
