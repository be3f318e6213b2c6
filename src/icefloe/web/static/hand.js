// Picks by hand, saved as they are made; they outlive the view in which they were made.

import { post } from "./api.js";

const AGAIN = 3000; // ms until what was not saved is sent again

export class HandPicks {
  constructor() {
    this.known = new Map(); // by exposure: x, y, when they were saved (never: Infinity), error
    this.watcher = null;
    window.addEventListener("beforeunload", (event) => {
      if ([...this.known.values()].some((entry) => entry.saved === Infinity)) event.preventDefault();
    });
  }

  // The picks of this page where they are later than what was asked for at `asked`; else null.
  later(name, asked) {
    const entry = this.known.get(name);
    return entry && entry.saved > asked ? entry : null;
  }

  state(name) {
    const entry = this.known.get(name);
    if (!entry || entry.saved !== Infinity) return "";
    return entry.error ? `not saved (${entry.error}); trying again …` : "saving …";
  }

  set(name, x, y) {
    const entry = this.known.get(name) || { busy: false };
    this.known.set(name, Object.assign(entry, { x, y, saved: Infinity, error: "" }));
    if (!entry.busy) this.send(name, entry);
  }

  // One request at a time; of what comes meanwhile only the last is sent.
  async send(name, entry) {
    entry.busy = true;
    clearTimeout(entry.timer);
    for (let sent = null; sent !== entry.x;) {
      sent = entry.x;
      try { await post("picks", { name, x: entry.x, y: entry.y }); } catch (error) {
        entry.error = error.message;
        entry.timer = setTimeout(() => this.send(name, entry), AGAIN);
        this.watcher?.();
        return;
      }
    }
    Object.assign(entry, { busy: false, saved: performance.now(), error: "" });
    this.watcher?.();
  }
}
