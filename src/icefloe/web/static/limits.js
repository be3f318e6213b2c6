// Limits of score and power: counted at once, and taken over for the picks of the session.

import { Component, html } from "./vendor/htm-preact.js";
import { post } from "./api.js";
import { number } from "./plots.js";

const BINS = 100;
const range = (values) => [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];

// What is left for the next run.
function again({ rest, particles }) {
  return (rest ? ` ${rest} more can only be picked again by the next run.` : "") + (particles ? ` The next run ('icefloe run') cuts out the particles of ${particles} again.` : "");
}

export class Limits extends Component {
  constructor(props) {
    super(props);
    this.state = { asked: null, error: "", busy: false };
    this.scores = range(props.peaks.score);
    this.powers = props.power ? range(props.power) : null;
  }

  // How many picks the limits leave in the session, from the part of it that was read.
  sessionCount() {
    const { session, limits } = this.props;
    if (!session || !session.counts) return null;
    const { score, weak, strong } = limits;
    const counts = score === null ? session.picked : session.counts;
    let kept = 0;
    counts.forEach((c, k) => {
      if (!c) return;
      const i = Math.floor(k / BINS), j = k % BINS;
      const s = (session.score[i] + session.score[i + 1]) / 2, p = session.power ? (session.power[j] + session.power[j + 1]) / 2 : 1;
      if ((score === null || s >= score) && (!session.power || ((weak === null || p >= weak) && (strong === null || p <= strong)))) kept += c;
    });
    const factor = session.read ? session.total / session.read : session.of / session.exposures;
    return { kept: Math.round(kept * factor), total: session.total, part: session.exposures < session.of ? session.exposures : 0 };
  }

  change(part) {
    this.setState({ asked: null, error: "" });
    this.props.change({ ...this.props.limits, ...part });
  }

  // First what it would do is said, then it is done.
  async send(save) {
    const { store, limits, change, chosen } = this.props;
    this.setState({ busy: true, error: "" });
    try {
      const content = { score: limits.score, min_power: limits.weak, max_power: limits.strong };
      const found = await post("limits", { limits: content, save });
      this.setState({ asked: save ? null : found, busy: false });
      if (!save) return;
      store.say(`${found.exposures} exposures have ${found.picks} picks now (${found.before} before).${again(found)}`);
      change(null);
      chosen();
    } catch (error) { this.setState({ error: error.message, busy: false }); }
  }

  render({ store, detail, peaks, power, limits, inForce, kept, show, onShow, change }, { asked, error, busy }) {
    const session = this.sessionCount();
    const moved = ["score", "weak", "strong"].some((key) => limits[key] !== inForce[key]);
    const slide = (key, text, [low, high], value, title) => html`<label title=${title}>${text} <input type="range" min=${low} max=${high} step=${(high - low) / 400 || 1} value=${value} onInput=${(e) => this.change({ [key]: Number(e.target.value) })} /> ${limits[key] === null ? (key === "score" ? `${number(value)}, as found` : "no limit") : number(value)}</label>`;
    const looser = detail.candidates !== null;
    return html`<div class="limits"><label class="radio"><input type="checkbox" checked=${show} onChange=${onShow} /> picks</label>
        ${slide("score", "Score at least", this.scores, limits.score ?? peaks.threshold ?? this.scores[0], "How well a place fits what was looked for; higher is surer")}
        ${power && html`${slide("weak", "Power from", this.powers, limits.weak ?? this.powers[0], "Mean square about a pick over that of the median pick; high for dirt")} ${slide("strong", "Power to", this.powers, limits.strong ?? this.powers[1], "Mean square about a pick over that of the median pick; high for dirt")}`}</div>
      <div class="limits"><output class="kept"><b>${kept}</b> picks here${moved ? ` (${detail.picks.x.length} now)` : ""}${session ? html`, about <b>${session.kept}</b> in the session (${session.total} now${session.part ? `; from ${session.part} exposures` : ""})` : ""}</output>
        ${moved && html`<button onClick=${() => { this.setState({ asked: null, error: "" }); change(null); }}>Back to what is</button>`}
        ${!store.guest && moved && html`<button class="main" disabled=${busy} onClick=${() => this.send(false)}>Choose the session's picks so</button>`}</div>
      ${error && html`<p class="alarm" role="alert">${error}</p>`}
      ${busy && html`<p role="status">Working …</p>`}
      ${asked && html`<div class="flag" role="status"><p>${asked.exposures} exposures: ${asked.before} picks become <b>${asked.picks}</b>.${again(asked)}</p>
        <div class="bar"><button class="main" disabled=${busy} onClick=${() => this.send(true)}>Choose them</button><button onClick=${() => this.setState({ asked: null })}>Cancel</button></div></div>`}
      <p class="about">${looser ? `The picker's own threshold here is ${number(peaks.threshold)}; the best ${peaks.x.length - peaks.picked} places below it can be added.` : "This session was picked without keeping what is below the threshold: for weaker picks, try a lower threshold in Settings."}</p>`;
  }
}
