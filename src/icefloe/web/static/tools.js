// Calculator, settings, report and export.

import { Component, html } from "./vendor/htm-preact.js";
import { address, getJson, post } from "./api.js";
import { drawLines, number } from "./plots.js";
import { Trial } from "./trial.js";

const FIELDS = [["diameter", "Particle diameter (Å)", 150], ["defocus", "Largest defocus (Å)", 20000], ["smallest", "Smallest defocus (Å)", 8000], ["resolution", "Aim (Å)", 3], ["pixel_size", "Pixel size (Å)", 1],
  ["voltage", "Voltage (kV)", 300], ["cs", "Spherical aberration (mm)", 2.7], ["amplitude_contrast", "Amplitude contrast (0 to 1)", 0.1], ["phase_shift", "Phase shift (degrees)", 0]];

export class Calculator extends Component {
  constructor(props) {
    super(props);
    const values = Object.fromEntries(FIELDS.map(([key, , value]) => [key, value]));
    const known = props.store.table.columns;
    for (const [key, name] of [["pixel_size", "ctf.pixel_size"], ["voltage", "ctf.voltage"], ["cs", "ctf.cs"], ["amplitude_contrast", "ctf.amplitude_contrast"], ["diameter", "pick.diameter_max"]]) {
      const found = known.has(name) && known.get(name).values.find((v) => v === v);
      if (found) values[key] = Number(found.toPrecision(6));
    }
    this.state = { values, found: null, error: "" };
  }

  componentDidMount() { this.ask(this.state.values); }

  componentDidUpdate() {
    if (this.state.found && this.canvas) drawLines(this.canvas, this.state.found.frequency, [{ ys: this.state.found.smallest, colour: "brush" }, { ys: this.state.found.ctf, colour: "chosen" }], { yRange: [-1, 1], labels: { x: "frequency (1/Å)" } });
  }

  async ask(values) {
    const asked = (this.asked = (this.asked || 0) + 1);
    this.setState({ values });
    try {
      const found = await getJson("calculator", values);
      if (asked === this.asked) this.setState({ found, error: "" });
    } catch (error) { if (asked === this.asked) this.setState({ error: error.message, found: null }); }
  }

  render(_, { values, found, error }) {
    return html`<section class="panel"><h2>Calculator</h2>
      <p class="about">Defocus spreads detail around a particle: at resolution d by λ·defocus/d on each side. A smaller box than diameter + 2 × spread loses it.</p>
      <div class="form">${FIELDS.map(([key, label]) => html`<label>${label} <input type="number" step="any" value=${values[key]} onChange=${(e) => this.ask({ ...values, [key]: e.target.value })} /></label>`)}</div>
      ${error && html`<p class="alarm" role="alert">${error}</p>`}
      ${found && html`<p role="status">Spread <b>${number(found.delocalisation)} Å</b> on each side; box at least ${number(found.minimum)} Å: <b>${found.pixels} px</b> (${number(found.size)} Å). Wavelength ${number(found.wavelength)} Å.</p>
      <canvas class="curve" ref=${(e) => { this.canvas = e; }} role="img" aria-label="CTF against frequency, for the largest and the smallest defocus"></canvas>
      <p class="about"><span class="key chosen">—</span> CTF at the largest defocus, <span class="key brush">—</span> at the smallest, up to Nyquist (twice the pixel size). Where it is 0 nothing is recorded.</p>`}</section>`;
  }
}

export class Settings extends Component {
  constructor(props) {
    super(props);
    const drafts = props.store.drafts || {}; // kept while other views are looked at
    this.state = { rows: [], changes: drafts, answer: null, error: "", filter: "" };
  }

  componentDidMount() { this.fetch(this.state.changes); }

  componentDidUpdate() { this.props.store.drafts = this.state.changes; }

  async fetch(changes = {}) {
    try { this.setState({ rows: await getJson("settings"), changes }); } catch (error) { this.setState({ error: error.message }); }
  }

  changes() {
    const changes = {};
    for (const [name, text] of Object.entries(this.state.changes)) {
      const [section, key] = name.split("\u0000");
      let value = text;
      try { value = JSON.parse(text); } catch { /* plain text */ }
      (changes[section] ||= {})[key] = text === "" ? null : value;
    }
    return changes;
  }

  async send(save) {
    try {
      const answer = await post("settings", { changes: this.changes(), save });
      this.setState({ answer, error: "" });
      if (save) this.fetch();
    } catch (error) { this.setState({ error: error.message, answer: null }); }
  }

  render({ store }, { rows, changes, answer, error, filter }) {
    const text = (v) => (v === null ? "" : typeof v === "string" ? v : JSON.stringify(v));
    const shown = rows.filter((r) => `${r.section}.${r.key} ${r.about}`.toLowerCase().includes(filter.toLowerCase()));
    const any = Object.keys(changes).length > 0;
    return html`<section class="panel"><h2>Settings</h2>
      <div class="bar"><label>Find <input type="search" value=${filter} onInput=${(e) => this.setState({ filter: e.target.value })} /></label>
        ${!store.guest && html`<button disabled=${!any} onClick=${() => this.setState({ changes: {}, answer: null, error: "" })}>Forget the changes</button><button disabled=${!any} onClick=${() => this.send(false)}>What would become stale?</button><button class="main" disabled=${!any} onClick=${() => this.send(true)}>Save</button>`}</div>
      ${error && html`<p class="alarm" role="alert">${error}</p>`}
      ${answer && html`<p role="status">${answer.saved ? "Saved." : "Not saved yet."} ${Object.keys(answer.stale).length ? `The next run does again: ${Object.entries(answer.stale).map(([s, n]) => `${s} (${n})`).join(", ")}.` : "No result becomes stale."}</p>`}
      ${store.guest && !any ? "" : html`<${Trial} any=${any} guest=${store.guest} changes=${() => this.changes()} adopted=${() => this.fetch()} />`}
      <table class="settings"><tbody>${shown.map((r) => {
        const name = `${r.section}\u0000${r.key}`;
        return html`<tr key=${name}><th scope="row">${r.section}.${r.key}</th><td><input aria-label="${r.section}.${r.key}" disabled=${store.guest} class=${name in changes ? "draft" : ""} value=${changes[name] ?? text(r.value)}
          onChange=${(e) => this.setState({ changes: { ...changes, [name]: e.target.value } })} /></td><td class="soft">${r.about}</td></tr>`;
      })}</tbody></table></section>`;
  }
}

const MAKE = [["report", "Report (HTML)", "All exposures with figures, in one file that needs no network."], ["pdf", "Report (PDF)", "Distributions and series of the numbers."],
  ["methods", "Methods paragraph", "For a paper, with references."], ["relion", "For RELION", "STAR files of micrographs, picks and particles."], ["cryosparc", "For cryoSPARC", "particles.cs, or picks.cs where no particles are cut out."]];

export class Output extends Component {
  constructor(props) {
    super(props);
    this.state = { busy: "", lines: [], error: "", files: [] };
  }

  componentDidMount() { this.list(); }

  async list() { try { this.setState({ files: await getJson("downloads") }); } catch (error) { this.setState({ error: error.message }); } }

  async make(kind) {
    this.setState({ busy: kind, lines: [], error: "" });
    try { this.setState({ lines: (await post("export", { kind })).lines }); } catch (error) { this.setState({ error: error.message }); }
    this.setState({ busy: "" });
    this.list();
  }

  render({ store }, { busy, lines, error, files }) {
    const size = (n) => (n < 1e6 ? `${Math.max(1, Math.round(n / 1000))} kB` : `${(n / 1e6).toFixed(1)} MB`);
    return html`<section class="panel" aria-label="Report and export"><h2>Report and export</h2>
      ${store.guest ? html`<p>This link is for looking only; what was made can be fetched.</p>` : html`<div class="bar">
        ${MAKE.map(([kind, text, about]) => html`<button title=${about} disabled=${!!busy} onClick=${() => this.make(kind)}>${text}</button>`)}</div>`}
      <div role="status">${busy ? "Working …" : html`<ul class="plain">${lines.map((t) => html`<li>${t}</li>`)}</ul>`}</div>
      ${error && html`<p class="alarm" role="alert">${error}</p>`}
      ${files.length > 0 && html`<table class="downloads"><thead><tr><th>File</th><th>Size</th><th>Made</th></tr></thead><tbody>${files.map((f) => html`<tr key=${f.name}>
        <td><a href=${address("download", { file: f.name })} download=${f.name}>${f.name}</a></td><td class="num">${size(f.bytes)}</td><td>${new Date(1000 * f.written).toLocaleString()}</td></tr>`)}</tbody></table>`}</section>`;
  }
}
