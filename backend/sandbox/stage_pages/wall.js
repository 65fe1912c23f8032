// The wall: every virtual meter as its display shows it, and the switches that make it fail.
import { $, clock, made, post, put, toggle } from "./dom.js";

const cards = new Map();

/** Bring the wall up to date; cards stay in place, so that a switch is never lost under a finger. */
export function showWall(sites) {
  sites.forEach((site, number) => {
    const place = siteOf(number);
    place.silent.hidden = site.gateways !== null && site.meters !== null;
    for (const gateway of site.gateways || []) gatewayOf(place, number, gateway);
    for (const meter of site.meters || []) meterOf(number, meter);
  });
}

function kept(key, build) {
  if (!cards.has(key)) cards.set(key, build());
  return cards.get(key);
}

function siteOf(number) {
  return kept("site " + number, () => {
    const box = made("div", "site");
    const silent = made("p", "trouble", "现场 " + (number + 1) + " 没有回应。");
    box.append(silent);
    $("sites").append(box);
    return { box, silent };
  });
}

function turn(path, name, value) {
  return post(path, { [name]: value }).catch(() => null);
}

function gatewayOf(place, number, gateway) {
  const path = "api/sites/" + number + "/gateways/" + encodeURIComponent(gateway.serial);
  const card = kept("gateway " + number + " " + gateway.serial, () => {
    const box = made("section", "gateway");
    const head = made("div", "gateway-head");
    const offline = toggle("网关断网", "gateway offline", (on) => turn(path, "offline", on));
    const state = made("span", "state");
    head.append(made("h3", "", "网关 " + gateway.serial), state, offline.label);
    const meters = made("div", "meters");
    box.append(head, meters);
    place.box.append(box);
    return { meters, offline, state };
  });
  card.offline.box.checked = gateway.faults.offline;
  put(card.state, gateway.faults.offline ? "✕ 已断网" : "✓ 在线");
  card.state.className = "state " + (gateway.faults.offline ? "bad" : "good");
}

function meterOf(number, meter) {
  const gateway = cards.get("gateway " + number + " " + meter.gateway);
  if (!gateway) return;
  const card = kept("meter " + number + " " + meter.serial, () => newMeter(number, meter, gateway));
  const closed = meter.relay === "CLOSED";
  put(card.money, meter.remaining);
  put(card.count, String(meter.purchase_count));
  put(card.energy, meter.energy + " kWh");
  put(card.lamp, (closed ? "● 通电" : "○ 断电") + (meter.forced ? "（强制）" : ""));
  card.lamp.className = "lamp " + (closed ? "good" : "bad");
  const sale = meter.sales[0];
  put(card.sale, sale ? sale.amount + " 元 " + clock(sale.at) : "还没有");
  card.silent.box.checked = meter.faults.silent;
  card.mute.box.checked = meter.faults.drop_write_answers > 0;
  if (meter.purchase_count !== card.seen) {
    card.seen = meter.purchase_count;
    put(card.fresh, "刚到账 " + (sale ? sale.amount + " 元" : ""));
    card.box.classList.add("lit");
    clearTimeout(card.timer);
    card.timer = setTimeout(() => {
      put(card.fresh, "");
      card.box.classList.remove("lit");
    }, 15000);
  }
}

function newMeter(number, meter, gateway) {
  const path = "api/sites/" + number + "/meters/" + encodeURIComponent(meter.serial);
  const box = made("article", "meter");
  const head = made("div", "meter-head");
  const lamp = made("span", "lamp");
  head.append(made("h4", "", meter.serial), lamp);
  const display = made("div", "display");
  const money = made("strong");
  const line = made("p", "money", "余额 ");
  line.append(money, " 元");
  const facts = made("dl");
  const [count, energy, sale] = ["购电次数", "电量", "上次购电"].map((name) => {
    const row = made("div");
    const value = made("dd");
    row.append(made("dt", "", name), value);
    facts.append(row);
    return value;
  });
  const fresh = made("p", "fresh");
  fresh.setAttribute("role", "status");
  display.append(line, facts, fresh);
  const silent = toggle("不听不答", "", (on) => turn(path, "silent", on));
  const mute = toggle("做完不回答", "", (on) =>
    turn(path, "drop_write_answers", on ? 1 : 0),
  );
  const switches = made("div", "switches");
  switches.append(silent.label, mute.label);
  box.append(head, display, switches);
  gateway.meters.append(box);
  const seen = meter.purchase_count;
  return { box, lamp, money, count, energy, sale, fresh, silent, mute, seen, timer: 0 };
}
