// A micrograph with its picks: contrast, zoom, limits of score and power, picking by hand.

import { Component, html } from "./vendor/htm-preact.js";
import { address, getJson, pictureAddress } from "./api.js";
import { Limits } from "./limits.js";

const PREVIEW = 20; // Å, the low-pass of previews
// What stays as it is from one exposure to the next.
const LOOK = { contrast: 100, bright: 100, low: PREVIEW, show: true, mask: false, tool: "look", eraser: 100 };

export class Micrograph extends Component {
  constructor(props) {
    super(props);
    const { detail, store, asked } = props;
    const hand = store.hand.later(detail.name, asked) || detail.hand_picks;
    this.peaks = detail.candidates || { ...detail.picks, picked: detail.picks.x.length, threshold: detail.threshold };
    this.power = this.peaks.power.length && this.peaks.power.length === this.peaks.x.length ? this.peaks.power : null;
    const [score, weak, strong] = detail.limits || [null, null, null];
    this.inForce = { score, weak, strong };
    this.state = { zoom: 1, ...LOOK, ...store.look, limits: store.limits || this.inForce, session: null, x: hand ? hand.x : [], y: hand ? hand.y : [], history: [] };
    this.pan = [0, 0];
    this.crops = 0;
  }

  componentDidMount() {
    const { detail, store } = this.props;
    this.image = this.picture("preview");
    this.cover = this.picture("mask");
    store.hand.watcher = () => this.setState({});
    if (this.peaks.x.length) getJson("scores").then((session) => this.setState({ session }), (error) => store.say(error.message));
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 1.25 : 0.8, this.pixel(event));
    }, { passive: false });
    store.painters.add(this.paint);
    this.paint();
    if (detail.zoom && this.state.low !== PREVIEW) this.refine();
  }

  componentDidUpdate() { this.paint(); }

  componentWillUnmount() {
    const { store } = this.props;
    clearTimeout(this.resting);
    this.crops++;
    store.hand.watcher = null;
    store.painters.delete(this.paint);
  }

  // Keeps what the next exposure is to be seen with, too.
  look(part) {
    this.props.store.look = { ...this.props.store.look, ...part };
    this.setState(part);
  }

  limit(limits) {
    this.props.store.limits = limits;
    this.setState({ limits: limits || this.inForce });
  }

  picture(name) {
    const { detail, store } = this.props;
    if (!detail.pictures.includes(name)) return null;
    const image = new Image();
    image.onload = () => this.paint();
    image.src = pictureAddress(detail.name, name, store.table.version);
    return image;
  }

  // The point of the canvas that is given stays where it is; the middle by default.
  zoom(factor, point = [this.canvas.width / 2, this.canvas.height / 2]) {
    const zoom = Math.min(32, Math.max(1, this.state.zoom * factor));
    const { scale, left, top, nx, ny } = this.frame(), f = zoom / this.state.zoom;
    const { width, height } = this.canvas;
    this.pan = [[left, width, nx, point[0]], [top, height, ny, point[1]]].map(([at, size, n, p]) => p - (p - at) * f - (size - n * scale * f) / 2);
    this.setState({ zoom });
    this.refine();
  }

  // When the view rests: the part that is seen, as fine as the micrograph has it. Of several
  // requests the last one's answer counts.
  refine() {
    clearTimeout(this.resting);
    const number = ++this.crops;
    this.resting = setTimeout(() => {
      const { detail, store } = this.props;
      const { zoom, low } = this.state;
      if (!detail.zoom || !this.canvas || (zoom < 1.3 && low === PREVIEW)) { this.part = null; this.paint(); return; }
      const { scale, left, top, nx, ny } = this.frame();
      const x = Math.max(0, Math.floor(-left / scale)), y = Math.max(0, Math.floor(-top / scale));
      const width = Math.min(nx - x, Math.ceil(this.canvas.width / scale) + 1), height = Math.min(ny - y, Math.ceil(this.canvas.height / scale) + 1);
      if (width < 8 || height < 8) return;
      const image = new Image();
      image.onload = () => { if (number === this.crops) { this.part = { image, x, y, width, height }; this.paint(); } };
      image.onerror = () => { if (number === this.crops) store.say("The micrograph cannot be read"); };
      image.src = address("crop", { name: detail.name, x, y, width, height, resolution: low, v: store.table.version });
    }, 250);
  }

  // Whether a peak is a pick with the limits that are shown.
  kept(i) {
    const { score, weak, strong } = this.state.limits;
    if (score === null ? i >= this.peaks.picked : this.peaks.score[i] < score) return false;
    return !this.power || ((weak === null || this.power[i] >= weak) && (strong === null || this.power[i] <= strong));
  }

  // Pixels of the canvas for a pixel of the micrograph, and where its first pixel lies.
  frame() {
    const [ny, nx] = this.props.detail.shape || [1, 1];
    const w = this.canvas.width, h = this.canvas.height;
    const scale = Math.min(w / nx, h / ny) * this.state.zoom;
    const limit = (free, p) => (free >= 0 ? free / 2 : Math.min(0, Math.max(free, free / 2 + p)));
    return { scale, left: limit(w - nx * scale, this.pan[0]), top: limit(h - ny * scale, this.pan[1]), nx, ny };
  }

  // Radius of a pick, pixels of the micrograph; of one by hand that of the first peak.
  radius(i = 0) { return (this.peaks.diameter[i] || 150) / (this.props.detail.pixel_size || 1) / 2; }

  paint = () => {
    const canvas = this.canvas;
    if (!canvas) return;
    const { detail } = this.props;
    const { contrast, bright, show, x, y, tool, mask, eraser } = this.state;
    const ratio = window.devicePixelRatio || 1;
    const [ny, nx] = detail.shape || [1, 1];
    const width = Math.round(canvas.clientWidth * ratio);
    const height = Math.round(Math.min(width * ny / nx, Math.max(340, 0.6 * window.innerHeight) * ratio));
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
    const half = this.radius();
    if (show) circles(this.peaks.x, this.peaks.y, (i) => this.radius(i), (i) => this.kept(i), "#35d0ff");
    circles(x, y, () => half, () => true, "#ffd23f");
    if (this.pointer && tool !== "look") circles([this.pointer[0]], [this.pointer[1]], () => (tool === "erase" ? eraser / (detail.pixel_size || 1) : half), () => true, tool === "add" ? "#ffffff" : "#ff7a6b");
    canvas.style.cursor = tool === "look" ? "grab" : "crosshair";
    if (detail.pixel_size && detail.shape) bar(ctx, detail.pixel_size, scale, height, ratio);
  };

  // Where a pointer is, pixels of the canvas; and `at`, of the micrograph.
  pixel(event) {
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  }

  at(event) {
    const [px, py] = this.pixel(event);
    const { scale, left, top } = this.frame();
    return [(px - left) / scale - 0.5, (py - top) / scale - 0.5];
  }

  down(event) {
    if (!this.props.detail.shape || event.button > 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    const { scale, left, top, nx, ny } = this.frame();
    this.pan = [left - (this.canvas.width - nx * scale) / 2, top - (this.canvas.height - ny * scale) / 2];
    this.from = [event.clientX, event.clientY, ...this.pan];
    const { tool } = this.state;
    const [x, y] = this.at(event);
    if (tool === "add" && x > -0.5 && y > -0.5 && x < nx - 0.5 && y < ny - 0.5) {
      const round = (v) => Math.round(v * 10) / 10;
      this.edit([...this.state.x, round(x)], [...this.state.y, round(y)]);
    } else if (tool === "remove") this.drop(x, y, this.radius());
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
      const before = this.before;
      this.before = null;
      if (before[0].length !== this.state.x.length) {
        this.setState({ history: [...this.state.history, before] });
        this.save(this.state.x, this.state.y);
      }
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

  save(x, y) { this.props.store.hand.set(this.props.detail.name, x, y); }

  undo() {
    const history = [...this.state.history];
    const last = history.pop();
    if (!last) return;
    this.setState({ history, x: last[0], y: last[1] });
    this.save(...last);
  }

  begin() {
    const keep = this.peaks.x.map((_, i) => this.kept(i));
    this.edit(this.peaks.x.filter((_, i) => keep[i]), this.peaks.y.filter((_, i) => keep[i]));
  }

  render({ detail, store, chosen }, s) {
    const slide = (key, text, low, high, unit = "") => html`<label>${text} <input type="range" min=${low} max=${high} value=${s[key]} onInput=${(e) => this.look({ [key]: Number(e.target.value) })} /> ${s[key]}${unit}</label>`;
    const kept = this.peaks.x.filter((_, i) => this.kept(i)).length;
    const tool = (value, text) => html`<label class="radio"><input type="radio" name="tool" checked=${s.tool === value} onChange=${() => this.look({ tool: value })} /> ${text}</label>`;
    const state = store.hand.state(detail.name);
    return html`<div class="micrograph"><canvas ref=${(e) => { this.canvas = e; }} role="img" aria-label="Micrograph ${detail.name} with ${kept} picks"
        onPointerDown=${(e) => this.down(e)} onPointerMove=${(e) => this.move(e)} onPointerUp=${() => this.up()} onPointerCancel=${() => this.up()} onPointerLeave=${() => { this.pointer = null; this.paint(); }}></canvas>
      <div class="limits">${slide("contrast", "Contrast", 40, 400, " %")} ${slide("bright", "Brightness", 40, 200, " %")}
        ${detail.zoom && html`<label>Low-pass <input type="range" min="0" max="60" value=${s.low} onInput=${(e) => { this.look({ low: Number(e.target.value) }); this.refine(); }} /> ${s.low ? `${s.low} Å` : "none"}</label>`}
        <span role="group" aria-label="Zoom"><button aria-label="Zoom out" onClick=${() => this.zoom(1 / 1.5)}>−</button> ${s.zoom.toFixed(1)}× <button aria-label="Zoom in" onClick=${() => this.zoom(1.5)}>+</button></span>
        ${this.cover && html`<label class="radio"><input type="checkbox" checked=${s.mask} onChange=${() => this.look({ mask: !s.mask })} /> junk mask (red: nothing is picked there)</label>`}</div>
      ${!store.guest && detail.shape && html`<fieldset class="limits"><legend>Picking by hand</legend>
        ${tool("look", "look")} ${tool("add", "add")} ${tool("remove", "remove")} ${tool("erase", "erase")}
        ${s.tool === "erase" && slide("eraser", "radius", 20, 600, " Å")}
        <button disabled=${!s.history.length} onClick=${() => this.undo()}>Undo</button>
        ${kept > 0 && html`<button disabled=${s.x.length > 0} title="Copies the blue circles, to add and remove some" onClick=${() => this.begin()}>Begin with the picks shown</button>`}
        <button disabled=${!s.x.length} onClick=${() => this.edit([], [])}>Remove all</button>
        <output>${s.x.length} by hand${state && `, ${state}`}</output></fieldset>`}
      ${this.peaks.x.length > 0 && html`<${Limits} store=${store} detail=${detail} peaks=${this.peaks} power=${this.power} limits=${s.limits} inForce=${this.inForce} kept=${kept} session=${s.session}
        show=${s.show} onShow=${() => this.look({ show: !s.show })} change=${(limits) => this.limit(limits)} chosen=${chosen} />`}</div>`;
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
