// What a meter can be told to do, and what has to be said with it: for one meter and for many alike.
import { now } from "./ask.js";
import { choice, el, fill, labelled } from "./dom.js";
import { HoursFields } from "./hours.js";
import { say } from "./texts.js";

export const KINDS = ["TRIP", "RELEASE", "KEEP_POWER", "CLOSE", "ALLOW_CLOSE", "PRICES", "CALENDAR", "THRESHOLDS", "SYNC_CLOCK"];
const BANDS = ["spike", "peak", "flat", "valley", "deep"];
const AMOUNTS = ["alarm1", "alarm2", "overdraft"];
const HOURS = ["", "2", "8", "24", "72", "168"]; // how long a policy holds; the first: until it is taken back
const HELD = new Set(["TRIP", "KEEP_POWER"]);

/** The fields of an order. `read()` gives the variables of a mutation, or {wrong: [field, sentence]}. */
export class OrderFields {
  constructor({ kinds = KINDS, kind = kinds[0], reason = "" } = {}) {
    this.kind = choice(kinds.map((each) => [each, say("command." + each)]), kind, { name: "kind" });
    this.reason = el("input", { name: "reason", maxlength: "200", value: reason, autocomplete: "off" });
    this.more = el("div", { class: "more" });
    this.kind.addEventListener("change", () => this.ask());
    this.element = el(
      "div",
      { class: "order" },
      labelled(say("order.kind"), this.kind),
      this.more,
      labelled(say("order.reason"), this.reason, say("order.reason_form")),
    );
    this.ask();
  }

  ask() {
    const kind = this.kind.value;
    this.fields = new Map();
    this.calendar = kind === "CALENDAR" ? new HoursFields() : null;
    this.hours = null;
    const parts = [el("p", { class: kind === "TRIP" ? "warn" : "quiet" }, say("command_more." + kind))];
    if (HELD.has(kind)) {
      this.hours = choice(HOURS.map((each) => [each, say(each ? "order.hours" : "order.no_end", { hours: each })]), "", { name: "hours" });
      parts.push(labelled(say("order.until"), this.hours));
    }
    const number = (name, label, unit) => {
      const field = el("input", { name, inputmode: "decimal", autocomplete: "off", maxlength: "12" });
      this.fields.set(name, field);
      return labelled(say("page.beside", { what: label, more: unit }), field);
    };
    if (kind === "PRICES") parts.push(el("div", { class: "row" }, BANDS.map((band) => number(band, say("band." + band), say("order.per_kwh")))));
    if (kind === "THRESHOLDS") {
      const amounts = AMOUNTS.map((name) => number(name, say("threshold." + name), say("order.yuan")));
      parts.push(el("div", { class: "row" }, amounts, number("overload_w", say("threshold.overload_w"), "W")));
    }
    if (this.calendar) parts.push(this.calendar.element);
    fill(this.more, parts);
  }

  read() {
    const kind = this.kind.value;
    const reason = this.reason.value.trim();
    const given = [...this.fields].filter(([, field]) => field.value.trim());
    for (const [name, field] of given) {
      if (!(name === "overload_w" ? /^\d+$/ : /^\d+(\.\d{1,4})?$/).test(field.value.trim())) return { wrong: [field, say("order.number_wrong")] };
    }
    if (this.fields.size && !given.length) return { wrong: [this.fields.values().next().value, say("order.number_missing")] };
    const hours = this.calendar ? this.calendar.read() : { calendar: null };
    if (hours.wrong) return hours;
    if (reason.length < 4) return { wrong: [this.reason, say("order.reason_missing")] };
    const found = { kind, reason, prices: null, thresholds: null, ...hours, until: this.until() };
    if (kind === "PRICES") found.prices = given.map(([band, field]) => ({ band, price: money(field) }));
    if (kind === "THRESHOLDS") found.thresholds = Object.fromEntries(given.map(thresholdOf));
    return found;
  }

  until() {
    const hours = this.hours && Number(this.hours.value);
    return hours ? new Date(now() + hours * 3600000).toISOString() : null;
  }
}

function thresholdOf([name, field]) {
  return name === "overload_w" ? ["overloadW", Number(field.value)] : [name, money(field)];
}

/** Yuan with two decimals at least, as the scalar Money wants them. */
function money(field) {
  const [whole, part = ""] = field.value.trim().split(".");
  return `${whole}.${part.padEnd(2, "0")}`;
}

/** Show what is wrong beside the fields, and go there. */
export function point(error, [field, sentence]) {
  error.textContent = sentence;
  field.setAttribute("aria-invalid", "true");
  field.addEventListener("input", () => field.removeAttribute("aria-invalid"), { once: true });
  field.focus();
}
