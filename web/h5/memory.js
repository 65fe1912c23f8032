// What this browser keeps of a pay link: the key of the order being made, and the last order's id.
// Both are only reminders; the backend is asked for the truth. A browser without storage still pays.
const spare = new Map();

function read(store, name) {
  try {
    return window[store].getItem(name);
  } catch (blocked) {
    return spare.has(name) ? spare.get(name) : null;
  }
}

function write(store, name, value) {
  try {
    if (value === null) window[store].removeItem(name);
    else window[store].setItem(name, value);
  } catch (blocked) {
    if (value === null) spare.delete(name);
    else spare.set(name, value);
  }
}

function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The memory of one pay link. */
export class Memory {
  constructor(token) {
    this.wishName = "shuidian.wish." + token;
    this.lastName = "shuidian.last." + token;
    this.meterName = "shuidian.meter." + token;
  }

  /** The idempotency key: the same for a double tap or a reload, until that order is decided. */
  keyFor(amount, method) {
    const known = this.wish();
    if (known && known.amount === amount && known.method === method) return known.key;
    const wish = { amount, method, key: newKey(), order: null };
    write("sessionStorage", this.wishName, JSON.stringify(wish));
    return wish.key;
  }

  /** The order that the key made, for a meter (null: the backend knows which). */
  made(id, meter) {
    const known = this.wish();
    if (known) {
      known.order = id;
      write("sessionStorage", this.wishName, JSON.stringify(known));
    }
    write("localStorage", this.lastName, id);
    write("localStorage", this.meterName, meter);
  }

  /** An order that is paid or closed needs its key no more: the next wish is a new order. */
  decided(id) {
    const known = this.wish();
    if (known && known.order === id) write("sessionStorage", this.wishName, null);
  }

  /** The last order made with this link on this device, or null. */
  last() {
    return read("localStorage", this.lastName);
  }

  /** The meter that the last order made here pays for; undefined when `id` is not that order. */
  meterOf(id) {
    return id === this.last() ? read("localStorage", this.meterName) : undefined;
  }

  wish() {
    try {
      return JSON.parse(read("sessionStorage", this.wishName) || "null");
    } catch (broken) {
      return null;
    }
  }
}
