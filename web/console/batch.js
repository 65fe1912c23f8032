// One batch from its preview to its end: who is meant and who is not, the second operator, the time in which it
// can be called off, how far it is, and what is done about what failed.
import { ask, now, Problem } from "./ask.js";
import { BATCH_MOOD } from "./batches.js";
import { button, el, facts, fill, table } from "./dom.js";
import { pill, time } from "./format.js";
import { every } from "./live.js";
import { pager, take } from "./meters.js";
import { attempt, empty, loaded } from "./notes.js";
import { told } from "./said.js";
import { known, say } from "./texts.js";

const ITEM_MOOD = { LEFT_OUT: "later", READY: "wait", ASKED: "now", DONE: "done", FAILED: "stop", OVERTAKEN: "later", CANCELLED: "later" };
const ENDED = ["DONE", "FAILED", "OVERTAKEN", "CANCELLED"];
const OVER = new Set(["DONE", "CANCELLED", "REFUSED", "EXPIRED"]);
const PAGE = 100;

/** The page of the batch with this id. */
export async function showBatch(place, context, id) {
  const view = new View(place, context, id);
  await view.load();
  if (!view.batch) return;
  const line = (up) => view.heardLive(up);
  const told = ({ batchChanged }) => view.moved(batchChanged);
  context.live.hear("batches", "BatchChanged", { id }, { told, line, signal: context.signal });
  const second = setInterval(() => view.tick(), 1000);
  context.signal.addEventListener("abort", () => clearInterval(second));
  every(3, () => view.up || view.settled() || view.load(), context.signal);
}

class View {
  constructor(place, context, id) {
    Object.assign(this, { context, id, batch: null, counts: {}, states: null, up: false, drawn: "" });
    this.looked = { cursors: [null] };
    this.parts = Object.fromEntries(["head", "step", "counts", "list"].map((name) => [name, el("div", { class: "batch-" + name })]));
    this.clock = el("strong", { class: "clock", role: "timer" });
    this.rows = new Map();
    const back = el("a", { href: `#/${encodeURIComponent(context.project.code)}/batches`, class: "back" }, say("batch.back"));
    fill(place, back, Object.values(this.parts));
  }

  settled() {
    return this.batch !== null && OVER.has(this.batch.state);
  }

  async load() {
    await loaded(this.parts.list, async () => {
      const given = { id: this.id, states: this.states, first: PAGE, after: this.looked.cursors.at(-1) };
      const { node } = await ask("batches", "Batch", given);
      if (!node.id) throw new Problem("NOT_FOUND", "");
      this.take(node, node.counts);
      return this.listOf(node.items);
    });
  }

  /** News of the batch: its rows change where they stand. */
  moved({ batch, counts, changed }) {
    for (const item of changed) {
      const row = this.rows.get(item.no);
      if (row) row.replaceWith(this.rowOf({ ...row.item, ...item }));
    }
    this.take(batch, counts);
  }

  heardLive(up) {
    this.up = up;
    this.drawHead();
  }

  take(batch, counts) {
    this.batch = batch;
    this.counts = Object.fromEntries(counts.map((each) => [each.state, each.meters]));
    this.drawHead();
    this.drawCounts();
    this.drawStep();
  }

  number(...states) {
    return states.reduce((sum, state) => sum + (this.counts[state] || 0), 0);
  }

  meant() {
    return this.number("READY", "ASKED", ...ENDED);
  }

  /** Seconds until it begins; 0 once it has. */
  left() {
    const { state, startsAt } = this.batch;
    return state === "RUNNING" && startsAt ? Math.max(0, Math.ceil((Date.parse(startsAt) - now()) / 1000)) : 0;
  }

  tick() {
    const left = this.left();
    this.clock.textContent = left ? say("batch.seconds", { left }) : "";
    this.drawStep();
  }

  drawHead() {
    if (!this.batch) return;
    const { batch } = this;
    const settings = batch.settings.map(({ name, value }) => `${known("setting." + name) ? say("setting." + name) : told(name)} ${told(value)}`).join("，");
    fill(
      this.parts.head,
      el("h1", {}, say("command." + batch.kind), " ", pill(say("batch_state." + batch.state), BATCH_MOOD[batch.state])),
      OVER.has(batch.state) ? null : el("small", { class: "line" }, say(this.up ? "batch.live" : "batch.polled")),
      facts(
        [say("order.reason"), batch.reason],
        [say("batch.settings"), settings],
        [say("order.until"), batch.until && time(batch.until)],
        [say("batch.asked_by"), say("page.beside", { what: batch.askedBy, more: time(batch.askedAt) })],
        [say("batch.ruled_by"), batch.ruledBy && say("page.beside", { what: batch.ruledBy, more: time(batch.ruledAt) })],
        [say("batch.finished"), batch.finishedAt && time(batch.finishedAt, true)],
        [say("batch.note"), batch.note && told(batch.note)],
      ),
    );
  }

  drawCounts() {
    const total = this.meant();
    const ended = this.number(...ENDED);
    const begun = this.number("ASKED", ...ENDED) > 0;
    const bar = el("progress", { max: String(total || 1), value: String(ended), "aria-label": say("batch.progress") });
    fill(
      this.parts.counts,
      begun ? el("p", { class: "progress" }, bar, el("span", {}, say("batch.progress_of", { ended, total }))) : null,
      el("div", { class: "row", role: "group", "aria-label": say("batch.filter") }, this.tab(null, total + this.number("LEFT_OUT")), Object.keys(ITEM_MOOD).map((state) => this.tab(state, this.number(state)))),
    );
  }

  tab(state, number) {
    if (state && !number) return null;
    const pressed = state ? Boolean(this.states) && this.states[0] === state : this.states === null;
    const text = state ? pill(say("item_state." + state), ITEM_MOOD[state]) : say("batch.all");
    const show = () => {
      this.states = state ? [state] : null;
      this.looked.cursors = [null];
      this.load();
    };
    return el("button", { type: "button", class: "state-filter", "aria-pressed": String(pressed), onclick: show }, text, ` ${number}`);
  }

  /** What can be done now. Drawn anew only when that changes, so that a button stays under the finger. */
  drawStep() {
    const { batch } = this;
    const left = this.left();
    const failed = this.number("FAILED");
    const state_now = JSON.stringify([batch.state, left > 0, failed, batch.state === "DRAFT" && this.meant()]);
    if (state_now === this.drawn) return;
    this.drawn = state_now;
    const [mood, sentence, ...acts] = left ? this.callOff() : this.step(failed);
    const export_ = this.context.may.has("METER_EXPORT") && this.settled() ? button(say("meters.export"), () => take(this.context)) : null;
    fill(this.parts.step, el("div", { class: "step " + mood }, el("p", { role: "status" }, sentence), left ? this.clock : null, el("div", { class: "tools" }, acts, export_)));
    this.clock.textContent = left ? say("batch.seconds", { left }) : "";
  }

  callOff() {
    return ["stop", say("batch.calling_off"), this.act("CancelBatch", say("batch.call_off"), "danger", say("batch.called_off"))];
  }

  step(failed) {
    const { batch } = this;
    const meant = { number: this.meant(), command: say("command." + batch.kind) };
    const cancel = () => this.act("CancelBatch", say("batch.cancel_rest"), "second");
    const retry = failed ? this.act("RetryBatch", say("batch.retry", { failed }), "main") : null;
    switch (batch.state) {
      case "DRAFT":
        if (!meant.number) return ["later", say("batch.nobody")];
        if (!batch.mine) return ["later", say("batch.draft_other", { who: batch.askedBy })];
        return ["now", say(batch.second ? "batch.draft_second" : "batch.draft", meant), this.act("ConfirmBatch", say("batch.confirm", meant), batch.kind === "TRIP" ? "danger" : "main")];
      case "WAITING":
        if (batch.mine) return ["now", say("batch.waiting_mine"), cancel()];
        if (!this.context.may.has("BATCH_APPROVE")) return ["now", say("batch.waiting_other")];
        return ["now", say("batch.waiting_you", { ...meant, who: batch.askedBy }), this.act("RuleBatch", say("batch.approve"), "main", null, { approved: true }), this.act("RuleBatch", say("batch.refuse"), "second", null, { approved: false })];
      case "RUNNING":
        return ["now", say("batch.running"), this.act("PauseBatch", say("batch.pause"), "second"), cancel()];
      case "PAUSED":
        return ["stop", say("batch.paused"), this.act("ResumeBatch", say("batch.resume"), "main"), cancel()];
      default:
        return [batch.state === "DONE" ? "done" : "later", say("batch.over_" + batch.state), retry];
    }
  }

  act(operation, text, kind, done = null, more = {}) {
    const needs = operation === "RuleBatch" ? "BATCH_APPROVE" : "BATCH_RUN";
    if (!this.context.may.has(needs)) return null;
    return button(
      text,
      async () => {
        if (await attempt(() => ask("batches", operation, { id: this.id, ...more }), done)) await this.load();
      },
      { kind },
    );
  }

  listOf(items) {
    this.rows.clear();
    if (!items.edges.length) return empty(say("batch.no_items"));
    const rows = items.edges.map(({ node }) => this.rowOf(node));
    const heads = [[say("batch.no"), "number tick"], say("meters.serial"), say("meters.who"), say("batch.item"), say("batch.item_note")];
    return [table(say("batch.meters"), heads, rows), pager(this.looked, items.pageInfo, () => this.load())];
  }

  rowOf(item) {
    const { serves } = item;
    const note = item.leftOut ? say("left_out." + item.leftOut) : told(item.note || "");
    const row = el(
      "tr",
      {},
      el("td", { class: "number" }, String(item.no)),
      el("td", {}, item.serial),
      el("td", { class: "who" }, serves ? [el("span", { class: "name" }, `${serves.no} ${serves.name}`), el("small", {}, serves.place)] : "—"),
      el("td", {}, pill(say("item_state." + item.state), ITEM_MOOD[item.state]), item.tries ? el("small", {}, say("batch.tries", { tries: item.tries })) : null),
      el("td", {}, note),
    );
    row.item = item;
    this.rows.set(item.no, row);
    return row;
  }
}
