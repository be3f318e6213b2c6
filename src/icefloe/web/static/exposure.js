// One exposure: micrograph with picks, figures, numbers, picking by hand.

import { Component, html } from "./vendor/htm-preact.js";
import { address, getJson, pictureAddress, post } from "./api.js";
import { number } from "./plots.js";
import { BY, VERDICTS } from "./table.js";

const FIGURES = {
  spectrum_curves: "Spectrum with the fitted CTF",
  frame_track: "Motion of the whole frame",
  patch_tracks: "Local motion of the patches",
  score_histogram: "Scores of the picks",
  defocus_score: "Score against defocus",
  ice_ring: "Ring of ice",
  ring_curves: "Spectra before and after alignment",
  defocus_surface: "Defocus over the micrograph",
};
const PREVIEW = 20; // Å, the low-pass of previews
const PICTURES = [["frames", "A frame as counted (left) and the aligned sum (right); below, the middle enlarged"], ["spectrum", "Spectrum (measured and fitted)"]];

class Micrograph extends Component {
  constructor(props) {
    super(props);
    const { detail } = props;
    const hand = detail.hand_picks;
    const scores = detail.picks.score;
    const power = (this.power = detail.picks.power.length === scores.length && scores.length ? detail.picks.power : null);
    this.powers = power ? [power.reduce((a, b) => Math.min(a, b)), power.reduce((a, b) => Math.max(a, b))] : [0, 1];
    this.scores = scores.length ? [scores.reduce((a, b) => Math.min(a, b)), scores.reduce((a, b) => Math.max(a, b))] : [0, 1];
    this.state = { contrast: 100, bright: 100, zoom: 1, show: true, threshold: this.scores[0], tool: "look",
      low: PREVIEW, weak: this.powers[0], strong: this.powers[1], mask: false, session: null, x: hand ? hand.x : [], y: hand ? hand.y : [], history: [], saved: true, eraser: 100 };
    this.pan = [0, 0];
  }

  componentDidMount() {
    this.image = this.picture("preview");
    this.cover = this.picture("mask");
    if (this.props.detail.picks.x.length) getJson("scores").then((session) => this.setState({ session }), () => {});
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(this.state.zoom * (event.deltaY < 0 ? 1.25 : 0.8));
    }, { passive: false });
    this.paint();
  }

  componentDidUpdate() { this.paint(); }

  componentWillUnmount() { clearTimeout(this.resting); }

  picture(name) {
    const { detail, store } = this.props;
    if (!detail.pictures.includes(name)) return null;
    const image = new Image();
    image.onload = () => this.paint();
    image.src = pictureAddress(detail.name, name, store.table.version);
    return image;
  }

  zoom(to) {
    this.setState({ zoom: Math.min(32, Math.max(1, to)) });
    this.refine();
  }

  // When the view rests: the part that is seen, as fine as the micrograph has it.
  refine() {
    clearTimeout(this.resting);
    this.resting = setTimeout(() => {
      const { detail, store } = this.props;
      const { zoom, low } = this.state;
      if (!detail.zoom || !this.canvas || (zoom < 1.3 && low === PREVIEW)) { this.part = null; this.paint(); return; }
      const { scale, left, top, nx, ny } = this.frame();
      const x = Math.max(0, Math.floor(-left / scale)), y = Math.max(0, Math.floor(-top / scale));
      const width = Math.min(nx - x, Math.ceil(this.canvas.width / scale) + 1), height = Math.min(ny - y, Math.ceil(this.canvas.height / scale) + 1);
      if (width < 8 || height < 8) return;
      const image = new Image();
      image.onload = () => { this.part = { image, x, y, width, height }; this.paint(); };
      image.onerror = () => store.say("The micrograph cannot be read");
      image.src = address("crop", { name: detail.name, x, y, width, height, resolution: low });
    }, 250);
  }

  kept(i) {
    const { threshold, weak, strong } = this.state;
    return !(this.props.detail.picks.score[i] < threshold) && (!this.power || (this.power[i] >= weak && this.power[i] <= strong));
  }

  // Picks of the whole session that the limits keep, from the part of it that was read.
  sessionCount() {
    const { session, threshold, weak, strong } = this.state;
    if (!session || !session.counts) return null;
    let kept = 0, all = 0;
    session.counts.forEach((c, k) => {
      if (!c) return;
      all += c;
      const i = Math.floor(k / 100), j = k % 100;
      const score = (session.score[i] + session.score[i + 1]) / 2, power = session.power ? (session.power[j] + session.power[j + 1]) / 2 : 0;
      const low = weak <= this.powers[0] ? -Infinity : weak, high = strong >= this.powers[1] ? Infinity : strong;
      if ((threshold <= this.scores[0] || score >= threshold) && (!session.power || (power >= low && power <= high))) kept += c;
    });
    return { kept: Math.round((kept / all) * session.total), total: session.total, part: session.exposures < session.of ? session.exposures : 0 };
  }

  // Pixels of the canvas for a pixel of the micrograph, and where its first pixel lies.
  frame() {
    const { detail } = this.props;
    const [ny, nx] = detail.shape || [1, 1];
    const w = this.canvas.width, h = this.canvas.height;
    const scale = Math.min(w / nx, h / ny) * this.state.zoom;
    const limit = (free, p) => (free >= 0 ? free / 2 : Math.min(0, Math.max(free, free / 2 + p)));
    return { scale, left: limit(w - nx * scale, this.pan[0]), top: limit(h - ny * scale, this.pan[1]), nx, ny };
  }

  paint() {
    const canvas = this.canvas;
    if (!canvas) return;
    const { detail } = this.props;
    const { contrast, bright, show, x, y, tool, mask, eraser } = this.state;
    const ratio = window.devicePixelRatio || 1;
    const [ny, nx] = detail.shape || [1, 1];
    const width = Math.round(canvas.clientWidth * ratio);
    const height = Math.round(Math.min(width * ny / nx, Math.max(360, 0.68 * window.innerHeight) * ratio));
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    const ctx = canvas.getContext("2d");
    const { scale, left, top } = this.frame();
    ctx.fillStyle = "#101418";
    ctx.fillRect(0, 0, width, height);
    ctx.filter = `brightness(${bright}%) contrast(${contrast}%)`;
    if (this.image && this.image.complete && this.image.naturalWidth) ctx.drawImage(this.image, left, top, nx * scale, ny * scale);
    if (this.part) ctx.drawImage(this.part.image, left + this.part.x * scale, top + this.part.y * scale, this.part.width * scale, this.part.height * scale);
    ctx.filter = "none";
    if (mask && this.cover && this.cover.naturalWidth) ctx.drawImage(this.cover, left, top, nx * scale, ny * scale);
    const circles = (xs, ys, radii, keep, colour) => {
      ctx.strokeStyle = colour;
      ctx.lineWidth = 1.5 * ratio;
      ctx.beginPath();
      for (let i = 0; i < xs.length; i++) {
        if (!keep(i)) continue;
        const r = radii(i) * scale, cx = left + (xs[i] + 0.5) * scale, cy = top + (ys[i] + 0.5) * scale;
        ctx.moveTo(cx + r, cy);
        ctx.arc(cx, cy, r, 0, 7);
      }
      ctx.stroke();
    };
    const p = detail.picks;
    const half = (p.diameter[0] || 150) / (detail.pixel_size || 1) / 2;
    if (show) circles(p.x, p.y, (i) => (p.diameter[i] || 150) / (detail.pixel_size || 1) / 2, (i) => this.kept(i), "#35d0ff");
    circles(x, y, () => half, () => true, "#ffd23f");
    if (this.pointer && tool !== "look") circles([this.pointer[0]], [this.pointer[1]], () => (tool === "erase" ? eraser / (detail.pixel_size || 1) : half), () => true, tool === "add" ? "#ffffff" : "#ff7a6b");
    canvas.style.cursor = tool === "look" ? "grab" : "crosshair";
    if (detail.pixel_size && detail.shape) bar(ctx, detail.pixel_size, scale, height, ratio);
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    const { scale, left, top } = this.frame();
    return [((event.clientX - box.left) * ratio - left) / scale - 0.5, ((event.clientY - box.top) * ratio - top) / scale - 0.5];
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.from = [event.clientX, event.clientY, ...this.pan];
    const { tool } = this.state;
    const [x, y] = this.at(event);
    const [ny, nx] = this.props.detail.shape;
    if (tool === "add" && x > -0.5 && y > -0.5 && x < nx - 0.5 && y < ny - 0.5) {
      const round = (v) => Math.round(v * 10) / 10;
      this.edit([...this.state.x, round(x)], [...this.state.y, round(y)]);
    } else if (tool === "remove") this.drop(x, y, (this.props.detail.picks.diameter[0] || 150) / (this.props.detail.pixel_size || 1) / 2, 1);
    else if (tool === "erase") { this.before = [this.state.x, this.state.y]; this.erase(x, y); }
  }

  move(event) {
    if (this.state.tool !== "look") { this.pointer = this.at(event); this.paint(); }
    if (!this.from) return;
    if (this.state.tool === "look") {
      const ratio = window.devicePixelRatio || 1;
      this.pan = [this.from[2] + (event.clientX - this.from[0]) * ratio, this.from[3] + (event.clientY - this.from[1]) * ratio];
      this.paint();
      this.refine();
    } else if (this.state.tool === "erase") this.erase(...this.at(event));
  }

  up() {
    if (this.before) {
      const [x, y] = this.before;
      this.before = null;
      this.setState({ history: [...this.state.history, [x, y]] });
      this.save(this.state.x, this.state.y);
    }
    this.from = null;
  }

  erase(x, y) {
    const r = this.state.eraser / (this.props.detail.pixel_size || 1);
    const keep = this.state.x.map((v, i) => Math.hypot(v - x, this.state.y[i] - y) > r);
    this.setState({ x: this.state.x.filter((_, i) => keep[i]), y: this.state.y.filter((_, i) => keep[i]) });
  }

  drop(x, y, reach) {
    let best = -1, least = reach;
    this.state.x.forEach((v, i) => {
      const d = Math.hypot(v - x, this.state.y[i] - y);
      if (d <= least) { least = d; best = i; }
    });
    if (best >= 0) this.edit(this.state.x.filter((_, i) => i !== best), this.state.y.filter((_, i) => i !== best));
  }

  edit(x, y) {
    this.setState({ x, y, history: [...this.state.history, [this.state.x, this.state.y]] });
    this.save(x, y);
  }

  // Saved at once; while one request is under way only the last change waits for the next one.
  save(x, y) {
    this.next = { x, y };
    this.setState({ saved: false });
    if (!this.sending) this.send();
  }

  async send() {
    const { detail, store } = this.props;
    this.sending = true;
    while (this.next) {
      const picks = this.next;
      this.next = null;
      try { await post("picks", { name: detail.name, ...picks }); } catch (error) {
        store.say(`Picks are not saved: ${error.message}`);
        this.sending = false;
        return;
      }
    }
    this.sending = false;
    this.setState({ saved: true });
  }

  undo() {
    const history = [...this.state.history];
    const last = history.pop();
    if (!last) return;
    this.setState({ history, x: last[0], y: last[1] });
    this.save(...last);
  }

  render({ detail, store }, s) {
    const slide = (key, text, low, high, step = 1) => html`<label>${text} <input type="range" min=${low} max=${high} step=${step} value=${s[key]} onInput=${(e) => this.setState({ [key]: Number(e.target.value) })} /></label>`;
    const p = detail.picks;
    const kept = p.score.filter((_, i) => this.kept(i)).length;
    const session = this.sessionCount();
    const step = ([low, high]) => (high - low) / 200 || 1;
    const limits = () => {
      const name = (key) => `pick\u0000${detail.method}.${key}`;
      store.drafts = { [name("threshold")]: String(Number(s.threshold.toPrecision(4))) };
      if (this.power && detail.method === "template") {
        if (s.weak > this.powers[0]) store.drafts[name("min_power")] = String(Number(s.weak.toPrecision(4)));
        if (s.strong < this.powers[1]) store.drafts[name("max_power")] = String(Number(s.strong.toPrecision(4)));
      }
      store.show("settings");
    };
    const tool = (value, text) => html`<label class="radio"><input type="radio" name="tool" checked=${s.tool === value} onChange=${() => this.setState({ tool: value })} /> ${text}</label>`;
    return html`<div class="micrograph"><canvas ref=${(e) => { this.canvas = e; }} role="img" aria-label="Micrograph ${detail.name} with ${kept} picks"
        onPointerDown=${(e) => this.down(e)} onPointerMove=${(e) => this.move(e)} onPointerUp=${() => this.up()} onPointerLeave=${() => { this.pointer = null; this.paint(); }}></canvas>
      <div class="limits">${slide("contrast", "Contrast", 40, 400)} ${slide("bright", "Brightness", 40, 200)}
        ${detail.zoom && html`<label>Low-pass <input type="range" min="0" max="60" value=${s.low} onInput=${(e) => { this.setState({ low: Number(e.target.value) }); this.refine(); }} /> ${s.low ? `${s.low} Å` : "none"}</label>`}
        <span role="group" aria-label="Zoom"><button aria-label="Zoom out" onClick=${() => this.zoom(s.zoom / 1.5)}>−</button> ${s.zoom.toFixed(1)}× <button aria-label="Zoom in" onClick=${() => this.zoom(s.zoom * 1.5)}>+</button></span></div>
      ${p.x.length > 0 && html`<div class="limits"><label class="radio"><input type="checkbox" checked=${s.show} onChange=${() => this.setState({ show: !s.show })} /> picks</label>
        ${slide("threshold", "Score at least", this.scores[0], this.scores[1], step(this.scores))} ${number(s.threshold)}
        ${this.power && html`${slide("weak", "Power from", this.powers[0], this.powers[1], step(this.powers))} ${number(s.weak)} ${slide("strong", "to", this.powers[0], this.powers[1], step(this.powers))} ${number(s.strong)}`}</div>
        <div class="limits"><output><b>${kept}</b> of ${p.x.length} picks here${session ? html`, about <b>${session.kept}</b> of ${session.total} in the session${session.part ? ` (from ${session.part} exposures)` : ""}` : ""}</output>
        ${!store.guest && html`<button onClick=${limits}>Try these limits as settings</button>`}
        <span class="soft">Picking kept no scores below ${number(detail.threshold)}: for weaker picks set a lower threshold there and try it on a few exposures.${this.power ? " Power: mean square about a pick over that of the median pick; high for dirt." : ""}</span></div>`}
      ${this.cover && html`<label class="radio limits"><input type="checkbox" checked=${s.mask} onChange=${() => this.setState({ mask: !s.mask })} /> junk mask (red: nothing is picked there)</label>`}
      ${!store.guest && detail.shape && html`<fieldset class="limits"><legend>Picking by hand</legend>
        ${tool("look", "look")} ${tool("add", "add")} ${tool("remove", "remove")} ${tool("erase", "erase")}
        ${s.tool === "erase" && slide("eraser", "radius (Å)", 20, 600)}
        <button disabled=${!s.history.length} onClick=${() => this.undo()}>Undo</button>
        ${p.x.length > 0 && html`<button onClick=${() => { const keep = p.x.map((_, i) => this.kept(i)); this.edit(p.x.filter((_, i) => keep[i]), p.y.filter((_, i) => keep[i])); }}>Begin with the picks shown</button>`}
        <output>${s.x.length} by hand${s.saved ? "" : ", saving …"}</output></fieldset>`}</div>`;
  }
}

function bar(ctx, pixelSize, scale, height, ratio) {
  const long = [100, 200, 500, 1000, 2000, 5000].find((a) => (a / pixelSize) * scale > 60 * ratio) || 5000;
  const w = (long / pixelSize) * scale;
  ctx.fillStyle = "rgba(0, 0, 0, 0.6)";
  ctx.fillRect(8 * ratio, height - 30 * ratio, w + 16 * ratio, 24 * ratio);
  ctx.fillStyle = "#fff";
  ctx.fillRect(16 * ratio, height - 12 * ratio, w, 2 * ratio);
  ctx.font = `${11 * ratio}px system-ui, sans-serif`;
  ctx.fillText(long >= 1000 ? `${long / 10} nm` : `${long} Å`, 16 * ratio, height - 16 * ratio);
}

// The error of a number is shown behind it, not as one of its own.
function errorOf(name, numbers) {
  const found = numbers.find((r) => r.name === `${name}_error`);
  return found && found.value !== null ? ` ± ${Number(found.value.toPrecision(2))}` : "";
}

function isError(name, numbers) {
  return name.endsWith("_error") && numbers.some((r) => `${r.name}_error` === name);
}

function Uses({ diameter }) {
  const d = diameter ? Math.round(diameter) : "DIAMETER";
  return html`<details class="panel"><summary>What picks by hand are good for</summary>
    <p>All are listed in <code>picks/by_hand.star</code>. In the session's directory, with some hundred picks in three or more micrographs, teach the neural picker your particle:</p>
    <p><code>icefloe train micrographs/*.mrc --picks picks/by_hand.star --diameter ${d} --out mine.safetensors</code></p>
    <p>Or make templates of them; after the export for RELION:</p>
    <p><code>icefloe extract relion/micrographs_ctf.star --picks picks/by_hand.star --diameter ${d} --out by_hand</code></p>
    <p><code>icefloe classify by_hand/particles.star --out by_hand/classes</code>, then choose in Classes.</p></details>`;
}

export class Exposure extends Component {
  constructor(props) {
    super(props);
    this.state = { detail: null, error: "" };
  }

  componentDidMount() { this.fetch(); }

  // Another exposure, or this one has gone on: waiting, done, failed.
  componentDidUpdate() { if (this.wanted !== this.props.name || this.stage !== this.now()) this.fetch(); }

  now() {
    const { table } = this.props.store;
    const i = table.places.get(this.props.name);
    const known = (name) => (table.columns.has(name) && !Number.isNaN(table.columns.get(name).values[i]) ? 1 : 0);
    return `${table.state[i]}${known("ctf.defocus")}${known("pick.n_picks")}`;
  }

  async fetch() {
    const name = (this.wanted = this.props.name);
    this.stage = this.now();
    try {
      const detail = await getJson("exposure", { name });
      if (name === this.wanted) this.setState({ detail, error: "", stage: this.stage });
    } catch (error) { this.setState({ detail: null, error: error.message }); }
  }

  render({ store, name }, { detail, error, stage }) {
    const { table } = store;
    const i = table.places.get(name);
    const verdict = VERDICTS[table.verdict[i]];
    const around = [];
    for (let j = Math.max(0, i - 4); j < Math.min(table.n, i + 5); j++) around.push(table.names[j]);
    const known = detail && detail.name === name ? detail : null;
    return html`<main class="exposure">
      <div class="bar"><button onClick=${() => store.show("session")}>Back to the session</button>
        <h2>${name}</h2><span class="verdict ${verdict}">${verdict}${BY[table.by[i]] === "person" ? " by hand" : ""}</span>
        <button onClick=${() => store.step(-1)}>Previous</button><button onClick=${() => store.step(1)}>Next</button>
        ${!store.guest && html`<button onClick=${() => store.decide("accept", name)}>Accept</button><button onClick=${() => store.decide("reject", name)}>Reject</button><button onClick=${() => store.undo()}>Undo</button>`}</div>
      ${error && html`<p class="alarm" role="alert">${error}</p>`}
      ${known && known.failure && html`<p class="alarm" role="alert">${known.failure[0]} failed: ${known.failure[1]}</p>`}
      ${known && html`<div class="two"><div>
          <${Micrograph} key=${`${name} ${stage}`} detail=${known} store=${store} />
          <nav class="neighbours" aria-label="Neighbours in time">${around.map((other) => html`<button key=${other} class="thumb ${other === name ? "current" : ""}" onClick=${() => store.open(other)}>
            ${table.failures[other] ? html`<span class="nothing">failed</span>` : html`<img alt="" loading="lazy" src=${pictureAddress(other, "thumbnail", 0)} />`}<span class="name">${other}</span></button>`)}</nav>
          ${PICTURES.filter(([key]) => known.pictures.includes(key)).map(([key, text]) => html`<figure key=${key}><figcaption>${text}</figcaption><img class="light" src=${pictureAddress(name, key, table.version)} alt=${text} /></figure>`)}
          ${known.hand_picks && known.hand_picks.x.length > 0 && html`<${Uses} name=${name} diameter=${known.picks.diameter[0]} />`}
        </div><div>
          ${[...Object.entries(known.flags)].flatMap(([stage, flags]) => flags.map((f) => html`<p class="flag">${stage}: ${f}</p>`))}
          ${known.advice.map((text) => html`<p class="flag">${text}</p>`)}
          ${known.figures.map((f) => html`<figure key=${f}><figcaption>${FIGURES[f] || f}</figcaption><img class="light" src=${address("figure", { name, figure: f })} alt=${FIGURES[f] || f} /></figure>`)}
          <table class="numbers"><caption>All numbers</caption><tbody>${known.numbers.filter((r) => !isError(r.name, known.numbers)).map((r) => html`<tr key=${r.name}><th scope="row" title=${r.name}>${r.label}</th><td class="num">${number(r.value)}${errorOf(r.name, known.numbers)} ${r.unit}</td><td class="soft">${r.about}</td></tr>`)}</tbody></table>
          <p class="soft">${known.source}</p></div></div>`}</main>`;
  }
}
