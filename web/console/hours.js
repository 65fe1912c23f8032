// When which rate band holds in a meter: shown, and typed as lines that people read as they stand.
import { el, labelled } from "./dom.js";
import { say, word } from "./texts.js";

const BANDS = ["spike", "peak", "flat", "valley", "deep"];
const ZONE = /^(\d{1,2})-(\d{1,2})\s+(\d{1,2})$/;
const START = /^([01]?\d|2[0-3]):([0-5]\d)$/;

/** A day as one line: 00:00 valley 08:00 peak. */
export const dayOf = (slots) => slots.map(({ start, band }) => `${start} ${word("band.", band)}`).join(" ");

/** A calendar as lines; one without a year's turn is its day alone. */
export function hoursOf(calendar) {
  if (!calendar) return [];
  const { zones, tables } = calendar;
  return zones.map(({ month, day, table }) => {
    const hours = dayOf(tables[table - 1]);
    return zones.length > 1 ? say("hours.from", { month, day, hours }) : hours;
  });
}

/** The fields of a calendar. `read()` gives it, or {wrong: [field, sentence]}. */
export class HoursFields {
  constructor() {
    this.tables = el("textarea", { name: "tables", rows: "3", spellcheck: "false", autocomplete: "off" });
    this.zones = el("textarea", { name: "zones", rows: "2", spellcheck: "false", autocomplete: "off" });
    this.zones.value = "01-01 1";
    const example = `00:00 ${say("band.valley")} 08:00 ${say("band.peak")} 22:00 ${say("band.valley")}`;
    this.element = el("div", {}, labelled(say("hours.tables"), this.tables, say("hours.tables_form", { example })), labelled(say("hours.zones"), this.zones, say("hours.zones_form")));
  }

  read() {
    const tables = linesOf(this.tables).map(slotsOf);
    if (!tables.length || tables.includes(null)) return { wrong: [this.tables, say("hours.tables_wrong")] };
    const zones = linesOf(this.zones).map(zoneOf);
    if (!zones.length || zones.includes(null)) return { wrong: [this.zones, say("hours.zones_wrong")] };
    return { calendar: { zones, tables } };
  }
}

const linesOf = (field) => field.value.split("\n").map((line) => line.trim()).filter(Boolean);

function zoneOf(line) {
  const found = ZONE.exec(line);
  return found && { month: Number(found[1]), day: Number(found[2]), table: Number(found[3]) };
}

function slotsOf(line) {
  const words = line.replaceAll("：", ":").split(/[\s,，]+/);
  const slots = [];
  for (let at = 0; at < words.length; at += 2) {
    const named = (words[at + 1] || "").toLowerCase();
    const band = BANDS.find((each) => [each, say("band." + each).toLowerCase()].includes(named));
    if (!START.test(words[at]) || !band) return null;
    slots.push({ start: words[at].padStart(5, "0"), band });
  }
  return slots;
}
