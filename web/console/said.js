// What the backend says in words of its own, in the language of the page. The keys "said.." are its sentences: English
// shows them as they are, Chinese has a sentence for each. In both, codes inside them become words.
import { filled, keysOf, known, say } from "./texts.js";

// Among which words the codes of a place are looked up, several with commas between; other places hold any text.
const CODES = {
  ...{ command: "command.", state: "command_state.", batch: "batch_state.", ruled: "told.", why: "reason." },
  ...{ setting: "setting.", band: "band.", bands: "band.", right: "right." },
};
// The same for what a detail of this name tells.
const DETAILS = { case: "case.", channel: "channel.", rule: "reason.", why: "reason.", wanted: "intent." };

// What a place of these names is made of; any other may be any text.
const MADE_OF = { count: "\\d+", amount: "-?[\\d.]+", model: "\\S+", field: "\\S+", who: "[A-Z]\\S+" };

const SAID = keysOf("said.").filter((key) => key.includes("{")).map(formOf).sort((one, other) => other.weight - one.weight);

/** How a sentence with places is known again; the more of it are its own words, the sooner it is tried. */
function formOf(key) {
  const parts = key.slice("said.".length).split(/\{(\w+)\}/);
  const source = parts.map((part, at) => (at % 2 ? `(?<${part}>${MADE_OF[part] || "[^]+?"})` : part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")));
  return { key, form: new RegExp(`^${source.join("")}$`), weight: parts.filter((_, at) => at % 2 === 0).join("").length };
}

/** What the backend said, in words of the page; as it came where nothing is known of it. */
export function told(text) {
  const fixed = ["said.", "told."].map((prefix) => prefix + text).find(known);
  if (fixed) return say(fixed);
  for (const { key, form } of SAID) {
    const found = form.exec(text);
    const values = found && placesOf(found.groups);
    if (values) return filled(known(key) ? say(key, values) : key.slice("said.".length), values);
  }
  const sentences = text.split("; ");
  const words = sentences.map((each) => (sentences.length > 1 ? told(each) : each));
  if (words.some((each, at) => each !== sentences[at])) return words.join(say("page.joined"));
  return listed(text, "said.") || text;
}

/** What stands in the places of a sentence, or null where a code is none that we know. */
function placesOf(groups) {
  const pairs = Object.entries(groups).map(([name, text]) => [name, CODES[name] ? listed(text, CODES[name]) : told(text)]);
  return pairs.every(([, text]) => text !== null) ? Object.fromEntries(pairs) : null;
}

/** Codes with commas between, in words; null where one has none. */
function listed(text, prefix) {
  const keys = text.split(", ").map((each) => [each, each.toUpperCase()].map((code) => prefix + code).find(known));
  return keys.every(Boolean) ? keys.map((key) => say(key)).join(say("page.listed")) : null;
}

/** What a detail of this name tells, in words of the page. */
export function toldOf(name, text) {
  return (DETAILS[name] && listed(text, DETAILS[name])) || told(text);
}
