// The session view: counts, thumbnails, and plots whose selections follow each other.

import { Component, html } from "./vendor/htm-preact.js";
import { pictureAddress } from "./api.js";
import { GridMap } from "./map.js";
import { MARGIN, SIDE, drawHistogram, drawPoints, onDrag } from "./plots.js";
import { BY, ORDER, STATES, VERDICTS } from "./table.js";

const PAGE = 36;

export function Counts({ store }) {
  const { table, selection, session } = store;
  const live = session.live || {};
  const figures = live.figures;
  const rate = (figures && figures.per_hour) || live.per_hour;
  const total = table.n, open = (table.counts.states.waiting || 0) + (table.counts.states.stale || 0);
  const button = (of, i, name, count) => {
    const brush = selection.brushes.get(of);
    const on = brush && brush.value === i;
    return html`<button class="count ${name}" aria-pressed=${on ? "true" : "false"}
      onClick=${() => store.brush(of, on ? null : { kind: "class", of, value: i })}><b>${count ?? 0}</b> ${name}</button>`;
  };
  return html`<section class="counts" aria-label="Progress">
    <div><b class="big">${table.n}</b> exposures
      <progress aria-label="Part of the exposures that is finished" max=${total || 1} value=${total - open}></progress></div>
    <div class="group" role="group" aria-label="State">${STATES.map((s, i) => button("state", i, s, table.counts.states[s]))}</div>
    <div class="group" role="group" aria-label="Verdict">${VERDICTS.map((s, i) => button("verdict", i, s, table.counts.verdicts[s]))}</div>
    <div class="live">${live.running ? (live.live ? "A live run is at work" : "A run is at work") : "No run is at work"}${
      live.running && rate ? `, ${rate.toFixed(0)} exposures an hour` : ""}${
      live.running && open && live.seconds_left ? `, ${duration(live.seconds_left)} left` : ""}${
      figures && figures.latency !== null ? `, picks ${figures.latency.toFixed(0)} s after the file` : ""}${
      live.waiting ? `, ${live.waiting} wait` : ""}${live.paused ? `. Paused: ${live.paused}` : ""}</div>
    ${live.running && Object.keys(live.incomplete || {}).length > 0 && html`<details><summary>${Object.keys(live.incomplete).length} not whole yet</summary><ul class="plain">
      ${Object.entries(live.incomplete).slice(0, 20).map(([path, reason]) => html`<li>${path.split("/").at(-1)}: ${reason}</li>`)}</ul></details>`}
    ${Object.values(live.alarms || {}).map((text) => html`<p class="alarm" role="alert">${text}</p>`)}
  </section>`;
}

function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export class SelectionBar extends Component {
  componentDidMount() { this.props.store.told = () => this.setState({}); }

  componentWillUnmount() { this.props.store.told = null; }

  render({ store }) {
    const { selection, table } = store;
    const any = selection.brushes.size > 0;
    return html`<div class="bar sticky" role="status" aria-live="polite">
      <span><b>${selection.count}</b> of ${table.n} selected</span>
      ${any && html`<button onClick=${() => { selection.brushes.clear(); store.brush("", null); }}>Select all again</button>`}
      <span class="soft">Drag in a plot to select; a click clears it.</span></div>`;
  }
}

export class Card extends Component {
  constructor(props) {
    super(props);
    this.visible = false;
    this.paint = this.paint.bind(this);
  }

  componentDidMount() {
    const { store, column } = this.props;
    this.watch = new IntersectionObserver(([entry]) => {
      this.visible = entry.isIntersecting;
      this.paint();
    });
    this.watch.observe(this.base);
    store.painters.add(this.paint);
    onDrag(this.histogram, MARGIN, (part) => {
      const { lo, hi } = store.table.binned(column.name);
      store.brush(column.name, part && { kind: "range", lo: lo + part.x0 * (hi - lo), hi: lo + part.x1 * (hi - lo) });
    });
    onDrag(this.series, SIDE, (part) => {
      const last = store.table.n - 1;
      store.brush(ORDER, part && { kind: "order", lo: Math.round(part.x0 * last), hi: Math.round(part.x1 * last) });
    });
  }

  componentWillUnmount() {
    this.watch.disconnect();
    this.props.store.painters.delete(this.paint);
  }

  paint() {
    const { store, column } = this.props;
    const { table, selection } = store;
    if (!this.visible || !table.columns.has(column.name)) return; // after a reload it may be gone
    const values = table.columns.get(column.name).values;
    const range = table.binned(column.name);
    drawHistogram(this.histogram, range, selection.histogram(column.name), selection.brushes.get(column.name));
    const order = selection.brushes.get(ORDER);
    drawPoints(this.series, null, { lo: 0, hi: Math.max(1, table.n - 1) }, values, range, selection, table.verdict,
      order && { x0: order.lo, x1: order.hi }, { x: "exposure, in order" });
  }

  render({ store, column }) {
    const brush = store.selection.brushes.get(column.name);
    const title = column.unit ? `${column.label} (${column.unit})` : column.label;
    const limit = (key, text) => html`<label>${text} <input type="number" step="any" value=${brush && Number.isFinite(brush[key]) ? Number(brush[key].toPrecision(5)) : ""}
      onChange=${(event) => {
        const value = event.target.value === "" ? null : Number(event.target.value);
        const old = brush || { lo: -Infinity, hi: Infinity };
        const made = { kind: "range", lo: old.lo, hi: old.hi, [key]: value ?? (key === "lo" ? -Infinity : Infinity) };
        store.brush(column.name, Number.isFinite(made.lo) || Number.isFinite(made.hi) ? made : null);
      }} /></label>`;
    return html`<article class="card">
      <h3>${title}</h3><p class="about">${column.about}</p>
      <canvas class="histogram" ref=${(e) => { this.histogram = e; }} role="img" aria-label="Histogram of ${title}"></canvas>
      <canvas class="series" ref=${(e) => { this.series = e; }} role="img" aria-label="${title} in the order of the exposures"></canvas>
      <div class="limits">${limit("lo", "from")} ${limit("hi", "to")}
        ${brush && !store.guest && html`<button onClick=${() => store.addRule(rule(column.name, brush))}>Keep only these: a rule</button>`}</div>
    </article>`;
  }
}

function rule(name, brush) {
  const text = (v) => String(Number(v.toPrecision(5)));
  const low = Number.isFinite(brush.lo), high = Number.isFinite(brush.hi);
  if (low && high) return `${text(brush.lo)} <= ${name} <= ${text(brush.hi)}`;
  return low ? `${name} >= ${text(brush.lo)}` : `${name} <= ${text(brush.hi)}`;
}

export class Scatter extends Component {
  constructor(props) {
    super(props);
    this.paint = this.paint.bind(this);
    const names = [...props.store.table.columns.keys()];
    const first = (wanted, other) => (names.includes(wanted) ? wanted : names[other] || names[0]);
    this.state = { x: first("ctf.defocus", 0), y: first("ctf.fit_resolution", 1) };
  }

  componentDidMount() {
    const { store } = this.props;
    store.painters.add(this.paint);
    this.watch = new IntersectionObserver(([entry]) => { this.visible = entry.isIntersecting; this.paint(); });
    this.watch.observe(this.base);
    onDrag(this.canvas, SIDE, (part) => {
      const { x, y } = this.state;
      const a = store.table.binned(x), b = store.table.binned(y);
      const at = (r, t) => r.lo + t * (r.hi - r.lo);
      store.brush("#box", part && { kind: "box", x, y, x0: at(a, part.x0), x1: at(a, part.x1), y0: at(b, part.y0), y1: at(b, part.y1) });
    });
    this.paint();
  }

  componentWillUnmount() {
    this.watch.disconnect();
    this.props.store.painters.delete(this.paint);
  }

  componentDidUpdate(_, before) { if (before !== this.state) this.paint(); }

  paint() {
    const { store } = this.props;
    const { x, y } = this.state;
    if (!this.visible || !store.table.columns.has(x) || !store.table.columns.has(y)) return;
    const box = store.selection.brushes.get("#box");
    const column = store.table.columns.get(x);
    drawPoints(this.canvas, column.values, store.table.binned(x), store.table.columns.get(y).values, store.table.binned(y),
      store.selection, store.table.verdict, box && box.x === x && box.y === y ? box : null,
      { x: column.unit ? `${column.label} (${column.unit})` : column.label });
  }

  render({ store }, { x, y }) {
    const choose = (key, text, value) => html`<label>${text} <select value=${value} onChange=${(event) => { store.brush("#box", null); this.setState({ [key]: event.target.value }); }}>
      ${[...store.table.columns.values()].map((c) => html`<option value=${c.name} selected=${c.name === value}>${c.label}</option>`)}</select></label>`;
    return html`<article class="card wide"><h3>Two numbers against each other</h3>
      <div class="limits">${choose("y", "up", y)} ${choose("x", "across", x)}</div>
      <canvas class="scatter" ref=${(e) => { this.canvas = e; }} role="img" aria-label="Scatter plot"></canvas></article>`;
  }
}

export class Gallery extends Component {
  constructor(props) {
    super(props);
    this.state = { page: 0, newest: null };
  }

  render({ store }, { page, newest }) {
    const { table, selection, session } = store;
    const live = Boolean(session.live && session.live.running && session.live.live);
    const last = newest ?? live; // what arrives is seen first
    const pages = Math.max(1, Math.ceil(selection.count / PAGE));
    const shown = Math.min(page, pages - 1);
    const go = (to) => this.setState({ page: Math.min(pages - 1, Math.max(0, to)) });
    return html`<section aria-label="Exposures">
      <div class="bar"><label>Order <select onChange=${(event) => this.setState({ newest: event.target.value === "newest", page: 0 })}>
          <option value="oldest" selected=${!last}>oldest first</option><option value="newest" selected=${last}>newest first</option></select></label>
        <button disabled=${shown === 0} onClick=${() => go(shown - 1)}>Previous page</button>
        <span>page ${shown + 1} of ${pages}</span>
        <button disabled=${shown === pages - 1} onClick=${() => go(shown + 1)}>Next page</button></div>
      ${!selection.count && table.n > 0 && html`<p>No exposure is selected.</p>`}
      ${!table.n && html`<p>There are no exposures yet. They are shown here as <code>icefloe run</code> finishes them.</p>`}
      <ul class="gallery">${members(selection, shown, last).map((i) => {
        const name = table.names[i];
        const verdict = VERDICTS[table.verdict[i]];
        const hand = BY[table.by[i]] === "person" ? " by hand" : "";
        const failed = table.failures[name];
        return html`<li key=${name}><button class="thumb ${verdict} ${name === store.current ? "current" : ""}" onClick=${() => store.open(name)}>
          ${failed ? html`<span class="nothing">failed</span>` : STATES[table.state[i]] === "waiting" && Number.isNaN(defocus(table, i)) ? html`<span class="nothing">waiting</span>`
          : html`<img loading="lazy" alt="" src=${pictureAddress(name, "thumbnail", 0)} />`}
          <span class="name">${name}</span><span class="soft">${verdict}${hand}</span></button></li>`;
      })}</ul></section>`;
  }
}

// The places of the exposures on a page of the list.
function members(selection, page, newest) {
  if (!newest) return selection.list(PAGE, page * PAGE);
  const end = selection.count - page * PAGE, start = Math.max(0, end - PAGE);
  return selection.list(end - start, start).reverse();
}

function defocus(table, i) {
  const column = table.columns.get("ctf.defocus_u");
  return column ? column.values[i] : NaN;
}

export function Failures({ store }) {
  const all = Object.entries(store.table.failures);
  if (!all.length) return null;
  return html`<details class="panel"><summary>${all.length} failed</summary><ul class="plain">
    ${all.slice(0, 100).map(([name, [stage, reason]]) => html`<li><button class="link" onClick=${() => store.open(name)}>${name}</button> ${stage}: ${reason}</li>`)}
    ${all.length > 100 && html`<li>and ${all.length - 100} more</li>`}</ul></details>`;
}

export class Plots extends Component {
  constructor(props) {
    super(props);
    this.state = { all: false };
  }

  render({ store }, { all }) {
    const columns = [...store.table.columns.values()];
    const main = columns.filter((c) => c.main);
    const shown = all || !main.length ? columns : main;
    return html`<section aria-label="Numbers">
      <div class="bar"><h2>Numbers</h2><button aria-pressed=${all ? "true" : "false"} onClick=${() => this.setState({ all: !all })}>
        ${all ? "Show the main ones" : `Show all ${columns.length}`}</button></div>
      <div class="cards">${shown.map((column) => html`<${Card} key=${column.name} store=${store} column=${column} />`)}
      ${columns.length > 1 && html`<${Scatter} store=${store} />`}
      ${store.table.place && columns.length > 0 && html`<${GridMap} store=${store} />`}</div></section>`;
  }
}
