// The stage: asks its own server once a second for everything it shows.
import { $, clock, get, made, put } from "./dom.js";
import { offerWords, sayTyped, showChat, showTexts } from "./phone.js";
import { offerNotices, showNotices, showOrders } from "./till.js";
import { showWall } from "./wall.js";

const PAUSE_MS = 1000;
let tenants = [];
let chosen = 0;
let timer = 0;
let asking = 0;

async function refresh() {
  clearTimeout(timer);
  const number = chosen;
  const turn = ++asking;
  try {
    const now = await get("api/now?tenant=" + number);
    // An older question may be answered last, or another tenant was chosen meanwhile.
    if (turn === asking && number === chosen) show(now);
    $("trouble").hidden = true;
  } catch (error) {
    put($("trouble"), "舞台没有回应，正在重试。演示是否还在运行？ The stage does not answer.");
    $("trouble").hidden = false;
  }
  if (turn === asking) timer = setTimeout(refresh, document.hidden ? PAUSE_MS * 10 : PAUSE_MS);
}

function show(now) {
  put($("clock"), clock(now.now));
  showChat(now.chat);
  showTexts(now.sms);
  showWall(now.sites);
  showNotices(now.notices);
  showOrders(now.orders, tenants[chosen], chosen);
}

function choose(number) {
  chosen = number;
  offerWords(tenants[number], number, refresh);
  refresh();
}

async function open() {
  try {
    tenants = (await get("api/tenants")).tenants;
  } catch (error) {
    put($("trouble"), "舞台没有回应，请刷新。 The stage does not answer: reload.");
    $("trouble").hidden = false;
    return;
  }
  tenants.forEach((tenant, number) => {
    const option = made("option", "", tenant.group + " · " + tenant.label);
    option.value = String(number);
    $("tenant").append(option);
  });
  offerNotices();
  choose(0);
}

$("tenant").addEventListener("change", () => choose(Number($("tenant").value)));
$("say").addEventListener("submit", (event) => {
  event.preventDefault();
  sayTyped(chosen, refresh);
});
document.addEventListener("visibilitychange", () => document.hidden || refresh());
open();
