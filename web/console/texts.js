// The page's words, Chinese first. Words of the six states are not among them in Chinese: GraphQL has them.
import { EN } from "./en.js";
import { ZH } from "./zh.js";

const KEPT = "shuidian.console.language";
let english = localStorage.getItem(KEPT) === "en";

/** "zh-CN" or "en". */
export const language = () => (english ? "en" : "zh-CN");

/** Speak the other language from now on. */
export function otherLanguage() {
  english = !english;
  localStorage.setItem(KEPT, english ? "en" : "zh");
}

/** Whether there is such a sentence. */
export const known = (key) => key in (english ? EN : ZH);

/** The sentence under `key` with `{name}` places filled. Throws for an unknown key. */
export function say(key, values) {
  const sentence = (english ? EN : ZH)[key];
  if (sentence === undefined) throw new Error("no text: " + key);
  return sentence.replace(/\{(\w+)\}/g, (place, name) => String(values[name]));
}

/** The word for a value of the schema, or the value itself where it has none yet. */
export function word(prefix, value) {
  return known(prefix + value) ? say(prefix + value) : value;
}
