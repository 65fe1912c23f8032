// Signing in: the session goes into a cookie that this page never sees.
import { ask } from "./ask.js";
import { el, labelled } from "./dom.js";
import { why } from "./notes.js";
import { say } from "./texts.js";

/** The form. `sentence`: why one is here, if there is something to say; `done` is called when somebody is in. */
export function signInForm({ sentence, done, speak }) {
  const login = el("input", { name: "login", autocomplete: "username", autocapitalize: "none", spellcheck: "false", required: true, maxlength: "130" });
  const password = el("input", { name: "password", type: "password", autocomplete: "current-password", required: true, maxlength: "200" });
  const error = el("p", { class: "error", role: "alert" });
  const go = el("button", { class: "main", type: "submit" }, say("sign_in.go"));
  const form = el(
    "form",
    { class: "card sign-in", novalidate: true },
    el("h1", {}, say("page.title")),
    sentence ? el("p", { class: "note now", role: "status" }, sentence) : null,
    labelled(say("sign_in.login"), login, say("sign_in.login_form")),
    labelled(say("sign_in.password"), password),
    error,
    go,
    el("button", { type: "button", class: "plain", onclick: speak }, say("bar.language")),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    error.textContent = "";
    const [wrong, words] = !login.value.includes("@") ? [login, "sign_in.login_wrong"] : !password.value ? [password, "sign_in.password_missing"] : [null, ""];
    if (wrong) {
      error.textContent = say(words);
      wrong.focus();
      return;
    }
    go.disabled = true;
    try {
      await ask("session", "SignIn", { login: login.value, password: password.value });
    } catch (problem) {
      if (!problem.code) throw problem;
      password.value = "";
      error.textContent = problem.code === "UNAUTHENTICATED" ? say("sign_in.refused") : why(problem);
      password.focus();
      return;
    } finally {
      go.disabled = false;
    }
    password.value = "";
    await done();
  });
  requestAnimationFrame(() => login.focus());
  return form;
}
