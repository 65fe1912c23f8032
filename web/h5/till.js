// Handing the payer to a channel. What its page or app says afterwards proves nothing: the backend is asked.
import { $, made } from "./dom.js";
import { say } from "./texts.js";

/** The choice of a channel. It is shown when there is one; the backend knows what works in this browser. */
export class WayChoice {
  constructor(ways) {
    this.ways = ways;
    $("ways-part").hidden = ways.length < 2;
    $("ways").textContent = "";
    for (const way of ways) $("ways").append(chip(way, way === ways[0]));
  }

  /** The chosen way, or that of `channel` while it is offered; null when nothing is. */
  picked(channel) {
    const checked = $("ways").querySelector("input:checked");
    const wanted = channel || (checked ? checked.value : "");
    return this.ways.find((way) => way.channel === wanted) || this.ways[0] || null;
  }
}

function chip(way, first) {
  const label = made("label", "chip");
  const input = made("input");
  input.type = "radio";
  input.name = "way";
  input.value = way.channel;
  input.checked = first;
  label.append(input, made("span", "", say("way." + way.channel.toLowerCase())));
  return label;
}

/** {key: value} of the page parameters. */
export function parametersOf(page) {
  return Object.assign({}, ...page.map((entry) => ({ [entry.key]: entry.value })));
}

/** Open WeChat's own pay sheet; resolves when it closes, whatever it says. Throws without WeChat. */
export async function paySheet(parameters) {
  const bridge = window.WeixinJSBridge || (await bridgeReady());
  await new Promise((closed) => bridge.invoke("getBrandWCPayRequest", parameters, () => closed()));
}

function bridgeReady() {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("no WeixinJSBridge")), 5000);
    document.addEventListener(
      "WeixinJSBridgeReady",
      () => {
        clearTimeout(timer);
        resolve(window.WeixinJSBridge);
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
