// The tenant's phone: the chat with the official account, and the SMS inbox beside it.
import { $, clock, made, post, put, whenChanged } from "./dom.js";

const ADDRESS = /https?:\/\/[^\s<>"'，。；）]+/g;
const CODE = /(?<!\d)\d{6}(?!\d)/;

/** Quick words of a tenant; `sent()` after each. */
export function offerWords(tenant, number, sent) {
  const words = ["绑定 " + tenant.accountNo, "余额", "充值 50", "用电", "帮助"];
  const box = $("words");
  box.textContent = "";
  box.append(button("关注", () => say({ tenant: number, event: "subscribe" }, sent)));
  for (const word of words) box.append(button(word, () => say({ tenant: number, text: word }, sent)));
  put($("number"), tenant.phone);
  put($("account"), tenant.group + " 公众号");
}

/** Send what stands in the field. */
export function sayTyped(number, sent) {
  const text = $("text").value.trim();
  if (!text) return;
  $("text").value = "";
  say({ tenant: number, text }, sent);
}

async function say(body, sent) {
  put($("said-error"), "");
  const heard = post("api/say", body);
  sent();
  try {
    const { status } = await heard;
    if (status !== 200) put($("said-error"), "公众号没有回应（" + (status || "没有连上") + "）");
  } catch (error) {
    put($("said-error"), "没有发出去，请再试一次。");
  }
  sent();
}

function button(text, pressed) {
  const word_ = made("button", "word", text);
  word_.type = "button";
  word_.addEventListener("click", pressed);
  return word_;
}

export const showChat = whenChanged((lines) => {
  const chat = $("chat");
  chat.textContent = "";
  if (lines === null) chat.append(made("p", "empty", "微信替身没有回应。"));
  else if (lines.length === 0) chat.append(made("p", "empty", "点下面的“关注”，再点“绑定”开始。"));
  for (const line of lines || []) chat.append(bubble(line));
  chat.scrollTop = chat.scrollHeight;
});

function bubble(line) {
  const mine = line.from === "me";
  const box = made("div", "bubble " + (mine ? "mine" : line.kind));
  box.append(made("small", "", (mine ? "我 " : NAMES[line.kind] + " ") + clock(line.at)));
  if (line.text) box.append(linked(line.text));
  for (const [name, value] of line.rows || []) box.append(made("p", "", name + "：" + value));
  if (line.url) box.append(linked(line.url));
  return box;
}

const NAMES = { reply: "公众号", custom: "公众号", template: "服务通知" };

function linked(text) {
  const words = made("p");
  let end = 0;
  for (const found of text.matchAll(ADDRESS)) {
    words.append(text.slice(end, found.index));
    const link = made("a", "", found[0]);
    link.href = found[0];
    link.target = "_blank";
    link.rel = "noopener";
    words.append(link);
    end = found.index + found[0].length;
  }
  words.append(text.slice(end));
  return words;
}

export const showTexts = whenChanged((messages) => {
  const list = $("texts");
  list.textContent = "";
  if (messages === null) list.append(made("li", "empty", "短信替身没有回应。"));
  else if (messages.length === 0) list.append(made("li", "empty", "还没有短信。绑定时，验证码会到这里。"));
  for (const message of (messages || []).slice().reverse()) {
    const row = made("li");
    const text = message.text || Object.values(message.params).join("，");
    row.append(made("small", "", (message.sign_name || "短信") + " " + clock(message.at)), made("p", "", text));
    const code = CODE.exec(text);
    if (code) row.append(button("填入聊天", () => fill(code[0])));
    list.append(row);
  }
});

function fill(code) {
  $("text").value = code;
  $("text").focus();
}
