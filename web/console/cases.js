// Exception cases: what a person must look at. Each ends with a note.
import { ask } from "./ask.js";
import { button, el, fill, table } from "./dom.js";
import { pill, time } from "./format.js";
import { detailsOf, linkTo, noteForm } from "./alarms.js";
import { every } from "./live.js";
import { empty, loaded } from "./notes.js";
import { pager } from "./meters.js";
import { told } from "./said.js";
import { known, say, word } from "./texts.js";

// The subject of a case is shown where it has a page of its own and the details do not name it.
const ABOUT = {
  ...{ BATCH_FAILED: "Batch", BATCH_HALTED: "Batch", METER_DRIFT: "Meter", METER_PRICES_LAG: "Meter" },
  ...{ SUPPLY_NOT_OBEYED: "Meter", VEND_STOPPED: "Meter" },
};

/** The page. */
export async function showCases(place, context) {
  const looked = { open: true, cursors: [null] };
  const list = el("div", {});
  const refresh = () => (list.querySelector("form") ? null : loaded(list, () => page(context, looked, refresh)));
  const past = el("input", { type: "checkbox" });
  past.addEventListener("change", () => {
    Object.assign(looked, { open: !past.checked, cursors: [null] });
    fill(list);
    refresh();
  });
  fill(place, el("h1", {}, say("cases.head")), el("p", { class: "quiet" }, say("cases.more")), el("div", { class: "row" }, el("label", { class: "box" }, past, say("cases.past"))), list);
  every(60, refresh, context.signal);
  await refresh();
}

async function page(context, looked, refresh) {
  const { cases } = await ask("alarms", "Cases", { project: context.project.id, onlyOpen: looked.open, first: 50, after: looked.cursors.at(-1) });
  if (!cases.edges.length) return empty(say(looked.open ? "cases.none" : "cases.none_ever"));
  const rows = cases.edges.map(({ node }) => {
    const taken = el("td", { class: "taken" });
    fill(taken, endOf(context, node, taken, refresh));
    return el("tr", {}, el("td", { class: "kind" }, ...kindOf(node.kind)), el("td", {}, time(node.openedAt)), el("td", {}, detailsOf(context, node.detail), ABOUT[node.kind] ? linkTo(context, ABOUT[node.kind], node.subject) : null), taken);
  });
  return [table(say("cases.head"), [say("cases.kind"), say("cases.opened"), say("alarms.detail"), say("cases.end")], rows), pager(looked, cases.pageInfo, refresh)];
}

/** What it is called, and what a person does about it where the name alone does not say. */
function kindOf(kind) {
  const more = "case_more." + kind;
  return [word("case.", kind), known(more) ? el("small", {}, say(more)) : null];
}

function endOf(context, node, place, refresh) {
  if (node.resolvedAt) return [pill(node.resolvedBy || "", "done"), el("small", {}, `${time(node.resolvedAt)} ${told(node.note || "")}`)];
  if (!context.may.has("CASE_RESOLVE")) return el("span", { class: "quiet" }, say("cases.open"));
  const send = (note) => ask("alarms", "ResolveCase", { id: node.id, note });
  const again = () => {
    fill(place);
    refresh();
  };
  return button(say("cases.resolve"), () => noteForm(place, { send, done: again, leave: again, thanks: say("cases.resolved") }));
}
