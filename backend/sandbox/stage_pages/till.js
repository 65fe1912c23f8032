// The till: orders at the WeChat Pay stand-in, a button that pays, and what spoils the next notice.
import { $, clock, made, post, put, toggle, whenChanged } from "./dom.js";

const STATES = { NOTPAY: "○ 未支付", SUCCESS: "✓ 已支付", CLOSED: "✕ 已关闭", REFUND: "↩ 已退款" };
const NOTICES = [
  ["lost_notice", "丢失", "lost", 1],
  ["duplicate_notice", "重复", "twice", 1],
  ["delay_notice", "晚 10 秒", "10 s late", 10],
  ["wrong_amount_notice", "金额错", "wrong amount", 1],
  ["bad_signature_notice", "签名错", "bad signature", 1],
  ["stale_notice", "过期", "stale", 1],
  ["wrong_merchant_notice", "商户错", "wrong merchant", 1],
];
const boxes = new Map();

/** Put the notice switches on the page once. */
export function offerNotices() {
  for (const [name, words, hint, value] of NOTICES) {
    const made_ = toggle(words, hint, (on) => post("api/notices", { [name]: on ? value : 0 }).catch(failed));
    boxes.set(name, made_.box);
    $("notices").append(made_.label);
  }
}

/** Show which switches are still to be used up. */
export function showNotices(faults) {
  for (const [name, box] of boxes) {
    box.disabled = faults === null;
    box.checked = faults !== null && faults[name] > 0;
  }
}

export const showOrders = whenChanged((orders, tenant, number) => {
  const list = $("orders");
  list.textContent = "";
  if (orders === null) list.append(made("li", "empty", "支付替身没有回应。"));
  else if (orders.length === 0) list.append(made("li", "empty", "还没有订单。在聊天里发送“充值 50”，打开链接付款。"));
  for (const order of orders || []) list.append(row(order, tenant, number));
});

function row(order, tenant, number) {
  const line = made("li");
  const words = made("div", "order");
  words.append(
    made("strong", "", order.amount + " 元"),
    made("span", "state " + (order.paid ? "good" : ""), STATES[order.state] || order.state),
    made("span", "", order.description),
    made("small", "", order.kind + " " + order.out_trade_no + (order.paid_at ? " " + clock(order.paid_at) : "")),
  );
  line.append(words);
  if (order.state === "NOTPAY") {
    const button = made("button", "pay", "以“" + tenant.label + "”支付");
    button.type = "button";
    button.addEventListener("click", async () => {
      button.disabled = true;
      put($("till-error"), "");
      const { mchid, out_trade_no } = order;
      await post("api/pay", { tenant: number, mchid, out_trade_no }).catch(failed);
      button.disabled = false;
    });
    line.append(button);
  }
  return line;
}

function failed(error) {
  put($("till-error"), "没有成功，订单可能已支付、已关闭或过期。（" + error.message + "）");
}
