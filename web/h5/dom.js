// Small words for the page's elements.
import { say } from "./texts.js";

/** The element with this id. */
export const $ = (id) => document.getElementById(id);

/** Show these elements (by id), hide the others of the page's parts. */
export function only(...shown) {
  for (const id of ["account", "progress", "form", "gone", "reload"]) $(id).hidden = !shown.includes(id);
}

/** A new element with a class and a text. */
export function made(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Put a text where it is not yet: a live region speaks at every change. */
export function put(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

/** The status at the head of the page: [key, values] of head and body, and its mood; or nothing. */
export function status(head, body, mood) {
  $("status").hidden = !head;
  $("status").dataset.mood = mood || "now";
  put("status-head", head ? say(...head) : "");
  put("status-body", body ? say(...body) : "");
}
