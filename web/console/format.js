// Instants, money and marks as people read them.
import { now } from "./ask.js";
import { el } from "./dom.js";
import { known, language, say } from "./texts.js";

let zone = "Asia/Shanghai";

/** Tell times as in this zone (the project's). */
export function useZone(name) {
  zone = name;
}

/** An instant to the minute, or to the second; its year where it is another; a dash for none. */
export function time(at, seconds = false) {
  if (!at) return "—";
  const parts = { month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hour12: false };
  if (new Date(at).getFullYear() !== new Date(now()).getFullYear()) parts.year = "numeric";
  if (seconds) parts.second = "2-digit";
  return new Date(at).toLocaleString(language() === "en" ? "en-GB" : "zh-CN", { timeZone: zone, ...parts });
}

/** How long ago, roughly. */
export function ago(at) {
  if (!at) return say("time.never");
  const minutes = Math.max(0, Math.round((now() - Date.parse(at)) / 60000));
  if (minutes < 1) return say("time.now");
  if (minutes < 60) return say("time.minutes", { n: minutes });
  if (minutes < 48 * 60) return say("time.hours", { n: Math.round(minutes / 60) });
  return say("time.days", { n: Math.round(minutes / 1440) });
}

/** Yuan as the backend says them; a dash for none. */
export function yuan(amount) {
  return amount === null || amount === undefined ? "—" : say("money.yuan", { amount });
}

/** One of the six states, by the colour and the shape that GraphQL gives it. */
export function mark(state) {
  const shape = el("span", { class: "glyph", "aria-hidden": "true" }, state.glyph);
  shape.style.color = state.color;
  return el("span", { class: "mark", "data-state": state.state }, shape, stateWord(state));
}

/** A state's word: the backend's own in Chinese. */
export function stateWord(state) {
  const key = "state_word." + state.state;
  return language() === "en" && known(key) ? say(key) : state.word;
}

/** A word in a frame of a mood: done, now, warn, stop, later, wait. A shape goes before it, so that no colour is needed. */
export function pill(text, mood) {
  const shape = { done: "✓", now: "●", warn: "◆", stop: "!", later: "–", wait: "◷" }[mood] || "";
  return el("span", { class: "pill " + mood }, shape ? el("span", { "aria-hidden": "true" }, shape + " ") : null, text);
}
