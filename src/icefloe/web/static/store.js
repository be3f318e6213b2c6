// What all views share: the table, the selection, the exposure that is looked at, decisions.

import { getBytes, getJson, post } from "./api.js";
import { HandPicks } from "./hand.js";
import { Selection, Table } from "./table.js";

const RETRY = 2000; // ms until a table that could not be fetched is asked for again
const RECENT = 5000; // ms for which an own decision may not be in the table yet
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
    this.own = new Map(); // by exposure, the last decision made here, and when
    this.hand = new HandPicks();
    this.look = {};
    this.limits = null;
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
    await this.refresh(true);
    this.timing.load = performance.now() - start;
  }

  // One request at a time; what comes meanwhile is asked for afterwards, so that no older answer
  // arrives after a newer one.
  refresh(whole = false) {
    this.due = true;
    this.whole ||= whole;
    this.busy ||= this.fetch().finally(() => { this.busy = null; });
    return this.busy;
  }

  async fetch() {
    while (this.due) {
      const whole = this.whole;
      this.due = this.whole = false;
      try {
        if (whole) this.session = await getJson("session");
        const known = whole || this.table.version < 0 ? {} : { since: this.table.version };
        if (!this.table.merge(await getBytes("table", known))) this.table.merge(await getBytes("table"));
      } catch (error) {
        this.whole ||= whole;
        throw error;
      }
      this.selection.update();
      this.changed();
    }
  }

  // Until it succeeds: a lost answer must not leave the page behind for good.
  follow(whole = false) {
    this.refresh(whole).catch((error) => {
      clearTimeout(this.retry);
      this.retry = setTimeout(() => this.follow(), RETRY);
      if (this.connected) this.say(`${error.message}. Trying again …`);
    });
  }

  listen() {
    const events = new EventSource("/api/events");
    events.addEventListener("hello", (event) => {
      this.connected = true;
      if (JSON.parse(event.data).version !== this.table.version) this.follow();
      else this.changed();
    });
    events.addEventListener("change", () => { this.connected = true; this.follow(); });
    events.addEventListener("reset", () => { this.connected = true; this.follow(true); });
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

  open(name) { this.go("exposure", name); }

  show(view) { this.go(view, this.current); }

  // Views are steps of the browser's history, too.
  go(view, name, { step = false, stay = false } = {}) {
    const moved = view !== this.view || (view === "exposure" && name !== this.current);
    this.view = view;
    this.current = name;
    if (moved && !stay) {
      const query = view === "session" ? "/" : `/?${new URLSearchParams(view === "exposure" ? { exposure: name } : { view })}`;
      history[step ? "replaceState" : "pushState"](null, "", query);
    }
    this.changed();
  }

  // What the address says.
  visit(search) {
    const wanted = new URLSearchParams(search);
    const view = wanted.get("view");
    if (this.session.calculator) this.go("tools", "", { stay: true });
    else if (this.table.places.has(wanted.get("exposure"))) this.go("exposure", wanted.get("exposure"), { stay: true });
    else {
      if (wanted.has("exposure")) this.say(`There is no exposure ${wanted.get("exposure")} in this session`);
      this.go(["classes", "settings", "tools"].includes(view) ? view : "session", this.current, { stay: true });
    }
  }

  // The selected exposure `step` places from the current one.
  step(step) {
    const { table, selection } = this;
    const n = table.n;
    let i = table.places.get(this.current) ?? (step > 0 ? -1 : n);
    for (i += step; i >= 0 && i < n; i += step) {
      if (selection.has(i)) {
        this.go(this.view, table.names[i], { step: true });
        return;
      }
    }
  }

  async decide(decision, name = this.current) {
    const i = this.table.places.get(name);
    if (this.guest || i === undefined) return;
    const own = this.own.get(name), recent = own && performance.now() - own.when < RECENT;
    const before = recent ? own.decision : this.table.by[i] === 1 ? ["accept", "reject"][this.table.verdict[i]] : "undo";
    try {
      await post("decisions", { decision, names: [name] });
      this.done.push([name, before]);
      this.own.set(name, { decision, when: performance.now() });
      this.say(`${name}: ${{ accept: "accepted", reject: "rejected", undo: "left to the rules" }[decision]} by hand`);
    } catch (error) { this.say(error.message); }
  }

  async undo() {
    const last = this.done.pop();
    if (!last) { this.say("No decision was made here that could be taken back"); return; }
    const [name, before] = last;
    try {
      await post("decisions", { decision: before, names: [name], reason: "taken back" });
      this.own.set(name, { decision: before, when: performance.now() });
      this.go(this.view, name, { step: true });
      this.say(`${name}: the last decision is taken back`);
    } catch (error) {
      this.done.push(last);
      this.say(error.message);
    }
  }
}
