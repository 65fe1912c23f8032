// The pay page: who is paid for, how much, one button, and then how far the money is.
import { AmountChoice } from "./amount.js";
import { $, only, put, status } from "./dom.js";
import { Memory } from "./memory.js";
import { spoken } from "./money.js";
import { onTheWay } from "./progress.js";
import { ask, PAY_LINK, START_TOP_UP, Unreachable } from "./queries.js";
import { fillTexts, say } from "./texts.js";
import { goToCashier, MeterChoice, parametersOf, paySheet, WayChoice } from "./till.js";
import { topUpOf, Watch } from "./watch.js";

const token = decodeURIComponent(location.pathname.split("/").pop());
const memory = new Memory(token);
let link = null;
let choice = null;
let way = null;
let meter = null;
let watch = null;
let topUp = null; // the order last seen
let warned = false; // the payer wants a second payment although the first is on the way
let busy = false;

async function open() {
  only();
  status(["page.loading"]);
  try {
    link = (await ask(PAY_LINK, "PayLink", { token })).payLink || null;
  } catch (error) {
    only("reload");
    status(["error.load"], null, "stop");
    return;
  }
  if (link === null) {
    only("gone");
    status();
    return;
  }
  put("account-name", link.accountName);
  put("account-place", link.place);
  choice = new AmountChoice(link, changed);
  way = new WayChoice(link.ways);
  meter = new MeterChoice(link.meters);
  // Back from a cashier that knows nothing of the part behind the #.
  if (asked("back") && !location.hash && memory.last() !== null) {
    history.replaceState(null, "", location.pathname + orderHash(memory.last()));
  }
  await route();
}

/** The address says what is shown: `#order=ID` the progress of that order, else the form. */
async function route() {
  if (link === null) return;
  if (watch !== null) watch.stop();
  watch = null;
  const found = /^#order=(.+)$/.exec(location.hash);
  if (found) showProgress(decodeURIComponent(found[1]));
  else await showForm();
}

function showProgress(id) {
  idle();
  for (const button of ["go-on", "again"]) $(button).hidden = true;
  put("steps", "");
  put("progress-amount", "");
  only("account", "progress");
  put("error", "");
  status(["progress.checking"]);
  watch = new Watch({ token, id, seen, gone: () => goTo("") });
  watch.now();
}

function seen(found) {
  topUp = found;
  if (found.money !== "WAITING") memory.decided(found.id);
}

async function showForm() {
  only("account", "form");
  status();
  $("warning").hidden = true;
  warned = false;
  idle();
  if (asked("login") === "failed") put("error", say("error.login"));
  if (memory.last() !== null) await lookBack().then(warn).catch(() => null);
}

/** The last order of this link on this device, as the backend has it now. Throws Unreachable. */
async function lookBack() {
  const id = memory.last();
  const found = id === null ? null : await topUpOf(token, id);
  if (found !== null) seen(found);
  return found;
}

/** Show the warning when money is on the way; gives whether it stands in the way. */
function warn(found) {
  const standing = found !== null && onTheWay(found) && !warned;
  $("warning").hidden = !standing;
  $("pay").hidden = standing;
  return standing;
}

function changed() {
  put("error", "");
  $("own-amount").removeAttribute("aria-invalid");
  if (!busy) idle();
}

function idle() {
  busy = false;
  for (const id of ["pay", "go-on", "warning-pay"]) $(id).disabled = false;
  const { amount } = choice.read();
  put("pay", amount ? say("pay.button", { amount: spoken(amount) }) : say("pay.button_empty"));
  put("go-on", say("progress.pay"));
}

async function payChosen() {
  const read = choice.read();
  if (read.wrong) {
    tell("error", say(...read.wrong));
    if (read.own) $("own-amount").setAttribute("aria-invalid", "true");
    if (read.own) $("own-amount").focus();
    return;
  }
  await pay(read.amount, "error", async () => warn(await lookBack()), meter.picked());
}

/** Start a payment; `stopped` may hold it back. Failures are told in the element `place`. */
async function pay(amount, place, stopped, meterId, channel) {
  if (busy) return;
  busy = true;
  for (const id of ["pay", "go-on", "warning-pay"]) $(id).disabled = true;
  put("pay", say("pay.busy"));
  put("go-on", say("pay.busy"));
  put(place, "");
  try {
    if (await stopped()) $("warning").focus();
    else if (await handOver(amount, place, meterId, channel)) return; // the browser is leaving for the cashier
  } catch (error) {
    tell(place, say(error instanceof Unreachable ? "error.network" : "error.other"));
  }
  idle();
}

/** Make the order for a meter and open the till of `channel`, or of the chosen one; whether the browser is leaving.
 *  Throws Unreachable. */
async function handOver(amount, place, meterId, channel) {
  const chosen = way.picked(channel);
  if (chosen === null) {
    tell(place, say(/MicroMessenger/i.test(navigator.userAgent) ? "error.open_from_chat" : "error.open_elsewhere"));
    return false;
  }
  const { method } = chosen;
  const idempotencyKey = memory.keyFor(amount, [chosen.channel, method, meterId || ""].join("/"));
  const variables = { token, amount, channel: chosen.channel, method, meter: meterId, idempotencyKey };
  const answer = (await ask(START_TOP_UP, "StartTopUpByLink", variables)).startTopUpByLink;
  if (answer.__typename !== "TopUpStarted") {
    tell(place, problem(answer.__typename));
    return false;
  }
  memory.made(answer.topUp.id, meterId);
  const parameters = parametersOf(answer.page);
  const unpaid = answer.topUp.money === "WAITING";
  if (unpaid && method !== "JSAPI") {
    // Into the history first: the way back from the cashier ends at this order.
    history.replaceState(null, "", orderHash(answer.topUp.id));
    goToCashier(parameters, method);
    return true;
  }
  if (unpaid) await paySheet(parameters, chosen.channel);
  goTo(orderHash(answer.topUp.id));
  return false;
}

/** Say a failure where the button is, and bring it into sight. */
function tell(place, sentence) {
  put(place, sentence);
  $(place).scrollIntoView({ block: "nearest" });
}

function problem(name) {
  if (/Invalid/.test(name)) return say("error.amount_limits", choice.limits());
  if (/Conflict/.test(name)) return say("error.conflict");
  if (/Unavailable|Refused/.test(name)) return say("error.channel");
  if (/Rate/.test(name)) return say("error.often");
  if (/NotFound/.test(name)) return say("gone.head");
  return say("error.other");
}

/** What our own address says under `name`, null without it. */
function asked(name) {
  return new URLSearchParams(location.search).get(name);
}

function orderHash(id) {
  return "#order=" + encodeURIComponent(id);
}

function goTo(hash) {
  history.replaceState(null, "", hash || location.pathname);
  route();
}

fillTexts(document);
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  payChosen();
});
$("go-on").addEventListener("click", () => {
  if (!topUp) return;
  // Going on with an order pays for the meter that it was made for, whatever is chosen now.
  const known = memory.meterOf(topUp.id);
  pay(topUp.amount, "progress-error", async () => false, known === undefined ? meter.picked() : known, topUp.channel);
});
$("again").addEventListener("click", () => goTo(""));
$("warning-look").addEventListener("click", () => goTo(orderHash(memory.last())));
$("warning-pay").addEventListener("click", () => {
  warned = true;
  payChosen();
});
$("reload").addEventListener("click", open);
window.addEventListener("hashchange", route);
window.addEventListener("pageshow", (event) => {
  if (event.persisted && link !== null) route();
});
open();
