// The choice of an amount: chips, and a field for one's own.
import { $, made, put } from "./dom.js";
import { amountOf, fenOf, spoken } from "./money.js";
import { say } from "./texts.js";

/** Amounts offered by `link` (chips, min, max, amount asked for in the chat). */
export class AmountChoice {
  constructor(link, changed) {
    this.link = link;
    this.changed = changed;
    const chips = $("chips");
    chips.textContent = "";
    for (const amount of link.chips) chips.append(chip(amount, say("amount.chip", { amount: spoken(amount) })));
    chips.append(chip("own", say("amount.own")));
    put("limits", say("amount.limits", this.limits()));
    chips.addEventListener("change", () => this.chosen());
    $("own-amount").addEventListener("input", () => this.changed());
    if (link.amount !== null) this.preset(link.amount);
    this.unfold();
  }

  limits() {
    return { min: spoken(this.link.min), max: spoken(this.link.max) };
  }

  preset(amount) {
    const inputs = Array.from($("chips").querySelectorAll("input"));
    const fitting = inputs.find((input) => fenOf(input.value) === fenOf(amount));
    (fitting || inputs[inputs.length - 1]).checked = true;
    if (!fitting) $("own-amount").value = spoken(amount);
  }

  /** The value of the checked chip, "own", or null. */
  picked() {
    const checked = $("chips").querySelector("input:checked");
    return checked ? checked.value : null;
  }

  unfold() {
    $("own").hidden = this.picked() !== "own";
  }

  chosen() {
    this.unfold();
    if (this.picked() === "own") $("own-amount").focus();
    this.changed();
  }

  /** {amount: "50.00"} or {wrong: [key, values], field}. */
  read() {
    const own = this.picked() === "own";
    const text = own ? $("own-amount").value : this.picked();
    if (!text || !text.trim()) return { wrong: ["error.amount_empty"], own };
    const fen = fenOf(text);
    if (fen === null) return { wrong: ["error.amount_form"], own };
    if (fen < fenOf(this.link.min) || fen > fenOf(this.link.max)) {
      return { wrong: ["error.amount_limits", this.limits()], own };
    }
    return { amount: amountOf(fen), own };
  }
}

function chip(value, text) {
  const label = made("label", "chip");
  const input = made("input");
  input.type = "radio";
  input.name = "amount";
  input.value = value;
  label.append(input, made("span", "", text));
  return label;
}
