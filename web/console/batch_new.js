// A new batch: which meters, what they are told, and why. Nothing goes to a meter from here: first a preview.
import { ask } from "./ask.js";
import { button, choice, el, fill, labelled } from "./dom.js";
import { mark } from "./format.js";
import { chosenIn } from "./meters.js";
import { attempt } from "./notes.js";
import { OrderFields, point } from "./orders.js";
import { areaOptions } from "./places.js";
import { say } from "./texts.js";

/** The page. */
export async function showNewBatch(place, context) {
  const looked = chosenIn(context.project);
  const found = await attempt(() => ask("meters", "Places", { project: context.project.id }));
  const areas = (found && found.project.areas) || [];
  const tags = (found && found.meterTags) || [];
  const meters = new MeterFields(context, looked, areas, tags);
  const order = new OrderFields();
  const error = el("p", { class: "error", role: "alert" });
  const preview = button(say("batch_new.preview"), () => prepare(context, meters, order, error), { kind: "main" });
  const back = el("a", { href: `#/${encodeURIComponent(context.project.code)}/meters`, class: "back" }, say("meter.back"));
  const part = (title, ...children) => el("fieldset", { class: "card" }, el("legend", {}, title), children);
  fill(
    place,
    back,
    el("h1", {}, say("batch_new.head")),
    el("form", { onsubmit: (event) => event.preventDefault() }, part(say("batch_new.meters"), meters.element), part(say("batch_new.order"), order.element), error, el("div", { class: "tools" }, preview)),
  );
}

async function prepare(context, meters, order, error) {
  error.textContent = "";
  const [which, what] = [meters.read(), order.read()];
  const wrong = which.wrong || what.wrong;
  if (wrong) {
    point(error, wrong);
    return;
  }
  const batch = await attempt(() => ask("batches", "PrepareBatch", { project: context.project.id, ...which, ...what }));
  if (batch === null) return;
  chosenIn(context.project).chosen.clear();
  context.go("batch", batch.id);
}

/** By numbers (those chosen in the list, or pasted), or by place, state and label. */
class MeterFields {
  constructor(context, looked, areas, tags) {
    const narrowed = looked.area || looked.tag || looked.states.size;
    this.way = looked.chosen.size || !narrowed ? "numbers" : "filter";
    this.numbers = el("textarea", { name: "numbers", rows: "6", spellcheck: "false", autocomplete: "off" });
    this.numbers.value = [...looked.chosen].join("\n");
    this.area = choice([["", say("meters.all_areas")], ...areaOptions(areas)], looked.area, { name: "area" });
    this.tag = choice([["", say("meters.all_tags")], ...tags.map((each) => [each.tag, say("page.beside", { what: each.tag, more: each.meters })])], looked.tag, { name: "tag" });
    this.states = new Map(context.marks.map((each) => [each.state, el("input", { type: "checkbox", name: "state", value: each.state, checked: looked.states.has(each.state) })]));
    const boxes = context.marks.map((each) => el("label", { class: "box" }, this.states.get(each.state), mark(each)));
    const ways = ["numbers", "filter"].map((way) => {
      const radio = el("input", { type: "radio", name: "way", value: way, checked: way === this.way });
      radio.addEventListener("change", () => this.show(way));
      return el("label", { class: "box" }, radio, say("batch_new.by_" + way));
    });
    this.parts = {
      numbers: labelled(say("batch_new.numbers"), this.numbers, say("batch_new.numbers_form")),
      filter: el(
        "div",
        {},
        el("div", { class: "row" }, labelled(say("meters.area"), this.area), labelled(say("meters.tag"), this.tag)),
        el("div", { class: "row", role: "group", "aria-label": say("meters.states") }, boxes),
        el("small", {}, say("batch_new.filter_form")),
      ),
    };
    this.element = el("div", {}, el("div", { class: "row", role: "radiogroup", "aria-label": say("batch_new.meters") }, ways), Object.values(this.parts));
    this.show(this.way);
  }

  show(way) {
    this.way = way;
    for (const [name, part] of Object.entries(this.parts)) part.hidden = name !== way;
  }

  read() {
    if (this.way === "numbers") {
      const text = this.numbers.value.trim();
      return text ? { numbers: { text } } : { wrong: [this.numbers, say("batch_new.numbers_missing")] };
    }
    const states = [...this.states].filter(([, box]) => box.checked).map(([state]) => state);
    if (!states.length && !this.area.value && !this.tag.value) return { wrong: [this.area, say("batch_new.filter_missing")] };
    return {
      areas: this.area.value ? [this.area.value] : null,
      states: states.length ? states : null,
      tags: this.tag.value ? [this.tag.value] : null,
    };
  }
}
