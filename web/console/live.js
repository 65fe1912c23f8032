// What happens is heard at once over one WebSocket (graphql-transport-ws); without it the page asks by itself.
import { documentOf, tellEnded } from "./ask.js";

const ENDED = 4403;
const IDLE_MS = 20 * 60000; // the page alone does not keep a session alive for ever
const PAUSES_MS = [1000, 2000, 5000, 10000, 30000];
let touched = Date.now();
for (const sign of ["pointerdown", "keydown"]) document.addEventListener(sign, () => (touched = Date.now()), true);

/** Do something each so many seconds until `signal`, while the page is looked at and somebody is there. */
export function every(seconds, act, signal) {
  const timer = setInterval(() => {
    if (!document.hidden && Date.now() - touched < IDLE_MS) act();
  }, seconds * 1000);
  signal.addEventListener("abort", () => clearInterval(timer));
}

/** The socket of a signed-in operator: it connects when somebody listens and comes back by itself. */
export class Live {
  constructor() {
    this.listeners = new Map();
    this.next = 1;
    this.tries = 0;
    this.socket = null;
    this.ready = false;
    this.over = false;
  }

  /** Hear a subscription until `signal`. `told(data)` each event; `line(up)` when the line comes and goes. */
  async hear(name, operationName, variables, { told, line, signal }) {
    const query = await documentOf(name);
    if (signal.aborted || this.over) return;
    const id = String(this.next++);
    this.listeners.set(id, { payload: { query, operationName, variables }, told, line: line || (() => {}) });
    signal.addEventListener("abort", () => this.leave(id));
    if (this.ready) this.begin(id);
    else this.connect();
  }

  /** Hear nothing any more. */
  close() {
    this.over = true;
    this.listeners.clear();
    clearTimeout(this.timer);
    if (this.socket) this.socket.close();
  }

  leave(id) {
    if (this.listeners.delete(id) && this.ready) this.send({ id, type: "complete" });
  }

  connect() {
    if (this.socket || this.over) return;
    const secure = location.protocol === "https:" ? "wss://" : "ws://";
    const socket = new WebSocket(secure + location.host + "/graphql", "graphql-transport-ws");
    this.socket = socket;
    socket.addEventListener("open", () => this.send({ type: "connection_init", payload: { console: true } }));
    socket.addEventListener("message", (event) => this.take(JSON.parse(event.data)));
    socket.addEventListener("close", (event) => this.lost(event.code));
  }

  begin(id) {
    const listener = this.listeners.get(id);
    this.send({ id, type: "subscribe", payload: listener.payload });
    listener.line(true);
  }

  send(message) {
    if (this.socket && this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  take(message) {
    if (message.type === "ping") this.send({ type: "pong" });
    if (message.type === "connection_ack") {
      this.ready = true;
      this.tries = 0;
      for (const id of this.listeners.keys()) this.begin(id);
    }
    const listener = this.listeners.get(message.id);
    if (!listener) return;
    if (message.type === "next" && message.payload.data) listener.told(message.payload.data);
    if (message.type === "error" || message.type === "complete") {
      this.listeners.delete(message.id);
      listener.line(false);
    }
  }

  lost(code) {
    this.socket = null;
    this.ready = false;
    if (this.over) return;
    if (code === ENDED) {
      tellEnded();
      return;
    }
    for (const listener of this.listeners.values()) listener.line(false);
    const pause = PAUSES_MS[Math.min(this.tries++, PAUSES_MS.length - 1)];
    if (this.listeners.size) this.timer = setTimeout(() => this.connect(), pause);
  }
}
