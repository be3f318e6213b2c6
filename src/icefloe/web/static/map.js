// The grid as the stage saw it: each exposure at its place, coloured by a number.

import { Component, html } from "./vendor/htm-preact.js";
import { brushBox, colours, dot, number, onDrag, pixel, placed, prepare } from "./plots.js";

const EDGE = { left: 8, right: 8, top: 8, bottom: 34 };
const STOPS = ["#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"].map((hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16)));
const GROUND = "#232a31"; // dark in both themes, so that all colours of the scale stand out
const FAINT = "#59636d";
const LONG = [0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

function colour(t) {
  const place = Math.min(0.9999, Math.max(0, t)) * (STOPS.length - 1), k = Math.floor(place), f = place - k;
  return `rgb(${STOPS[k].map((v, c) => Math.round(v + f * (STOPS[k + 1][c] - v))).join(" ")})`;
}
const SCALE = Array.from({ length: 64 }, (_, k) => colour(k / 63));
const PIXELS = Uint32Array.from(SCALE, (text) => {
  const [r, g, b] = text.match(/\d+/g).map(Number);
  return (0xff000000 | (b << 16) | (g << 8) | r) >>> 0;
});

export class GridMap extends Component {
  constructor(props) {
    super(props);
    this.paint = this.paint.bind(this);
    const { columns } = props.store.table;
    this.state = { of: ["ctf.fit_resolution", "ctf.iciness", "ctf.defocus"].find((name) => columns.has(name)) || columns.keys().next().value };
  }

  componentDidMount() {
    const { store } = this.props;
    store.painters.add(this.paint);
    this.watch = new IntersectionObserver(([entry]) => { this.visible = entry.isIntersecting; this.paint(); });
    this.watch.observe(this.base);
    onDrag(this.canvas, EDGE, (part, at, dragged) => {
      const { x, y, w, h } = this.frame();
      if (!dragged && !store.selection.brushes.has("#map")) { this.choose(x + at.x * w, y + at.y * h, 8 * w / this.canvas.clientWidth); return; }
      store.brush("#map", part && { kind: "box", x: "#map_x", y: "#map_y", x0: x + part.x0 * w, x1: x + part.x1 * w, y0: y + part.y0 * h, y1: y + part.y1 * h });
    });
    this.paint();
  }

  componentWillUnmount() {
    this.watch.disconnect();
    this.props.store.painters.delete(this.paint);
  }

  componentDidUpdate(_, before) { if (before !== this.state) this.paint(); }

  choose(x, y, reach) {
    const { store } = this.props;
    const points = store.table.map();
    let best = -1, least = reach;
    for (let i = 0; i < store.table.n; i++) {
      const d = Math.hypot(points.x[i] - x, points.y[i] - y);
      if (d < least) { least = d; best = i; }
    }
    if (best >= 0) store.open(store.table.names[best]);
  }

  // The part of the plane that the plot shows, um: all points, with one scale for both axes.
  frame() {
    const map = this.props.store.table.map(), { clientWidth, clientHeight } = this.canvas;
    const key = `${clientWidth} ${clientHeight}`;
    if (this.framed && this.framed.map === map && this.framed.key === key) return this.framed.frame;
    const { x, y } = map;
    let x0 = Infinity, x1 = -Infinity, y0 = Infinity, y1 = -Infinity;
    for (let i = 0; i < x.length; i++) if (x[i] === x[i]) {
      x0 = Math.min(x0, x[i]); x1 = Math.max(x1, x[i]); y0 = Math.min(y0, y[i]); y1 = Math.max(y1, y[i]);
    }
    const across = this.canvas.clientWidth - EDGE.left - EDGE.right, down = this.canvas.clientHeight - EDGE.top - EDGE.bottom;
    const unit = 1.06 * Math.max((x1 - x0) / across, (y1 - y0) / down, 0.5 / across);
    const w = unit * across, h = unit * down;
    const frame = { x: (x0 + x1 - w) / 2, y: (y0 + y1 - h) / 2, w, h, across, down };
    this.framed = { map, key, frame };
    return frame;
  }

  paint() {
    const { store } = this.props;
    const { table, selection } = store;
    const column = table.columns.get(this.state.of);
    if (!column || !this.visible || !this.canvas.clientWidth) return;
    const { ctx, width, height, ratio } = prepare(this.canvas, null);
    const points = table.map(), range = table.binned(column.name), frame = this.frame();
    const w = Math.max(1, Math.round(frame.across * ratio)), h = Math.max(1, Math.round(frame.down * ratio));
    const side = Math.max(2, Math.min(9, 0.6 * Math.sqrt((frame.across * frame.down) / Math.max(1, table.n))));
    const size = Math.max(1, Math.round(side * ratio));
    const fx = frame.across / frame.w, fy = frame.down / frame.h;
    // The middle of a point lies at its place.
    const dx = size / ratio / 2 / fx, dy = size / ratio / 2 / fy;
    const faint = pixel(FAINT);
    const { image, pixels, none, at } = placed(this.canvas, ctx, points.x, { lo: frame.x + dx, hi: frame.x + frame.w - dx }, points.y, { lo: frame.y + dy, hi: frame.y + frame.h - dy }, w, h, size, faint, pixel(GROUND));
    pixels.set(none);
    const { fails } = selection, { bin } = range;
    for (let i = 0; i < table.n; i++) {
      if (fails[i] === 0 && at[i] >= 0) dot(pixels, at[i], w, size, bin[i] > 63 ? faint : PIXELS[bin[i]]);
    }
    ctx.putImageData(image, Math.round(EDGE.left * ratio), Math.round(EDGE.top * ratio));
    const current = table.places.get(store.current);
    if (current !== undefined && points.x[current] === points.x[current]) {
      ctx.strokeStyle = "#ffffff";
      ctx.lineWidth = 2;
      ctx.strokeRect(EDGE.left + (points.x[current] - frame.x) * fx - side, EDGE.top + frame.down - (points.y[current] - frame.y) * fy - side, 2 * side, 2 * side);
      ctx.lineWidth = 1;
    }
    const long = LONG.filter((l) => l * fx < 0.25 * frame.across).at(-1) ?? LONG[0];
    ctx.fillStyle = "#ffffff";
    ctx.fillRect(EDGE.left + 8, EDGE.top + frame.down - 8, long * fx, 3);
    ctx.textAlign = "left"; ctx.textBaseline = "bottom";
    ctx.fillText(`${long} µm`, EDGE.left + 8, EDGE.top + frame.down - 10);
    SCALE.forEach((c, k) => { ctx.fillStyle = c; ctx.fillRect(width / 2 - 96 + 3 * k, height - 26, 3, 9); });
    ctx.fillStyle = colours.soft;
    ctx.textAlign = "right"; ctx.textBaseline = "middle";
    ctx.fillText(number(range.lo), width / 2 - 100, height - 21);
    ctx.textAlign = "left";
    ctx.fillText(number(range.hi), width / 2 + 100, height - 21);
    ctx.textAlign = "center"; ctx.textBaseline = "bottom";
    ctx.fillText(column.unit ? `${column.label} (${column.unit})` : column.label, width / 2, height - 1);
    const box = selection.brushes.get("#map");
    if (box) {
      const ax = (v) => EDGE.left + (v - frame.x) * fx, ay = (v) => EDGE.top + frame.down - (v - frame.y) * fy;
      brushBox(ctx, ax(box.x0), ax(box.x1), ay(box.y1), ay(box.y0), 0.08);
    }
  }

  render({ store }, { of }) {
    const { apart, stops } = store.table.map();
    return html`<article class="card wide"><h3>Map of the grid</h3>
      <p class="about">Where the stage stood (${stops} positions).${apart ? " Holes of one position are drawn apart by their beam shift, not to scale." : ""} Drag to select, click a point to open it.</p>
      <div class="limits"><label>Colour <select onChange=${(event) => this.setState({ of: event.target.value })}>
        ${[...store.table.columns.values()].map((c) => html`<option value=${c.name} selected=${c.name === of}>${c.label}</option>`)}</select></label></div>
      <canvas class="map" ref=${(e) => { this.canvas = e; }} role="img" aria-label="Map of the stage positions coloured by ${of}"></canvas></article>`;
  }
}
