// What all views share: the table, the selection, the exposure that is looked at, decisions.

import { getBytes, getJson, post } from "./api.js";
import { Selection, Table } from "./table.js";

const REST = 250; // ms after the last move of a brush until the list of exposures follows

export class Store {
  constructor() {
    this.table = new Table();
    this.selection = new Selection(this.table);
    this.session = {};
    this.current = "";
    this.view = "session";
    this.message = "";
    this.connected = false;
    this.done = [];
    this.listeners = new Set();
    this.painters = new Set();
    this.timing = { load: 0, brush: [], drawn: [] };
  }

  get guest() { return this.session.role !== "owner"; }

  on(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  // Draws everything anew: what is written now, plots in the next frame.
  changed() {
    for (const listener of this.listeners) listener();
    requestAnimationFrame(() => this.paint());
  }

  paint() {
    for (const paint of this.painters) paint();
    if (this.told) this.told();
  }

  say(message) {
    this.message = message;
    this.changed();
  }

  async load() {
    const start = performance.now();
    this.session = await getJson("session");
    this.table.merge(await getBytes("table"));
    this.selection.update();
    this.timing.load = performance.now() - start;
    this.changed();
  }

  async refresh() {
    // One at a time; what comes meanwhile is asked for afterwards.
    if (this.busy) { this.more = true; return; }
    this.busy = true;
    try {
      const since = this.table.version;
      if (!this.table.merge(await getBytes("table", { since }))) this.table.merge(await getBytes("table"));
      this.selection.update();
      this.changed();
    } finally {
      this.busy = false;
      if (this.more) { this.more = false; this.refresh(); }
    }
  }

  listen() {
    const events = new EventSource("/api/events");
    events.addEventListener("hello", (event) => {
      this.connected = true;
      if (JSON.parse(event.data).version !== this.table.version) this.refresh();
      else this.changed();
    });
    events.addEventListener("change", () => { this.connected = true; this.refresh(); });
    events.addEventListener("reset", () => { this.connected = true; this.load().catch((error) => this.say(error.message)); });
    events.addEventListener("live", (event) => {
      this.session = { ...this.session, live: JSON.parse(event.data) };
      this.changed();
    });
    events.onerror = () => {
      this.connected = false;
      this.changed();
      // The browser itself tries again after a lost connection, but not after a refusal.
      if (events.readyState === EventSource.CLOSED) setTimeout(() => this.again(), 2000);
    };
  }

  async again() {
    try { await this.load(); } catch (error) {
      this.say(`${error.message}. Trying again …`);
      setTimeout(() => this.again(), 5000);
      return;
    }
    this.listen();
  }

  // A brush: all plots and the count follow in the next frame, the list of exposures when it rests.
  brush(key, brush) {
    this.selection.set(key, brush);
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      const start = performance.now();
      this.selection.update();
      this.paint();
      clearTimeout(this.rest);
      this.rest = setTimeout(() => { for (const listener of this.listeners) listener(); }, REST);
      // A message arrives after this frame was drawn.
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => { this.timing.drawn.push(performance.now() - start); port1.close(); };
      this.timing.brush.push(performance.now() - start);
      port2.postMessage(0);
    });
  }

  open(name) {
    this.current = name;
    this.view = "exposure";
    this.changed();
  }

  show(view) {
    this.view = view;
    this.changed();
  }

  // The selected exposure `step` places from the current one.
  step(step) {
    const { table, selection } = this;
    const n = table.n;
    let i = table.places.get(this.current) ?? (step > 0 ? -1 : n);
    for (i += step; i >= 0 && i < n; i += step) {
      if (selection.has(i)) {
        this.current = table.names[i];
        this.changed();
        return;
      }
    }
  }

  async decide(decision, name = this.current) {
    const i = this.table.places.get(name);
    if (this.guest || i === undefined) return;
    const before = this.table.by[i] === 1 ? ["accept", "reject"][this.table.verdict[i]] : "undo";
    try {
      await post("decisions", { decision, names: [name] });
      this.done.push([name, before]);
      this.say(`${name}: ${{ accept: "accepted", reject: "rejected", undo: "left to the rules" }[decision]} by hand`);
    } catch (error) { this.say(error.message); }
  }

  async undo() {
    const last = this.done.pop();
    if (!last) { this.say("There is nothing to undo"); return; }
    const [name, before] = last;
    try {
      await post("decisions", { decision: before, names: [name], reason: "taken back" });
      this.current = name;
      this.say(`${name}: the last decision is taken back`);
    } catch (error) { this.say(error.message); }
  }
}
