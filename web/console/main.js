// Signing in and out, which project, which page: the rest is in a file a page.
import { ask, whenSessionEnds } from "./ask.js";
import { $, choice, el, fill } from "./dom.js";
import { useZone } from "./format.js";
import { Live } from "./live.js";
import { loaded, tell, why } from "./notes.js";
import { language, otherLanguage, say } from "./texts.js";
import { signInForm } from "./sign_in.js";
import { showMeters } from "./meters.js";
import { showMeter } from "./meter.js";
import { showBatches } from "./batches.js";
import { showBatch } from "./batch.js";
import { showNewBatch } from "./batch_new.js";
import { showAlarms } from "./alarms.js";
import { showCases } from "./cases.js";
import { showPrices } from "./prices.js";

const PAGES = {
  meters: [showMeters, "METER_READ"],
  batches: [showBatches, "METER_READ"],
  alarms: [showAlarms, "ALARM_READ"],
  cases: [showCases, "CASE_READ"],
  prices: [showPrices, "TARIFF_READ"],
};
const BELOW = { meter: [showMeter, "meters"], batch: [showBatch, "batches"], "new-batch": [showNewBatch, "batches"] };
const KEPT = "shuidian.console.project";
let me = null;
let marks = [];
let live = null;
let page = new AbortController(); // what the page shown now has begun ends with it
let heard = new AbortController(); // and what the project has
let raised = 0;
let lineUp = null; // null before the first word of it

async function start() {
  document.documentElement.lang = language();
  document.title = say("page.title");
  $("skip").textContent = say("page.skip");
  try {
    ({ me, meterStateMarks: marks } = await ask("session", "Me"));
  } catch (problem) {
    if (problem.code !== "UNAUTHENTICATED") await loaded(fill($("work")), () => Promise.reject(problem));
    return;
  }
  live = new Live();
  hearAlarms();
  route();
}

/** The project that the address names, else the one of last time, else the first. */
function project() {
  const wanted = [decodeURIComponent(location.hash.split("/")[1] || ""), localStorage.getItem(KEPT)];
  const all = me.projects.map((each) => each.project);
  return wanted.map((code) => all.find((each) => each.code === code)).find(Boolean) || all[0];
}

function permissionsIn(id) {
  return new Set(me.projects.find((each) => each.project.id === id).permissions);
}

function route() {
  page.abort();
  page = new AbortController();
  if (me === null) return;
  const place = el("div", {});
  fill($("work"), place);
  if (!me.projects.length) {
    bar(null, "", new Set());
    fill(place, el("p", { class: "empty" }, say("page.no_project")));
    return;
  }
  const of = project();
  const may = permissionsIn(of.id);
  localStorage.setItem(KEPT, of.code);
  useZone(of.timeZone);
  const [, , name = "meters", ...rest] = location.hash.split("/").map(decodeURIComponent);
  const [show, tab] = BELOW[name] || [(PAGES[name] || PAGES.meters)[0], PAGES[name] ? name : "meters"];
  bar(of, tab, may);
  if (tab === "alarms") noted(0);
  document.title = `${say("bar." + tab)} – ${of.name} – ${say("page.title")}`;
  const go = (...parts) => (location.hash = "#/" + [of.code, ...parts].map(encodeURIComponent).join("/"));
  show(place, { project: of, may, marks, live, go, signal: page.signal, me }, ...rest);
}

function bar(of, tab, may) {
  const projects = me.projects.map((each) => [each.project.code, each.project.name]);
  const pick = choice(projects, of && of.code, {
    "aria-label": say("bar.project"),
    onchange: (event) => (location.hash = "#/" + encodeURIComponent(event.target.value) + "/" + (tab || "meters")),
  });
  const links = Object.entries(PAGES)
    .filter(([, [, needs]]) => may.has(needs))
    .map(([name]) =>
      el(
        "a",
        { href: `#/${encodeURIComponent(of.code)}/${name}`, "aria-current": name === tab ? "page" : null },
        say("bar." + name),
        name === "alarms" ? el("span", { id: "raised", class: "badge", hidden: !raised }, String(raised)) : null,
      ),
    );
  const speak = el("button", { type: "button", class: "plain", onclick: speakOther, lang: language() === "en" ? "zh-CN" : "en" }, say("bar.language"));
  const out = el("button", { type: "button", class: "plain", onclick: signOut }, say("bar.sign_out"));
  fill(
    $("bar"),
    el("span", { class: "brand" }, say("page.title"), el("small", {}, me.group.name)),
    projects.length ? pick : null,
    el("nav", { "aria-label": say("bar.pages") }, links),
    el("span", { class: "person" }, el("small", { id: "line" }, lineUp === null ? "" : say(lineUp ? "bar.live" : "bar.lost")), el("span", {}, me.operator.name), speak, out),
  ).hidden = false;
}

/** Alarms of the project are heard whatever page is shown. */
function hearAlarms() {
  heard.abort();
  heard = new AbortController();
  if (!me.projects.length) return;
  const of = project();
  if (!permissionsIn(of.id).has("ALARM_READ")) return;
  const told = ({ alarmRaised: alarm }) => {
    tell(say("alarm.raised", { kind: say("alarm." + alarm.kind), serial: alarm.serial || "" }), "stop");
    noted(raised + 1);
    window.dispatchEvent(new CustomEvent("alarm-raised"));
  };
  live.hear("alarms", "AlarmRaised", { project: of.id }, { told, line: lineIs, signal: heard.signal });
  heard.project = of.code;
}

/** Whether what happens is heard at once. */
function lineIs(up) {
  lineUp = up;
  const place = $("line");
  if (place !== null) place.textContent = say(up ? "bar.live" : "bar.lost");
}

function noted(number) {
  raised = number;
  const badge = $("raised");
  if (badge === null) return;
  badge.textContent = String(number);
  badge.hidden = number === 0;
}

function speakOther() {
  otherLanguage();
  document.documentElement.lang = language();
  document.title = say("page.title");
  $("skip").textContent = say("page.skip");
  if (me === null) ended(null);
  else route();
}

async function signOut() {
  try {
    await ask("session", "SignOut");
  } catch (problem) {
    if (problem.code !== "UNAUTHENTICATED") {
      tell(why(problem), "stop");
      return;
    }
  }
  ended(say("sign_in.out"));
}

/** Nobody is signed in (any more): nothing of what was shown stays on the page. */
function ended(sentence) {
  page.abort();
  heard.abort();
  if (live) live.close();
  [me, live, raised, lineUp] = [null, null, 0, null];
  fill($("bar")).hidden = true;
  fill($("told"));
  fill($("alerts"));
  fill($("work"), signInForm({ sentence, done: start, speak: speakOther }));
}

whenSessionEnds(() => ended(me === null ? null : say("sign_in.ended")));
window.addEventListener("hashchange", () => {
  route();
  $("work").focus({ preventScroll: true }); // who reads by ear or keyboard begins at the new page's head
  window.scrollTo(0, 0);
  if (me !== null && me.projects.length && heard.project !== project().code) {
    noted(0);
    hearAlarms();
  }
});
start();
