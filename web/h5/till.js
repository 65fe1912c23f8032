// Handing the payer to a channel. What its page or app says afterwards proves nothing: the backend is asked.
import { $, made, put } from "./dom.js";
import { say } from "./texts.js";

/** The choice of a channel. It is shown when there is one; the backend knows what works in this browser. */
export class WayChoice {
  constructor(ways) {
    this.ways = ways;
    $("ways-part").hidden = ways.length < 2;
    $("ways").textContent = "";
    for (const way of ways) {
      $("ways").append(chip("way", way.channel, say("way." + way.channel.toLowerCase()), way === ways[0]));
    }
  }

  /** The chosen way, or that of `channel` while it is offered; null when nothing is. */
  picked(channel) {
    const checked = $("ways").querySelector("input:checked");
    const wanted = channel || (checked ? checked.value : "");
    return this.ways.find((way) => way.channel === wanted) || this.ways[0] || null;
  }
}

/** Which meter gets the money: a choice where there are several, the only one by its name. */
export class MeterChoice {
  constructor(meters) {
    this.meters = meters;
    const [first] = meters;
    $("meters-part").hidden = meters.length < 2;
    $("meters").textContent = "";
    put("account-meter", meters.length === 1 ? named(first) : "");
    if (meters.length === 1) $("account-meter").append(...stateOf(first));
    for (const meter of meters) {
      const choice = chip("meter", meter.id, named(meter), meter === first);
      choice.lastChild.append(...stateOf(meter));
      $("meters").append(choice);
    }
  }

  /** The id of the chosen meter; null where the backend knows which. */
  picked() {
    const checked = $("meters").querySelector("input:checked");
    return checked && this.meters.length > 1 ? checked.value : null;
  }
}

function named(meter) {
  return say("meter." + meter.kind.toLowerCase(), { name: meter.name });
}

/** A meter's state as the backend shows it everywhere, for the customer himself; nothing for anybody else. */
function stateOf(meter) {
  if (!meter.state) return [];
  const shape = made("span", "glyph", meter.state.glyph);
  shape.style.color = meter.state.color;
  shape.setAttribute("aria-hidden", "true");
  const state = made("span", "state");
  state.append(shape, meter.state.word);
  return [state];
}

function chip(group, value, text, first) {
  const label = made("label", "chip");
  const input = made("input");
  input.type = "radio";
  input.name = group;
  input.value = value;
  input.checked = first;
  label.append(input, made("span", "", text));
  return label;
}

/** {key: value} of the page parameters. */
export function parametersOf(page) {
  return Object.assign({}, ...page.map((entry) => ({ [entry.key]: entry.value })));
}

// How each app's own pay sheet is opened; `closed` is called when it closes, whatever it says.
const SHEETS = {
  WECHAT_PAY: ["WeixinJSBridge", (bridge, given, closed) => bridge.invoke("getBrandWCPayRequest", given, closed)],
  ALIPAY: ["AlipayJSBridge", (bridge, given, closed) => bridge.call("tradePay", given, closed)],
};

/** Open the pay sheet of the app we are in; resolves when it closes. Throws outside the app. */
export async function paySheet(parameters, channel) {
  const [name, open] = SHEETS[channel];
  const bridge = window[name] || (await bridgeReady(name));
  await new Promise((closed) => open(bridge, parameters, () => closed()));
}

function bridgeReady(name) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("no " + name)), 5000);
    document.addEventListener(
      name + "Ready",
      () => {
        clearTimeout(timer);
        resolve(window[name]);
      },
      { once: true },
    );
  });
}

/** Leave for the cashier, which brings the payer back to this page: by its own address, or a form. */
export function goToCashier(parameters, method) {
  const { action, url, ...fields } = parameters;
  if (!/^https?:\/\//.test(action || url)) throw new Error("no web address");
  if (action) {
    post(action, fields);
    return;
  }
  // Only WeChat is told the way back in the address itself; the others have it in what was signed.
  const back = location.origin + location.pathname + location.hash;
  const tail = (url.includes("?") ? "&" : "?") + "redirect_url=" + encodeURIComponent(back);
  location.assign(method === "H5" ? url + tail : url);
}

function post(action, fields) {
  const form = made("form");
  form.method = "post";
  form.action = action;
  for (const [name, value] of Object.entries(fields)) {
    const input = made("input");
    input.type = "hidden";
    input.name = name;
    input.value = value;
    form.append(input);
  }
  document.body.append(form);
  form.submit();
}
