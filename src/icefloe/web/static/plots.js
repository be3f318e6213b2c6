// Histograms, series and scatter plots on canvases. Points are written as pixels: fifty thousand
// take about a millisecond.

export const colours = {};

export function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["ink", "soft", "line", "all", "chosen", "rejected", "panel", "brush"]) {
    colours[name] = style.getPropertyValue(`--${name}`).trim();
  }
  for (const name of ["all", "chosen", "rejected"]) colours[`${name}Pixel`] = pixel(colours[name]);
}

export function pixel(hex) {
  const v = parseInt(hex.slice(1), 16);
  return (0xff000000 | ((v & 255) << 16) | (v & 0xff00) | (v >> 16)) >>> 0;
}

export function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size >= 100000 || (size > 0 && size < 0.001)) return value.toExponential(2);
  return String(Number(value.toPrecision(digits)));
}

// What does not follow brushes (axes, labels) is drawn once: `same` says that the canvas still has
// it, with the size and the `key` that it was drawn with.
const drawn = new WeakMap();

export function prepare(canvas, key) {
  const ratio = Math.min(2, window.devicePixelRatio || 1);
  const width = Math.max(40, canvas.clientWidth), height = Math.max(20, canvas.clientHeight);
  const fits = canvas.width === Math.round(width * ratio) && canvas.height === Math.round(height * ratio);
  if (!fits) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const ctx = canvas.getContext("2d"), known = drawn.get(canvas);
  const same = Boolean(fits && key && known && key.every((v, k) => v === known[k]));
  if (!same) {
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, width, height);
    ctx.font = "11px system-ui, sans-serif";
    drawn.set(canvas, key);
  }
  return { ctx, width, height, ratio, same };
}

export const MARGIN = { left: 6, right: 6, top: 4, bottom: 16 };
export const SIDE = { left: 46, right: 8, top: 6, bottom: 18 };

export function brushBox(ctx, x0, x1, y0, y1, shade = 0.22) {
  ctx.fillStyle = colours.brush;
  ctx.globalAlpha = shade;
  ctx.fillRect(x0, y0, x1 - x0, y1 - y0);
  ctx.globalAlpha = 1;
  ctx.strokeStyle = colours.brush;
  ctx.strokeRect(x0 + 0.5, y0 + 0.5, x1 - x0 - 1, y1 - y0 - 1);
}

export function drawHistogram(canvas, range, counts, brush) {
  const { ctx, width, height, same } = prepare(canvas, [range, colours.soft]);
  const m = MARGIN, w = width - m.left - m.right, h = height - m.top - m.bottom;
  ctx.clearRect(0, 0, width, m.top + h);
  let top = 1;
  for (const c of counts.all) top = Math.max(top, c);
  const step = w / counts.all.length;
  for (const [key, colour] of [["all", colours.all], ["chosen", colours.chosen]]) {
    ctx.fillStyle = colour;
    counts[key].forEach((c, i) => {
      if (!c) return;
      const tall = Math.max(1, (h * c) / top);
      ctx.fillRect(m.left + i * step, m.top + h - tall, Math.max(1, step - 0.5), tall);
    });
  }
  if (!same) {
    ctx.fillStyle = colours.soft;
    ctx.textBaseline = "bottom";
    ctx.textAlign = "left";
    ctx.fillText(number(range.lo), m.left, height);
    ctx.textAlign = "right";
    ctx.fillText(number(range.hi), width - m.right, height);
    ctx.textAlign = "center";
    ctx.fillText(`median ${number(range.median)}`, width / 2, height);
  }
  if (brush) {
    const at = (v) => m.left + w * Math.min(1, Math.max(0, (v - range.lo) / (range.hi - range.lo)));
    brushBox(ctx, at(brush.lo), Math.max(at(brush.lo) + 2, at(brush.hi)), m.top, m.top + h);
  }
}

// Where each point lies in the picture of a plot, and the picture with none of them selected: found
// once, as brushes change colours only.
const places = new WeakMap();

export function placed(canvas, ctx, xs, xRange, ys, yRange, w, h, size, shade, ground = 0) {
  const key = [xs, ys, xRange.lo, xRange.hi, yRange.lo, yRange.hi, w, h, size, shade, ground];
  const known = places.get(canvas);
  if (known && key.every((v, k) => v === known.key[k])) return known;
  const fx = (w - size) / (xRange.hi - xRange.lo || 1), fy = (h - size) / (yRange.hi - yRange.lo || 1);
  const at = new Int32Array(ys.length).fill(-1);
  for (let i = 0; i < ys.length; i++) {
    const y = ys[i], x = xs ? xs[i] : i;
    if (y !== y || x !== x) continue;
    const px = Math.min(w - size, Math.max(0, Math.round((x - xRange.lo) * fx)));
    const py = h - size - Math.min(h - size, Math.max(0, Math.round((y - yRange.lo) * fy)));
    at[i] = py * w + px;
  }
  const image = ctx.createImageData(w, h);
  const none = new Uint32Array(w * h).fill(ground);
  for (let i = 0; i < at.length; i++) if (at[i] >= 0) dot(none, at[i], w, size, shade);
  const made = { key, at, image, none, pixels: new Uint32Array(image.data.buffer) };
  places.set(canvas, made);
  return made;
}

export function dot(pixels, place, w, size, shade) {
  if (size === 1) { pixels[place] = shade; return; }
  for (let down = 0; down < size; down++) {
    const row = place + down * w;
    for (let across = 0; across < size; across++) pixels[row + across] = shade;
  }
}

// Points of two numbers against each other, or of one in the order of the exposures (xs null).
export function drawPoints(canvas, xs, xRange, ys, yRange, selection, verdict, brush, labels) {
  const { ctx, width, height, ratio, same } = prepare(canvas, [xRange.lo, xRange.hi, yRange, labels.x, colours.line, colours.soft]);
  const m = SIDE;
  const left = Math.round(m.left * ratio), top = Math.round(m.top * ratio);
  const w = Math.max(1, Math.round((width - m.left - m.right) * ratio));
  const h = Math.max(1, Math.round((height - m.top - m.bottom) * ratio));
  const n = ys.length;
  const size = Math.max(1, Math.round((n > 20000 ? 1 : n > 1000 ? 2 : 4) * ratio));
  const { allPixel, chosenPixel, rejectedPixel } = colours, { fails } = selection;
  const { image, pixels, none, at } = placed(canvas, ctx, xs, xRange, ys, yRange, w, h, size, allPixel);
  pixels.set(none);
  // Those that are selected lie on top of the others.
  for (let i = 0; i < n; i++) {
    if (fails[i] === 0 && at[i] >= 0) dot(pixels, at[i], w, size, verdict[i] === 1 ? rejectedPixel : chosenPixel);
  }
  ctx.putImageData(image, left, top);
  if (!same) {
    ctx.strokeStyle = colours.line;
    ctx.strokeRect(m.left - 0.5, m.top - 0.5, width - m.left - m.right + 1, height - m.top - m.bottom + 1);
    ctx.fillStyle = colours.soft;
    ctx.textAlign = "right";
    ctx.textBaseline = "top";
    ctx.fillText(number(yRange.hi, 3), m.left - 4, m.top);
    ctx.textBaseline = "bottom";
    ctx.fillText(number(yRange.lo, 3), m.left - 4, height - m.bottom);
    ctx.textAlign = "left";
    ctx.fillText(number(xRange.lo + (xs ? 0 : 1)), m.left, height);
    ctx.textAlign = "right";
    ctx.fillText(number(xRange.hi + (xs ? 0 : 1)), width - m.right, height);
    ctx.textAlign = "center";
    ctx.fillText(labels.x, (m.left + width - m.right) / 2, height);
  }
  if (brush) {
    const across = width - m.left - m.right, down = height - m.top - m.bottom;
    const clip = (t) => Math.min(1, Math.max(0, t));
    const ax = (v) => m.left + across * clip((v - xRange.lo) / (xRange.hi - xRange.lo || 1));
    const ay = (v) => m.top + down * (1 - clip((v - yRange.lo) / (yRange.hi - yRange.lo || 1)));
    const y0 = brush.y1 === undefined ? m.top : ay(brush.y1), y1 = brush.y0 === undefined ? m.top + down : ay(brush.y0);
    // Within the picture, which is all that the next brush draws anew.
    const x0 = Math.min(ax(brush.x0), m.left + across - 2), low = Math.min(y0, m.top + down - 2);
    brushBox(ctx, x0, Math.max(x0 + 2, ax(brush.x1)), low, Math.max(low + 2, y1));
  }
}

// Reports the fractions (0 to 1) of the plot between which the pointer was dragged; null for a click,
// which is one only when the button is let go.
export function onDrag(canvas, margin, report) {
  let from = null, dragged = false;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    const clip = (t) => Math.min(1, Math.max(0, t));
    return {
      x: clip((event.clientX - box.left - margin.left) / (box.width - margin.left - margin.right)),
      y: clip(1 - (event.clientY - box.top - margin.top) / (box.height - margin.top - margin.bottom)),
    };
  };
  const send = (event, last) => {
    if (!from || !canvas.clientWidth) return; // another view was opened meanwhile
    const to = at(event);
    const wide = Math.abs(to.x - from.x) > 0.01 || Math.abs(to.y - from.y) > 0.02;
    dragged ||= wide;
    if (!dragged && !last) return;
    report(wide ? { x0: Math.min(from.x, to.x), x1: Math.max(from.x, to.x), y0: Math.min(from.y, to.y), y1: Math.max(from.y, to.y) } : null, to, dragged);
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    from = at(event);
    dragged = false;
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => send(event, false));
  canvas.addEventListener("pointerup", (event) => { send(event, true); from = null; });
  canvas.addEventListener("pointercancel", () => { from = null; });
}

// Curves over one axis, each with its colour.
export function drawLines(canvas, xs, curves, { yRange, labels }) {
  const { ctx, width, height } = prepare(canvas);
  const m = SIDE, w = width - m.left - m.right, h = height - m.top - m.bottom;
  const hi = xs[xs.length - 1];
  ctx.strokeStyle = colours.line;
  ctx.strokeRect(m.left - 0.5, m.top - 0.5, w + 1, h + 1);
  const y = (v) => m.top + h * (1 - (v - yRange[0]) / (yRange[1] - yRange[0]));
  ctx.beginPath();
  ctx.moveTo(m.left, y(0));
  ctx.lineTo(m.left + w, y(0));
  ctx.stroke();
  for (const { ys, colour } of curves) {
    ctx.strokeStyle = colours[colour];
    ctx.beginPath();
    xs.forEach((x, i) => ctx[i ? "lineTo" : "moveTo"](m.left + (w * x) / hi, y(ys[i])));
    ctx.stroke();
  }
  ctx.fillStyle = colours.soft;
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  for (const v of [yRange[0], 0, yRange[1]]) ctx.fillText(String(v), m.left - 4, y(v));
  ctx.textBaseline = "bottom";
  ctx.textAlign = "center";
  ctx.fillText(labels.x, m.left + w / 2, height);
  ctx.textAlign = "right";
  ctx.fillText(`1/${number(1 / hi)} Å`, width - m.right, height);
}
