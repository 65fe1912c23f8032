// The list of meters: narrowed by place, state, label and what is typed; chosen ones go into a batch.
import { ask } from "./ask.js";
import { button, choice, el, fill, table } from "./dom.js";
import { ago, mark, pill, time, yuan } from "./format.js";
import { every } from "./live.js";
import { attempt, empty, loaded, tell } from "./notes.js";
import { say } from "./texts.js";
import { areaOptions } from "./places.js";

const PAGE = 50;
const kept = new Map(); // by project: how the list was narrowed, where one was, what is chosen

/** What was chosen in a project: serials, and the filter that was on. */
export function chosenIn(project) {
  if (!kept.has(project.id)) {
    kept.set(project.id, { search: "", area: "", states: new Set(), tag: "", cursors: [null], chosen: new Set() });
  }
  return kept.get(project.id);
}

/** The page. */
export async function showMeters(place, context) {
  const looked = chosenIn(context.project);
  const list = el("div", {});
  const places = { areas: [], tags: [] };
  const refresh = () => loaded(list, () => page(context, looked, refresh));
  const filters = el("form", { class: "filters", role: "search", "aria-label": say("meters.filters"), onsubmit: (event) => event.preventDefault() });
  const narrowed = () => {
    looked.cursors = [null];
    refresh();
  };
  const redraw = () => fill(filters, filterFields(context, looked, places, narrowed, redraw));
  redraw();
  fill(place, el("h1", {}, say("meters.head")), filters, list);
  every(60, refresh, context.signal);
  await Promise.all([
    refresh(),
    attempt(async () => {
      const found = await ask("meters", "Places", { project: context.project.id });
      places.areas = found.project.areas || [];
      places.tags = found.meterTags || [];
      redraw();
    }),
  ]);
}

function filterFields(context, looked, places, narrowed, redraw) {
  let timer = 0;
  const search = el("input", { type: "search", name: "search", maxlength: "50", value: looked.search, placeholder: say("meters.search_form"), "aria-label": say("meters.search") });
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      looked.search = search.value.trim();
      narrowed();
    }, 350);
  });
  const area = choice([["", say("meters.all_areas")], ...areaOptions(places.areas)], looked.area, { "aria-label": say("meters.area") });
  area.addEventListener("change", () => {
    looked.area = area.value;
    narrowed();
  });
  const tags = places.tags.map((each) => [each.tag, say("page.beside", { what: each.tag, more: each.meters })]);
  const tag = choice([["", say("meters.all_tags")], ...tags], looked.tag, { "aria-label": say("meters.tag") });
  tag.addEventListener("change", () => {
    looked.tag = tag.value;
    narrowed();
  });
  const states = context.marks.map((each) => {
    const toggle = el("button", { type: "button", class: "state-filter", "aria-pressed": String(looked.states.has(each.state)) }, mark(each));
    toggle.addEventListener("click", () => {
      if (!looked.states.delete(each.state)) looked.states.add(each.state);
      toggle.setAttribute("aria-pressed", String(looked.states.has(each.state)));
      narrowed();
    });
    return toggle;
  });
  const clear = el("button", { type: "button", class: "plain" }, say("meters.clear"));
  clear.addEventListener("click", () => {
    looked.states.clear();
    Object.assign(looked, { search: "", area: "", tag: "" });
    redraw();
    narrowed();
  });
  return [
    el("div", { class: "row" }, search, area, tag, clear),
    el("div", { class: "row", role: "group", "aria-label": say("meters.states") }, states),
  ];
}

/** What of the list is asked for, as GraphQL has it. */
export function asked(looked) {
  return {
    areas: looked.area ? [looked.area] : null,
    states: looked.states.size ? [...looked.states] : null,
    tags: looked.tag ? [looked.tag] : null,
  };
}

async function page(context, looked, refresh) {
  const given = { project: context.project.id, ...asked(looked), search: looked.search, first: PAGE, after: looked.cursors.at(-1) };
  const { meters } = await ask("meters", "Meters", given);
  const nodes = meters.edges.map((edge) => edge.node);
  const above = el("div", { class: "tools" });
  const changed = () => fill(above, tools(context, looked, refresh));
  changed();
  if (!nodes.length) return [above, empty(say(isNarrowed(looked) ? "meters.none_such" : "meters.none"))];
  return [above, rowsOf(context, looked, nodes, changed), pager(looked, meters.pageInfo, refresh)];
}

function isNarrowed(looked) {
  return Boolean(looked.search || looked.area || looked.tag || looked.states.size);
}

function tools(context, looked, refresh) {
  const { may, go } = context;
  const number = looked.chosen.size;
  const batch = button(say("meters.batch"), () => go("new-batch"), { kind: "main" });
  const forget = button(say("meters.forget"), () => {
    looked.chosen.clear();
    return refresh();
  });
  return [
    may.has("BATCH_RUN") ? el("span", { role: "status" }, number ? say("meters.chosen", { number }) : say("meters.hint")) : null,
    number ? forget : null,
    may.has("BATCH_RUN") ? batch : null,
    may.has("METER_EXPORT") ? button(say("meters.export"), () => take(context)) : null,
  ];
}

/** The whole list as XLSX; its address is good for two minutes and for this operator. */
export async function take(context) {
  const link = await attempt(() => ask("meters", "ExportMeters", { project: context.project.id }));
  if (link === null) return;
  const path = new URL(link.url).pathname; // our own origin, whatever name the backend knows it by
  el("a", { href: path, download: true }).click();
  tell(say("meters.exported"));
}

function rowsOf(context, looked, nodes, changed) {
  const may = context.may.has("BATCH_RUN");
  const boxes = [];
  const all = el("input", { type: "checkbox", "aria-label": say("meters.choose_page") });
  const settle = () => {
    all.checked = nodes.every((node) => looked.chosen.has(node.serial));
    changed();
  };
  all.addEventListener("change", () => {
    for (const box of boxes) {
      box.checked = all.checked;
      if (all.checked) looked.chosen.add(box.value);
      else looked.chosen.delete(box.value);
    }
    changed();
  });
  const rows = nodes.map((node) => {
    const box = el("input", { type: "checkbox", value: node.serial, "aria-label": say("meters.choose", { serial: node.serial }) });
    box.checked = looked.chosen.has(node.serial);
    box.addEventListener("change", () => {
      if (box.checked) looked.chosen.add(node.serial);
      else looked.chosen.delete(node.serial);
      settle();
    });
    boxes.push(box);
    return rowOf(context, node, may ? box : null);
  });
  all.checked = nodes.every((node) => looked.chosen.has(node.serial));
  const heads = [
    may ? [all, "tick"] : null,
    say("meters.state"),
    say("meters.serial"),
    say("meters.who"),
    [say("meters.balance"), "number"],
    [say("meters.total"), "number wide"],
    say("meters.power"),
    say("meters.read"),
    [say("meters.tags"), "wide"],
  ];
  return table(say("meters.head"), heads.filter(Boolean), rows);
}

function rowOf(context, node, box) {
  const { latest, serves } = node;
  const href = `#/${encodeURIComponent(context.project.code)}/meter/${encodeURIComponent(node.id)}`;
  const who = serves ? [el("span", { class: "name" }, `${serves.no} ${serves.name}`), el("small", {}, serves.place)] : el("span", { class: "quiet" }, say("meters.nobody"));
  return el(
    "tr",
    {},
    box ? el("td", { class: "tick" }, box) : null,
    el("td", {}, mark(node.state)),
    el("td", {}, el("a", { href }, node.serial), el("small", {}, say("kind." + node.kind))),
    el("td", { class: "who" }, who),
    el("td", { class: "number" }, yuan(node.balance)),
    el("td", { class: "number wide" }, latest ? `${latest.total} ${node.unit}` : "—"),
    el("td", {}, latest ? pill(say("relay." + latest.relay), { ON: "done", OFF: "stop" }[latest.relay] || "later") : "—"),
    el("td", {}, el("span", { title: latest ? time(latest.at, true) : "" }, latest ? ago(latest.at) : say("time.never")), el("small", {}, say(node.online ? "meters.online" : "meters.offline"))),
    el("td", { class: "wide" }, node.tags.map((tag) => el("span", { class: "tag" }, tag))),
  );
}

/** Page after page; the list has no total. */
export function pager(looked, info, refresh) {
  const back = button(say("pager.back"), () => {
    looked.cursors.pop();
    return refresh();
  });
  const on = button(say("pager.on"), () => {
    looked.cursors.push(info.endCursor);
    return refresh();
  });
  back.disabled = looked.cursors.length < 2;
  on.disabled = !info.hasNextPage;
  if (back.disabled && on.disabled) return null;
  return el("div", { class: "pager" }, back, el("span", {}, say("pager.page", { number: looked.cursors.length })), on);
}
