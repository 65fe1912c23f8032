// What the page says to who works with it: that something is done, that it failed and why, that it loads.
import { $, button, el, fill } from "./dom.js";
import { told } from "./said.js";
import { known, say } from "./texts.js";

let timer = 0;

/** Say something once, at the foot of the page, for some seconds. */
export function tell(sentence, mood = "done") {
  const [place, other] = mood === "stop" ? [$("alerts"), $("told")] : [$("told"), $("alerts")];
  fill(other);
  fill(place, el("p", { class: "note " + mood }, sentence));
  clearTimeout(timer);
  timer = setTimeout(() => fill(place), mood === "stop" ? 12000 : 6000);
}

/** Why it was not done, in a sentence; the backend's own words behind it where they tell more. */
export function why(problem) {
  const code = problem.code || "INTERNAL";
  const sentence = say(known("problem." + code) ? "problem." + code : "problem.INTERNAL", {
    minutes: Math.ceil((problem.retryAfterS || 60) / 60),
  });
  const more = problem.message && !["NETWORK", "UNAUTHENTICATED", "INTERNAL", "NOT_FOUND"].includes(code) ? told(problem.message) : "";
  return more ? say("problem.told", { sentence, told: more }) : sentence;
}

/** Do it and say how it went: `done` is the sentence of success. Gives what came of it, null for a failure. */
export async function attempt(act, done) {
  try {
    const found = await act();
    if (done) tell(done);
    return found === undefined ? true : found;
  } catch (problem) {
    if (!problem.code) throw problem;
    if (problem.code !== "UNAUTHENTICATED") tell(why(problem), "stop");
    return null;
  }
}

/** Put into `place` what `load` makes; until then that it loads, and when it fails why, with a way to try again. */
export async function loaded(place, load) {
  place.setAttribute("aria-busy", "true");
  if (!place.hasChildNodes()) fill(place, el("p", { class: "quiet loading" }, say("page.loading")));
  try {
    fill(place, await load());
  } catch (problem) {
    if (!problem.code) throw problem;
    if (problem.code !== "UNAUTHENTICATED") {
      const again = button(say("page.again"), () => loaded(place, load));
      fill(place, el("div", { class: "failed" }, el("p", {}, why(problem)), again));
    }
  }
  place.removeAttribute("aria-busy");
}

/** What stands where there is nothing. */
export const empty = (sentence) => el("p", { class: "empty" }, sentence);
