// Elements made by hand: data only ever becomes text, never markup.

/** The element with this id. */
export const $ = (id) => document.getElementById(id);

/** A new element. `on..` are listeners, true and false stand for a bare attribute and none; children are
 *  elements, texts, or nothing. */
export function el(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Put these in the place of all that an element holds. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A button that is busy while what it does is under way, so that nobody does it twice. */
export function button(text, act, { kind = "second", ...attributes } = {}) {
  const made = el("button", { type: "button", class: kind, ...attributes }, text);
  made.addEventListener("click", async () => {
    made.disabled = true;
    try {
      await act(made);
    } finally {
      made.disabled = false;
    }
  });
  return made;
}

/** A label with its field, and a line below that says more. */
export function labelled(text, field, more) {
  return el("label", { class: "field" }, el("span", {}, text), field, more ? el("small", {}, more) : null);
}

/** A list to choose from: [value, word] each. */
export function choice(options, chosen, attributes) {
  const made = el("select", attributes, options.map(([value, word]) => el("option", { value }, word)));
  made.value = chosen === null || chosen === undefined ? "" : chosen;
  return made;
}

/** A table with a head; `rows` are made by who knows them. A cell may be [text, class]. */
export function table(caption, heads, rows) {
  const cells = heads.map((head) => {
    const [text, kind] = Array.isArray(head) ? head : [head, null];
    return el("th", { scope: "col", class: kind }, text);
  });
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {}, el("caption", { class: "unseen" }, caption), el("thead", {}, el("tr", {}, cells)), el("tbody", {}, rows)),
  );
}

/** Names with what stands beside them; a pair without a value is left out. */
export function facts(...pairs) {
  const shown = pairs.filter((pair) => pair && pair[1] !== null && pair[1] !== undefined && pair[1] !== "");
  return el("dl", { class: "facts" }, shown.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

/** A part of a page under its own heading. */
export function card(title, ...children) {
  return el("section", { class: "card" }, title ? el("h2", {}, title) : null, children);
}
