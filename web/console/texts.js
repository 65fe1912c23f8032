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
export const known = (key) => Object.hasOwn(english ? EN : ZH, key);

/** All keys of a beginning, whatever the language. */
export const keysOf = (beginning) => Object.keys(ZH).filter((key) => key.startsWith(beginning));

/** The sentence under `key` with `{name}` places filled. Throws for an unknown key. */
export function say(key, values) {
  if (!known(key)) throw new Error("no text: " + key);
  return filled((english ? EN : ZH)[key], values);
}

/** A sentence with its `{name}` places filled. */
export function filled(sentence, values) {
  return sentence.replace(/\{(\w+)\}/g, (place, name) => String(values[name]));
}

/** The word for a value of the schema, or the value itself where it has none yet. */
export function word(prefix, value) {
  return known(prefix + value) ? say(prefix + value) : value;
}
