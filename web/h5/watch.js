// Watching one top-up: ask the backend, show how far it is, ask again until it is decided.
import { $, made, put, status } from "./dom.js";
import { spoken } from "./money.js";
import { pauseAfter, stageOf, steps, summary } from "./progress.js";
import { ask, TOP_UP } from "./queries.js";
import { say } from "./texts.js";

const MOODS = { credited: "done", offline: "stop", stopped: "stop", closed: "stop" };
const MARKS = { done: "✓", now: "●", later: "", stop: "!" };

/** Asks on until `stop`; tells `seen(topUp)` each answer and `gone()` when there is no such order. */
export class Watch {
  constructor({ token, id, seen, gone }) {
    Object.assign(this, { token, id, seen, gone });
    this.asked = 0;
    this.timer = 0;
    this.over = false;
    this.waking = () => document.hidden || this.now();
    document.addEventListener("visibilitychange", this.waking);
  }

  stop() {
    this.over = true;
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.waking);
  }

  /** Ask at once; later questions follow by themselves. */
  async now() {
    clearTimeout(this.timer);
    if (this.over || this.asking) return;
    this.asking = true;
    this.asked += 1;
    const pause = await this.once().catch(() => this.unanswered());
    this.asking = false;
    if (this.over || pause === 0) return;
    this.timer = setTimeout(() => document.hidden || this.now(), pause);
  }

  async once() {
    const topUp = await topUpOf(this.token, this.id);
    if (this.over) return 0;
    put("progress-error", "");
    if (topUp === null) {
      this.gone();
      return 0;
    }
    render(topUp);
    this.seen(topUp);
    return pauseAfter(stageOf(topUp), this.asked);
  }

  unanswered() {
    if (!this.over) put("progress-error", say("progress.retry"));
    return 4000;
  }
}

/** The top-up with this id, null when this link has none such. Throws Unreachable. */
export async function topUpOf(token, id) {
  const found = (await ask(TOP_UP, "TopUpByLink", { token, id })).topUpByLink;
  return found || null;
}

function render(topUp) {
  const now = new Date();
  const stage = stageOf(topUp);
  const [head, body] = summary(topUp, now);
  status(head, body, MOODS[stage] || "now");
  put("progress-amount", say("progress.yuan", { amount: spoken(topUp.amount) }));
  $("go-on").hidden = stage !== "waiting";
  $("again").hidden = false;
  put("again", say(stage === "waiting" ? "progress.change" : "progress.again"));
  const list = $("steps");
  list.textContent = "";
  for (const step of steps(topUp, now)) {
    const row = made("li", step.mood);
    const mark = made("span", "mark", MARKS[step.mood]);
    mark.setAttribute("aria-hidden", "true");
    const words = made("span", "words");
    words.append(made("strong", "", say(step.name)), made("span", "", say(step.text, step.values)));
    row.append(mark, words);
    list.append(row);
  }
}
