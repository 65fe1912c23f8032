// The batches of a project, newest first.
import { ask } from "./ask.js";
import { button, el, fill, table } from "./dom.js";
import { pill, time } from "./format.js";
import { every } from "./live.js";
import { empty, loaded } from "./notes.js";
import { pager } from "./meters.js";
import { say } from "./texts.js";

export const BATCH_MOOD = { DRAFT: "later", WAITING: "wait", RUNNING: "now", PAUSED: "stop", DONE: "done", CANCELLED: "later", REFUSED: "stop", EXPIRED: "later" };

/** The page. */
export async function showBatches(place, context) {
  const looked = { cursors: [null] };
  const list = el("div", {});
  const refresh = () => loaded(list, () => page(context, looked, refresh));
  const make = button(say("batches.new"), () => context.go("new-batch"), { kind: "main" });
  fill(place, el("h1", {}, say("batches.head")), el("div", { class: "tools" }, context.may.has("BATCH_RUN") ? make : null), list);
  every(15, refresh, context.signal);
  await refresh();
}

async function page(context, looked, refresh) {
  const { batches } = await ask("batches", "Batches", { project: context.project.id, first: 20, after: looked.cursors.at(-1) });
  if (!batches.edges.length) return empty(say("batches.none"));
  const rows = batches.edges.map(({ node }) => {
    const href = `#/${encodeURIComponent(context.project.code)}/batch/${encodeURIComponent(node.id)}`;
    const number = (state) => (node.counts.find((each) => each.state === state) || { meters: 0 }).meters;
    const meant = node.counts.reduce((sum, each) => sum + each.meters, 0) - number("LEFT_OUT");
    return el(
      "tr",
      {},
      el("td", {}, el("a", { href }, say("command." + node.kind)), el("small", {}, time(node.askedAt))),
      el("td", {}, pill(say("batch_state." + node.state), BATCH_MOOD[node.state])),
      el("td", { class: "number" }, String(meant)),
      el("td", { class: "number" }, String(number("DONE"))),
      el("td", { class: "number" }, String(number("FAILED"))),
      el("td", {}, node.reason),
      el("td", {}, node.askedBy),
    );
  });
  const heads = [say("order.kind"), say("batch.state"), [say("batch.meters"), "number"], [say("item_state.DONE"), "number"], [say("item_state.FAILED"), "number"], say("order.reason"), say("batch.asked_by")];
  return [table(say("batches.head"), heads, rows), pager(looked, batches.pageInfo, refresh)];
}
