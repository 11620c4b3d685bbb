// The part of GitHub Flavored Markdown that cards use, as nodes. Text stays text: HTML in it is shown, never obeyed.
// Specification: CDS Service Response, detail.
import { h } from "./dom.js";

const INLINE = /\\([!-/:-@[-`{-~])|\*\*(.+?)\*\*|\*(\S(?:.*?\S)?)\*|`([^`]+)`|\[([^\]]+)\]\((https?:\/\/[^\s)]+)\)/;

/** The nodes of one line. */
export function inline(text) {
  const nodes = [];
  let rest = text;
  for (let match = INLINE.exec(rest); match; match = INLINE.exec(rest)) {
    const [whole, escaped, bold, emphasis, code, label, url] = match;
    if (match.index) nodes.push(rest.slice(0, match.index));
    if (escaped !== undefined) nodes.push(escaped);
    else if (bold !== undefined) nodes.push(h("strong", {}, inline(bold)));
    else if (emphasis !== undefined) nodes.push(h("em", {}, inline(emphasis)));
    else if (code !== undefined) nodes.push(h("code", {}, code));
    else nodes.push(link(label, url));
    rest = rest.slice(match.index + whole.length);
  }
  if (rest) nodes.push(rest);
  return nodes;
}

/** A link that opens beside the page and tells its target nothing; plain text where it is no web address. */
export function link(label, url) {
  if (!/^https?:\/\//i.test(url)) return label;
  return h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, label, h("span", { class: "hidden" }, " (opens a new tab)"));
}

/** Sections: what stands before the first heading has none. A paragraph in bold alone, and `#`, are headings. */
export function sections(text) {
  const found = [{ heading: "", blocks: [] }];
  for (const block of text.replaceAll("\r\n", "\n").split(/\n{2,}/).map((each) => each.trim()).filter(Boolean)) {
    const heading = /^(?:\*\*([^*\n]+)\*\*|#{1,6} +([^\n]+))(?:\n|$)/.exec(block);
    if (heading) found.push({ heading: heading[1] ?? heading[2], blocks: [] });
    const body = heading ? block.slice(heading[0].length).trim() : block;
    if (body) found.at(-1).blocks.push(...blocks(body));
  }
  return found.filter((section) => section.heading || section.blocks.length);
}

function blocks(text) {
  const made = [];
  for (const line of text.split("\n")) {
    const item = /^\s*(?:([-*+])|\d+[.)])\s+(.*)$/.exec(line);
    const tag = item ? (item[1] ? "ul" : "ol") : "p";
    const open = made.at(-1);
    if (item && open?.tagName.toLowerCase() === tag) open.append(h("li", {}, inline(item[2])));
    else if (item) made.push(h(tag, {}, h("li", {}, inline(item[2]))));
    else if (!item && open?.tagName === "P") open.append(h("br"), ...inline(line));
    else if (open && /^\s/.test(line)) open.lastChild.append(" ", ...inline(line.trim()));
    else made.push(h("p", {}, inline(line)));
  }
  return made;
}
