// What a payer sees of one top-up: three states kept apart (C10). Pure: a topUp in, words out.

/** "10:32", or "8月3日 10:32" when it was not today; in China time whatever the phone says. */
export function clockTime(instant, now) {
  const zone = "Asia/Shanghai";
  const day = new Intl.DateTimeFormat("zh-CN", { timeZone: zone, month: "long", day: "numeric" });
  const time = new Intl.DateTimeFormat("zh-CN", {
    timeZone: zone,
    hour: "2-digit",
    minute: "2-digit",
    hour12: false,
  });
  const at = new Date(instant);
  const clock = time.format(at).replace(/^24/, "00");
  return day.format(at) === day.format(now) ? clock : day.format(at) + " " + clock;
}

/** One word for the whole: waiting, closed, paid, sending, offline, stopped or credited. */
export function stageOf(topUp) {
  if (topUp.meterCredit === "CREDITED") return "credited";
  if (topUp.money === "WAITING") return "waiting";
  if (topUp.money === "CLOSED") return "closed";
  if (topUp.meterCredit === "STOPPED") return "stopped";
  if (topUp.waitingFor) return "offline";
  return topUp.meterCredit === "SENDING" ? "sending" : "paid";
}

/** Money is in, the meter has not said that it holds it. */
export function onTheWay(topUp) {
  return topUp.money === "PAID" && topUp.meterCredit !== "CREDITED";
}

/** Pause until the next question in ms, or 0 when nothing will change any more. */
export function pauseAfter(stage, asked) {
  if (stage === "credited") return 0;
  if (stage === "closed" || stage === "stopped") return 15000;
  return asked < 120 ? 1500 : 10000;
}

/** Head and body of the status: [key, values] each. */
export function summary(topUp, now) {
  const stage = stageOf(topUp);
  if (stage !== "credited") return [[stage + ".head"], [stage + ".body"]];
  const power = { ON: "credited.on", OFF: "credited.off" }[topUp.power] || "credited.body";
  return [["credited.head", { time: clockTime(topUp.creditedAt, now) }], [power]];
}

const SEND = {
  waiting: ["later", "step.later"],
  closed: ["later", "step.later"],
  paid: ["now", "step.send.queued"],
  sending: ["now", "step.send.now"],
  offline: ["stop", "step.send.offline"],
  stopped: ["stop", "step.send.stopped"],
  credited: ["done", "step.send.done"],
};

/** The list of steps: {name, mood, text, values}; mood is done, now, later or stop. */
export function steps(topUp, now) {
  const stage = stageOf(topUp);
  const paid = { WAITING: ["now", "step.paid.waiting"], CLOSED: ["stop", "step.paid.closed"] };
  const [paidMood, paidText] = paid[topUp.money] || ["done", "step.paid.done"];
  const [sendMood, sendText] = SEND[stage];
  return [
    { name: "step.paid", mood: paidMood, text: paidText },
    { name: "step.send", mood: sendMood, text: sendText },
    Object.assign({ name: "step.meter" }, meterStep(topUp, stage, now)),
    Object.assign({ name: "step.power" }, powerStep(topUp, stage)),
  ];
}

function meterStep(topUp, stage, now) {
  if (stage !== "credited") return { mood: "later", text: "step.meter.waiting" };
  const values = { time: clockTime(topUp.creditedAt, now), count: topUp.purchaseNo };
  const text = topUp.purchaseNo === null ? "step.meter.done" : "step.meter.count";
  return { mood: "done", text, values };
}

function powerStep(topUp, stage) {
  if (topUp.power === "ON") return { mood: "done", text: "step.power.on" };
  if (topUp.power === "OFF") return { mood: "stop", text: "step.power.off" };
  return { mood: "later", text: stage === "credited" ? "step.power.unknown" : "step.later" };
}
