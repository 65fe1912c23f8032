// Handing the payer to WeChat Pay. What WeChat answers here proves nothing: the backend is asked.
export const IN_WECHAT = /MicroMessenger/i.test(navigator.userAgent);

/** JSAPI inside WeChat, else H5; null when the backend does not offer it for this visit. */
export function methodFor(offered) {
  const wanted = IN_WECHAT ? "JSAPI" : "H5";
  return offered.indexOf(wanted) < 0 ? null : wanted;
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

/** Leave for the cashier, which brings the payer back to this page with the order in it. */
export function goToCashier(url) {
  if (!/^https?:\/\//.test(url)) throw new Error("no web address");
  const back = location.origin + location.pathname + location.hash;
  location.assign(url + (url.includes("?") ? "&" : "?") + "redirect_url=" + encodeURIComponent(back));
}
