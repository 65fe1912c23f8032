// Small words for the page's elements and for its own endpoints.
export const $ = (id) => document.getElementById(id);

/** A new element with a class and a text. */
export function made(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Set a text only when it differs: live regions and selections stay quiet. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** "10:32:05" in China time. */
export function clock(instant) {
  const shape = { timeZone: "Asia/Shanghai", hour12: false };
  return new Date(instant).toLocaleTimeString("zh-CN", shape);
}

/** Run `render(part)` only when the part changed since the last time. */
export function whenChanged(render) {
  let before = "";
  return (part, ...more) => {
    const now = JSON.stringify([part, ...more]);
    if (now === before) return;
    before = now;
    render(part, ...more);
  };
}

/** A check box with words; `turned(on)` when somebody turns it. */
export function toggle(words, hint, turned) {
  const label = made("label", "switch");
  const box = made("input");
  box.type = "checkbox";
  const text = made("span", "", words);
  if (hint) {
    const small = made("small", "", hint);
    small.lang = "en";
    text.append(small);
  }
  label.append(box, text);
  box.addEventListener("change", () => turned(box.checked));
  return { label, box };
}

/** GET of an endpoint; throws Error when it does not answer. */
export async function get(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.json();
}

/** POST to an endpoint; throws Error with what it said. */
export async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(told.message || String(answer.status));
  return told;
}
