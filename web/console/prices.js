// Prices to look at: what holds, what will, and which meters do not hold what they should.
import { ask } from "./ask.js";
import { card, el, facts, fill, table } from "./dom.js";
import { pill, time, yuan } from "./format.js";
import { dayOf, hoursOf } from "./hours.js";
import { empty, loaded } from "./notes.js";
import { pager } from "./meters.js";
import { told } from "./said.js";
import { say, word } from "./texts.js";

const MOOD = { DRAFT: "later", SUBMITTED: "wait", APPROVED: "done", REJECTED: "stop" };

/** The page. */
export async function showPrices(place, context) {
  const [tariffs, laggards] = [el("div", {}), el("div", {})];
  const looked = { cursors: [null] };
  const late = () => loaded(laggards, () => laggardsOf(context, looked, late));
  fill(place, el("h1", {}, say("prices.head")), el("p", { class: "quiet" }, say("prices.more")), tariffs, el("h2", {}, say("prices.laggards")), laggards);
  await Promise.all([loaded(tariffs, () => tariffsOf(context)), late()]);
}

const bands = (prices) => prices.map(({ band, price }) => `${word("band.", band)} ${yuan(price)}`).join("，");

async function tariffsOf(context) {
  const { tariffs } = await ask("prices", "Prices", { project: context.project.id });
  if (!tariffs.length) return empty(say("prices.none"));
  return el("div", { class: "columns" }, tariffs.map((tariff) => card(say("page.beside", { what: tariff.name, more: say("kind." + tariff.kind) }), tariff.versions.map(versionOf))));
}

function versionOf(version) {
  const { terms } = version;
  const seasons = terms.seasons.map(({ month, day, prices }) => [terms.seasons.length > 1 ? say("prices.season", { month, day }) : say("prices.price"), bands(prices)]);
  return el(
    "div",
    { class: "version" },
    el("h3", {}, say("prices.version", { number: version.number }), " ", pill(say("version." + version.state), MOOD[version.state])),
    facts(
      [say("prices.from"), time(version.effectiveAt)],
      ...seasons,
      ...hoursIn(terms),
      ...terms.steps.map(({ above, surcharge }) => [say("prices.step", { above }), say("prices.surcharge", { surcharge: yuan(surcharge) })]),
      [say("prices.monthly"), Number(terms.monthly) ? yuan(terms.monthly) : null],
      [say("prices.service"), Number(terms.service.perUnit) ? yuan(terms.service.perUnit) : null],
      [say("prices.decided_by"), told(version.decidedBy || "")],
    ),
  );
}

/** The hours of a tariff that tells some: by season, working days and weekends apart where they differ. */
function hoursIn({ seasons, dayPlans }) {
  if (dayPlans.every((day) => day.every(({ band }) => band === "flat"))) return [];
  return seasons.flatMap(({ month, day, workday, weekend }) => {
    const name = seasons.length > 1 ? say("prices.season", { month, day }) : say("hours.head");
    const days = workday === weekend ? [[name, workday]] : [[say("page.beside", { what: name, more: say("hours.workday") }), workday], [say("page.beside", { what: name, more: say("hours.weekend") }), weekend]];
    return days.map(([head, plan]) => [head, dayOf(dayPlans[plan])]);
  });
}

const lines = (calendar) => hoursOf(calendar).map((line) => el("small", {}, line));

async function laggardsOf(context, looked, refresh) {
  const { priceLaggards: found } = await ask("prices", "Laggards", { project: context.project.id, first: 50, after: looked.cursors.at(-1) });
  if (!found.edges.length) return empty(say("prices.no_laggards"));
  const rows = found.edges.map(({ node }) => {
    const href = `#/${encodeURIComponent(context.project.code)}/meter/${encodeURIComponent(node.meter)}`;
    return el(
      "tr",
      {},
      el("td", {}, el("a", { href }, node.serial)),
      el("td", {}, bands(node.desired), lines(node.desiredCalendar), el("small", {}, time(node.desiredSince))),
      el("td", {}, node.actual.length ? bands(node.actual) : say("prices.unknown"), lines(node.actualCalendar)),
      el("td", {}, told(node.unfit || node.problem || ""), el("small", {}, node.unfit ? "" : node.underWay ? say("prices.under_way") : say("prices.next", { tries: node.tries, at: time(node.nextTryAt) }))),
    );
  });
  return [table(say("prices.laggards"), [say("meters.serial"), say("prices.desired"), say("prices.actual"), say("prices.problem")], rows), pager(looked, found.pageInfo, refresh)];
}
