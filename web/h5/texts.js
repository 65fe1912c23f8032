// Every sentence of the pay page. Words of the states are those of the chat (bots/texts/zh.yaml).
export const TEXTS = {
  "page.title": "充值缴费",
  "page.loading": "正在打开…",
  "account.head": "为谁充值（请核对）",
  "amount.head": "选择充值金额",
  "amount.chip": "{amount} 元",
  "amount.own": "自定义",
  "amount.own_label": "输入金额（元）",
  "amount.limits": "单次 {min} 元到 {max} 元。",
  "pay.button": "立即支付 {amount} 元",
  "pay.button_empty": "立即支付",
  "pay.busy": "正在准备付款…",
  "pay.note": "付款后请留在本页，看到“已到表”再离开。",
  "warning.head": "上一笔已付款，还没有到表。",
  "warning.body": "钱已收到，不会丢失。请先等上一笔到表，不要重复付款。",
  "warning.look": "查看上一笔",
  "warning.pay": "仍要再付一笔",
  "progress.amount": "充值金额",
  "progress.yuan": "{amount} 元",
  "progress.pay": "去付款",
  "progress.again": "再充一笔",
  "progress.change": "返回修改金额",
  "progress.checking": "正在查询这笔充值…",
  "progress.retry": "网络不通，正在自动重试。您的付款不受影响。",
  "waiting.head": "待支付",
  "waiting.body": "如果已经付款，请稍等，本页会自动更新。请不要重复付款。",
  "closed.head": "未支付，已关闭",
  "closed.body": "这笔没有收到付款。如果您已经扣款，系统会自动核对，请不要重复付款。",
  "paid.head": "已支付",
  "paid.body": "钱已收到，马上下发到表计。",
  "sending.head": "下发中",
  "sending.body": "钱已收到，正在写入表计，一般不到一分钟。",
  "offline.head": "已支付·表计离线，上线后自动到账",
  "offline.body": "钱已收到，不会丢失。表计连上后自动到账，请不要重复付款。",
  "stopped.head": "已支付·已停止售电，管理员处理中",
  "stopped.body": "钱已收到，不会丢失。表计需要人工核对，请不要重复付款，可联系物业。",
  "credited.head": "已到表 {time}",
  "credited.body": "充值完成，可以离开本页。",
  "credited.on": "表计已通电。可以离开本页。",
  "credited.off": "钱已到表，但表计显示断电。如果家里没电，请联系物业。",
  "step.paid": "付款",
  "step.send": "下发",
  "step.meter": "到表",
  "step.power": "供电",
  "step.paid.waiting": "待支付",
  "step.paid.done": "已支付",
  "step.paid.closed": "未支付，已关闭",
  "step.later": "等待上一步",
  "step.send.queued": "等待下发",
  "step.send.now": "下发中",
  "step.send.offline": "表计离线，上线后自动下发",
  "step.send.stopped": "已停止售电，管理员处理中",
  "step.send.done": "已下发",
  "step.meter.waiting": "还没有到表",
  "step.meter.done": "已到表 {time}",
  "step.meter.count": "已到表 {time}（表上第 {count} 次购电）",
  "step.power.on": "已通电",
  "step.power.off": "断电",
  "step.power.unknown": "以表计显示为准",
  "gone.head": "这个链接已失效",
  "gone.body": "链接可能已过期。请回到公众号，发送“充值”，打开新的链接。已经付的款不会丢失，发送“记录”可以查看。",
  "error.network": "网络不通，这次没有扣款。请稍后再点一次。",
  "error.amount_empty": "请先选择或输入金额。",
  "error.amount_form": "金额只能是数字，最多两位小数，例如 50 或 50.50。",
  "error.amount_limits": "单次充值 {min} 元到 {max} 元，请改一下金额。",
  "error.conflict": "这块表现在不能充值，这次没有扣款。请联系物业。",
  "error.channel": "微信支付暂时没有回应，这次没有扣款。请稍后再点一次。",
  "error.often": "点得太快了，请过一会儿再试。这次没有扣款。",
  "error.other": "暂时不能付款，这次没有扣款。请稍后再试，或联系物业。",
  "error.open_in_wechat": "请在微信里打开这个链接付款。",
  "error.open_from_chat": "请回到公众号，从聊天里的链接重新打开本页付款。",
  "error.load": "网络不通，暂时打不开。请检查网络后重试。",
  "error.reload": "重新打开",
};

/** The sentence under `key` with `{name}` places filled. Throws for an unknown key. */
export function say(key, values) {
  const sentence = TEXTS[key];
  if (sentence === undefined) throw new Error("no text: " + key);
  return sentence.replace(/\{(\w+)\}/g, (place, name) => String(values[name]));
}

/** Fill every element that names a sentence in `data-text`. */
export function fillTexts(root) {
  for (const element of root.querySelectorAll("[data-text]")) {
    element.textContent = say(element.dataset.text);
  }
}
