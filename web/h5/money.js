// Amounts as people type them and as the backend takes them. Fen are integers; nothing is a float.

/** Fen of "50", "50.5", "５０元" or null when it is no amount. */
export function fenOf(text) {
  const plain = text.normalize("NFKC").replace(/[\s,¥元块]/g, "");
  const found = /^(\d{1,6})(?:\.(\d{1,2}))?$/.exec(plain);
  if (!found) return null;
  return Number(found[1]) * 100 + Number((found[2] || "").padEnd(2, "0"));
}

/** "50.00" */
export function amountOf(fen) {
  return Math.trunc(fen / 100) + "." + String(fen % 100).padStart(2, "0");
}

/** "50" or "50.50": as people say it. */
export function spoken(amount) {
  return amount.replace(/\.0+$/, "");
}
