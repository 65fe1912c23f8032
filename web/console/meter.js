// One meter: what it shows, whom it serves and with what money, what it was told, and a command to it.
import { ask, Problem } from "./ask.js";
import { button, card, el, facts, fill, table } from "./dom.js";
import { ago, mark, pill, time, yuan } from "./format.js";
import { every } from "./live.js";
import { attempt, empty, loaded } from "./notes.js";
import { OrderFields, point } from "./orders.js";
import { told } from "./said.js";
import { say, word } from "./texts.js";

const MOOD = { VERIFIED: "done", QUEUED: "wait", SENT: "now", FAILED: "stop", EXPIRED: "stop", SUPERSEDED: "later" };
const CREDIT = { CREDITED: "done", WAITING: "wait", SENDING: "now", STOPPED: "stop", MOVED: "later" };

/** The page of the meter with this id. */
export async function showMeter(place, context, id) {
  const back = el("a", { href: `#/${encodeURIComponent(context.project.code)}/meters`, class: "back" }, say("meter.back"));
  const head = el("div", { class: "meter-head" });
  const [shown, account, topUps, history] = ["columns", "", "", ""].map((kind) => el("div", { class: kind }));
  fill(place, back, head, shown, topUps, history);
  const look = () =>
    loaded(shown, async () => {
      const { node, meterAlarmLevels } = await ask("meter", "Meter", { id });
      if (!node.serial) throw new Problem("NOT_FOUND", "");
      fill(head, headOf(context, node, look));
      fill(history, commandsOf(node));
      if (!account.hasChildNodes() && node.serves) loaded(account, () => accountOf(node.serves.account, topUps));
      return [readingOf(node), el("div", {}, node.serves ? account : null, supplyOf(node)), modelOf(node, meterAlarmLevels)];
    });
  every(15, look, context.signal);
  await look();
}

function headOf(context, node, look) {
  const { may } = context;
  const refresh = button(say("meter.refresh"), async () => {
    if (await attempt(() => ask("meter", "RefreshMeter", { meter: node.id }), say("meter.refreshing"))) await look();
  });
  const tell = button(say("meter.command"), () => commandDialog(node, look), { kind: "main" });
  return [
    el("h1", {}, node.serial, " ", mark(node.state)),
    node.sellingStopped ? el("p", { class: "warn" }, say("meter.selling_stopped")) : null,
    node.lostSince ? el("p", { class: "warn" }, say("meter.lost", { since: time(node.lostSince) })) : null,
    el("div", { class: "tools" }, may.has("METER_CONTROL") ? tell : null, may.has("METER_REFRESH") ? refresh : null),
  ];
}

function readingOf(node) {
  const { latest } = node;
  if (!latest) return card(say("meter.reading"), empty(say("meter.never_read")));
  const bands = latest.bands.map(({ band, total }) => [word("band.", band), `${total} ${node.unit}`]);
  return card(
    say("meter.reading"),
    facts(
      [say("meters.balance"), el("strong", {}, yuan(node.balance))],
      [say("meters.total"), `${latest.total} ${node.unit}`],
      ...bands,
      [say("meter.remaining"), latest.remaining && yuan(latest.remaining)],
      [say("meter.purchases"), latest.purchaseCount],
      [say("meters.power"), say("relay." + latest.relay)],
      [say("meter.power_now"), latest.power === null ? null : `${latest.power} W`],
      [say("meter.voltage"), latest.voltage && `${latest.voltage} V`],
      [say("meter.current"), latest.current && `${latest.current} A`],
      [say("meter.read_at"), say("page.beside", { what: time(latest.at, true), more: ago(latest.at) })],
      [say("meter.line"), say(node.online ? "meters.online" : "meters.offline")],
      [say("meters.tags"), node.tags.join("、")],
    ),
  );
}

function supplyOf(node) {
  const { supply } = node;
  if (!supply) return card(say("meter.supply"), empty(say("meter.no_supply")));
  const said = (by) => by && say("page.beside", { what: told(by.reason), more: `${told(by.by)} ${time(by.at)}` });
  return card(
    say("meter.supply"),
    facts(
      [say("meter.policy"), say("policy." + supply.policy)],
      [say("meter.said"), said(supply.policySaid)],
      [say("meter.until"), supply.until && time(supply.until)],
      [say("meter.protected"), said(supply.protected)],
      [say("meter.emergency"), said(supply.emergency)],
      [say("meter.want"), supply.want && say("intent." + supply.want)],
      [say("meter.why"), supply.why && word("reason.", supply.why)],
      [say("meter.decided"), supply.decidedAt && time(supply.decidedAt)],
    ),
  );
}

function modelOf(node, levels) {
  const { model } = node;
  const grade = model && pill(say("evidence." + model.evidence), model.evidence === "UNVERIFIED" ? "stop" : "done");
  return card(
    say("meter.model"),
    model ? el("p", { class: "grade" }, grade, el("small", {}, say("evidence_more." + model.evidence))) : null,
    facts(
      [say("meter.model_name"), model ? model.name : say("meter.model_unknown")],
      [say("meter.maker"), model && model.maker],
      [say("meter.protocol"), model && model.protocol],
      [say("meter.kind"), say("kind." + node.kind)],
      [say("meter.money_at"), model && say(model.holdsMoney ? "meter.in_meter" : "meter.in_cloud")],
      [say("meter.levels"), levels && `${yuan(levels.low1)} / ${yuan(levels.low2)}${levels.own ? say("meter.own_levels") : ""}`],
      [say("threshold.overload_w"), levels && levels.overloadW && `${levels.overloadW} W`],
    ),
  );
}

async function accountOf(id, topUpsPlace) {
  const { account } = await ask("meter", "AccountOfMeter", { account: id });
  const { figures, ledger, forecast } = account;
  const topUps = account.topUps ? account.topUps.edges.map((edge) => edge.node) : [];
  const rows = topUps.map((each) =>
    el(
      "tr",
      {},
      el("td", { class: "still" }, time(each.createdAt)),
      el("td", { class: "number" }, yuan(each.amount)),
      el("td", {}, word("channel.", each.channel)),
      el("td", {}, say("paid." + each.money)),
      el("td", {}, pill(say("credit." + each.meterCredit), CREDIT[each.meterCredit])),
      el("td", { class: "number wide" }, each.purchaseNo === null ? "—" : String(each.purchaseNo)),
      el("td", { class: "wide" }, el("small", {}, each.orderNo)),
    ),
  );
  const heads = [say("topup.at"), [say("topup.amount"), "number"], say("topup.channel"), say("topup.money"), say("topup.credit"), [say("topup.no"), "number wide"], [say("topup.order"), "wide"]];
  fill(topUpsPlace, card(say("topup.head"), rows.length ? table(say("topup.head"), heads, rows) : empty(say("topup.none"))));
  return card(
      say("account.head"),
      facts(
        [say("account.no"), account.no],
        [say("account.name"), account.name],
        [say("account.place"), account.place],
        [say("account.phone"), account.phone],
        [say("account.opened"), time(account.openedAt)],
        [say("account.available"), figures && yuan(figures.available)],
        [say("account.uncharged"), figures && yuan(figures.uncharged)],
        [say("account.at_meters"), ledger && yuan(ledger.atMeters)],
        [say("account.in_transit"), ledger && yuan(ledger.inTransit)],
        [say("account.days_left"), forecast && forecast.daysLeft !== null ? say("account.days", { days: forecast.daysLeft }) : null],
      ),
  );
}

function commandsOf(node) {
  const rows = node.commands.map((each) =>
    el(
      "tr",
      {},
      el("td", { class: "still" }, time(each.issuedAt)),
      el("td", {}, say("command." + each.kind)),
      el("td", {}, pill(say("command_state." + each.state), MOOD[each.state]), el("small", {}, told(each.outcome || ""))),
      el("td", {}, told(each.reason), el("small", {}, told(each.requestedBy))),
    ),
  );
  const heads = [say("command.at"), say("order.kind"), say("command.state"), say("order.reason")];
  return card(say("command.head"), rows.length ? table(say("command.head"), heads, rows) : empty(say("command.none")));
}

function commandDialog(node, look) {
  const order = new OrderFields({ kind: "RELEASE" });
  const error = el("p", { class: "error", role: "alert" });
  const dialog = el("dialog", { "aria-label": say("meter.command") });
  const give = button(
    say("order.give"),
    async () => {
      const read = order.read();
      if (read.wrong) {
        point(error, read.wrong);
        return;
      }
      if (await attempt(() => ask("meter", "CommandMeter", { meter: node.id, ...read }), say("order.given"))) {
        dialog.close();
        await look();
      }
    },
    { kind: "main" },
  );
  const leave = el("button", { type: "button", class: "second", onclick: () => dialog.close() }, say("order.leave"));
  dialog.append(el("h2", {}, say("meter.command_head", { serial: node.serial })), order.element, error, el("div", { class: "tools" }, give, leave));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
