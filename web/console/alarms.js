// Alarms: what stands and what stood, heard at once, and taken on with a note.
import { ask } from "./ask.js";
import { button, choice, el, fill, table } from "./dom.js";
import { pill, time } from "./format.js";
import { every } from "./live.js";
import { attempt, empty, loaded } from "./notes.js";
import { pager } from "./meters.js";
import { told, toldOf } from "./said.js";
import { say, word } from "./texts.js";

export const ALARM_KINDS = [
  ...["LOW_1", "LOW_2", "ARREARS", "DAYS_LEFT", "OVERLOAD", "MALIGNANT_LOAD", "TAMPER", "REVERSE"],
  ...["CLOCK_DRIFT", "METER_LOST", "GATEWAY_LOST", "COUNT_MISMATCH", "DRIFT", "TARIFF_LAG", "PAYMENT_EXCEPTION"],
];
const LEVELS = ["NOTICE", "WARNING", "URGENT"];
const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const MOOD = { NOTICE: "later", WARNING: "warn", URGENT: "stop" };

/** The page. */
export async function showAlarms(place, context) {
  const looked = { live: true, level: "", kind: "", cursors: [null] };
  const list = el("div", {});
  const refresh = () => (list.querySelector("form") ? null : loaded(list, () => page(context, looked, refresh)));
  const narrowed = (change) => {
    Object.assign(looked, change, { cursors: [null] });
    fill(list);
    refresh();
  };
  const pick = (name, options) => choice(options, looked[name], { "aria-label": say("alarms." + name), onchange: (event) => narrowed({ [name]: event.target.value }) });
  const past = el("input", { type: "checkbox", onchange: (event) => narrowed({ live: !event.target.checked }) });
  fill(
    place,
    el("h1", {}, say("alarms.head")),
    el(
      "div",
      { class: "row" },
      pick("level", [["", say("alarms.all_levels")], ...LEVELS.map((each) => [each, say("level_from." + each)])]),
      pick("kind", [["", say("alarms.all_kinds")], ...ALARM_KINDS.map((each) => [each, say("alarm." + each)])]),
      el("label", { class: "box" }, past, say("alarms.past")),
    ),
    list,
  );
  window.addEventListener("alarm-raised", refresh, { signal: context.signal });
  every(30, refresh, context.signal); // that one has ended is told nobody
  await refresh();
}

async function page(context, looked, refresh) {
  const given = { project: context.project.id, live: looked.live, level: looked.level || null, kind: looked.kind || null };
  const { alarms } = await ask("alarms", "Alarms", { ...given, first: 50, after: looked.cursors.at(-1) });
  if (!alarms.edges.length) return empty(say(looked.live ? "alarms.none" : "alarms.none_ever"));
  const rows = alarms.edges.map(({ node }) => rowOf(context, node));
  const heads = [say("alarms.level"), say("alarms.kind"), say("alarms.subject"), say("alarms.detail"), say("alarms.taken")];
  return [table(say("alarms.head"), heads, rows), pager(looked, alarms.pageInfo, refresh)];
}

function rowOf(context, alarm) {
  const meter = alarm.meter && context.may.has("METER_READ");
  const href = `#/${encodeURIComponent(context.project.code)}/meter/${encodeURIComponent(alarm.meter)}`;
  const when = alarm.endedAt ? `${time(alarm.beganAt)} – ${time(alarm.endedAt)}` : time(alarm.beganAt);
  const taken = el("td", { class: "taken" });
  fill(taken, takenBy(context, alarm, taken));
  return el(
    "tr",
    {},
    el("td", {}, pill(say("level." + alarm.level), MOOD[alarm.level])),
    el("td", { class: "still" }, say("alarm." + alarm.kind), el("small", {}, when)),
    el("td", { class: "who" }, meter ? el("a", { href }, alarm.serial) : alarm.serial || "", el("small", {}, alarm.concerns || "")),
    el("td", {}, detailsOf(context, alarm.detail), alarm.endedWhy ? el("small", {}, told(alarm.endedWhy)) : null),
    taken,
  );
}

/** What the backend tells of it, in the words that we have: names, instants, codes and sentences. */
export function detailsOf(context, pairs) {
  return el("span", { class: "details" }, pairs.map(({ key, value }) => el("span", {}, el("span", { class: "quiet" }, word("detail.", key)), " ", shown(context, key, value))));
}

function shown(context, key, value) {
  if (/^\d{4}-\d\d-\d\d[T ]\d\d:\d\d/.test(value)) return time(value);
  const link = key === "meter" ? linkTo(context, "Meter", value) : null;
  if (link !== null) return link;
  return ID.test(value) ? el("span", { title: value }, "…" + value.slice(-8)) : toldOf(key, value);
}

/** A link to the page of a meter or a batch by its bare id; null for what is no id, and for who may not look. */
export function linkTo(context, type, id) {
  if (!ID.test(id) || !context.may.has("METER_READ")) return null;
  const page = type.toLowerCase();
  return el("a", { href: `#/${encodeURIComponent(context.project.code)}/${page}/${encodeURIComponent(btoa(`${type}:${id}`))}` }, say("alarms." + page));
}

function takenBy(context, alarm, place) {
  if (alarm.acknowledgedAt) return [pill(alarm.acknowledgedBy, "done"), el("small", {}, `${time(alarm.acknowledgedAt)} ${alarm.note || ""}`)];
  if (!context.may.has("ALARM_ACKNOWLEDGE")) return el("span", { class: "quiet" }, say("alarms.open"));
  return button(say("alarms.take"), () => noteForm(place, {
    send: (note) => ask("alarms", "AcknowledgeAlarm", { id: alarm.id, note }),
    done: (answer) => fill(place, takenBy(context, { ...alarm, ...answer }, place)),
    leave: () => fill(place, takenBy(context, alarm, place)),
    thanks: say("alarms.taken_note"),
  }));
}

/** Ask for a note in `place`; without one nothing is sent. */
export function noteForm(place, { send, done, leave, thanks }) {
  const note = el("input", { name: "note", maxlength: "200", autocomplete: "off", "aria-label": say("note.label"), placeholder: say("note.label") });
  const error = el("p", { class: "error", role: "alert" });
  const form = el("form", { class: "note-form", novalidate: true }, note, el("div", { class: "tools" }, el("button", { class: "main", type: "submit" }, say("note.send")), el("button", { type: "button", class: "second", onclick: leave }, say("order.leave"))), error);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!note.value.trim()) {
      error.textContent = say("note.missing");
      note.focus();
      return;
    }
    const answer = await attempt(() => send(note.value.trim()), thanks);
    if (answer !== null) done(answer);
  });
  fill(place, form);
  note.focus();
}
