// Settings tried on a few exposures: old and new numbers and pictures side by side.

import { Component, html } from "./vendor/htm-preact.js";
import { address, getJson, post } from "./api.js";
import { number } from "./plots.js";

const SHOWN = { spectrum_curves: "Spectrum with the fitted CTF", score_histogram: "Scores of the picks", frame_track: "Motion of the whole frame" };

// A preview with the picks of one side; nothing to change here.
class Still extends Component {
  componentDidMount() { this.load(); }

  componentDidUpdate(before) { if (before.detail !== this.props.detail) this.load(); }

  load() {
    const { detail, trial } = this.props;
    const image = (this.image = new Image());
    image.onload = () => { if (image === this.image) this.paint(); };
    image.src = address("picture", { name: detail.name, picture: "preview", v: Date.now(), ...(trial ? { trial: 1 } : {}) });
    this.paint();
  }

  paint() {
    const { detail } = this.props;
    if (!this.canvas || !detail.shape) return;
    const ratio = window.devicePixelRatio || 1, [ny, nx] = detail.shape;
    const width = (this.canvas.width = Math.round(this.canvas.clientWidth * ratio));
    this.canvas.height = Math.round((width * ny) / nx);
    const ctx = this.canvas.getContext("2d"), scale = width / nx;
    if (this.image.naturalWidth) ctx.drawImage(this.image, 0, 0, width, this.canvas.height);
    ctx.strokeStyle = "#35d0ff";
    ctx.lineWidth = ratio;
    const p = detail.picks;
    p.x.forEach((x, i) => {
      ctx.beginPath();
      ctx.arc((x + 0.5) * scale, (p.y[i] + 0.5) * scale, ((p.diameter[i] || 150) / (detail.pixel_size || 1) / 2) * scale, 0, 7);
      ctx.stroke();
    });
  }

  render({ detail, title }) {
    return html`<figure><figcaption>${title}: ${detail.picks.x.length} picks</figcaption><canvas class="still" ref=${(e) => { this.canvas = e; }} role="img" aria-label="${title}: ${detail.name} with ${detail.picks.x.length} picks"></canvas></figure>`;
  }
}

export class Trial extends Component {
  constructor(props) {
    super(props);
    this.state = { trial: null, pair: null, name: "", count: 5, error: "", stale: null };
  }

  componentDidMount() { this.look(); }

  componentWillUnmount() { clearTimeout(this.timer); this.gone = true; }

  async look() {
    try {
      const trial = await getJson("trial");
      if (this.gone) return;
      this.setState({ trial });
      if (trial.state === "running") this.timer = setTimeout(() => this.look(), 1000);
      else if (trial.state === "done" && !this.state.name && trial.names.length) this.compare(trial.names[0]);
    } catch (error) { this.setState({ error: error.message }); }
  }

  async begin() {
    try {
      await post("trial", { changes: this.props.changes(), count: this.state.count });
      this.setState({ error: "", pair: null, name: "", stale: null });
      this.look();
    } catch (error) { this.setState({ error: error.message }); }
  }

  async cancel() {
    try { await post("trial/cancel", {}); } catch (error) { this.setState({ error: error.message }); }
  }

  async compare(name) {
    this.wanted = name;
    try {
      const pair = await getJson("trial/exposure", { name });
      if (name === this.wanted) this.setState({ pair, name, error: "" });
    } catch (error) { if (name === this.wanted) this.setState({ error: error.message }); }
  }

  async adopt(save) {
    try {
      this.setState({ stale: await post("trial/adopt", { save }), error: "" });
      if (save) this.props.adopted();
    } catch (error) { this.setState({ error: error.message }); }
  }

  render({ any, guest }, { trial, pair, name, count, error, stale }) {
    const busy = trial && trial.state === "running";
    const median = (values) => { const v = values.filter((x) => x !== null).sort((a, b) => a - b); return v.length ? v[v.length >> 1] : null; };
    const cell = (a, b) => html`<td class="num">${a === b ? number(b) : html`${number(a)} → <b>${number(b)}</b>`}</td>`;
    return html`<section class="panel" aria-label="Try settings"><h2>Try on a few exposures</h2>
      <p class="about">The changes below are tried on exposures taken evenly from the session, beside it (${"NAME-trial"}); the session stays as it is.</p>
      ${!guest && html`<div class="bar"><label>Exposures <input type="number" min="1" max="50" value=${count} onChange=${(e) => this.setState({ count: Number(e.target.value) })} /></label>
        <button class="main" disabled=${!any || busy} onClick=${() => this.begin()}>Try the changes</button>${!any && html`<span class="soft">Change a setting first.</span>`}</div>`}
      ${error && html`<p class="alarm" role="alert">${error}</p>`}
      ${busy && html`<p role="status"><progress aria-label="Exposures of the trial that are done" max=${trial.total || 1} value=${trial.done}></progress> ${trial.total ? `${trial.done} of ${trial.total}: ${trial.now}` : trial.now || "begins …"} ${!guest && html`<button onClick=${() => this.cancel()}>Cancel the trial</button>`}</p>`}
      ${trial && trial.state === "cancelled" && html`<p role="status">The trial was cancelled. Nothing was changed.</p>`}
      ${trial && trial.state === "failed" && html`<p class="alarm" role="alert">The trial failed: ${trial.error}</p>`}
      ${trial && trial.state === "done" && html`<p>Tried: <b>${Object.entries(trial.changes).flatMap(([s, e]) => Object.entries(e).map(([k, v]) => `${s}.${k} = ${JSON.stringify(v)}`)).join(", ")}</b>${trial.ran ? "" : ". These settings change no result."}</p>
        <table class="trial"><thead><tr><th>old → new</th>${trial.columns.map((c) => html`<th title=${c.about}>${c.label}${c.unit && ` (${c.unit})`}</th>`)}</tr></thead>
        <tbody>${trial.names.map((n, i) => html`<tr key=${n}><th scope="row"><button class="link" aria-pressed=${n === name ? "true" : "false"} onClick=${() => this.compare(n)}>${n}</button>${trial.failures[n] ? html`<p class="alarm">${trial.failures[n]}</p>` : ""}</th>
          ${trial.columns.map((c, k) => cell(trial.old[k][i], trial.new[k][i]))}</tr>`)}
          <tr><th scope="row">median</th>${trial.columns.map((c, k) => cell(median(trial.old[k]), median(trial.new[k])))}</tr></tbody></table>
        ${pair && html`<h3>${name}</h3><div class="pair">${["old", "new"].map((side) => html`<div key=${side}>
          <${Still} detail=${pair[side]} trial=${side === "new"} title=${side === "old" ? "Old" : "New"} />
          ${Object.keys(SHOWN).filter((f) => pair[side].figures.includes(f)).map((f) => html`<figure key=${f}><figcaption>${SHOWN[f]}</figcaption><img class="light" alt="${SHOWN[f]}, ${side}" src=${address("figure", { name, figure: f, v: JSON.stringify(trial.changes), ...(side === "new" ? { trial: 1 } : {}) })} /></figure>`)}</div>`)}</div>`}
        ${!guest && html`<div class="bar"><button onClick=${() => this.adopt(false)}>What would become stale?</button><button class="main" onClick=${() => this.adopt(true)}>Take these settings over</button></div>`}
        ${stale && html`<p role="status">${stale.saved ? "Taken over." : "Not taken over yet."} ${Object.keys(stale.stale).length ? `The next run does again: ${Object.entries(stale.stale).map(([s, n]) => `${s} (${n})`).join(", ")}.` : "No result becomes stale."}</p>`}`}
    </section>`;
  }
}
