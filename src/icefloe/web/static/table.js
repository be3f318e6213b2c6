// All exposures as typed arrays, and which of them are selected.

export const STATES = ["done", "failed", "stale", "waiting"];
export const VERDICTS = ["accepted", "rejected", "pending"];
export const BY = ["rules", "person", "failure"];
export const ORDER = "#order";
const BINS = 64;
const NONE = 255;
const PLACE = ["stage_x", "stage_y", "shift_x", "shift_y"];

function unpack(buffer) {
  const size = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
  const n = head.names.length;
  let at = 4 + size;
  const next = () => {
    const part = new Float32Array(buffer, at, n);
    at += 4 * n;
    return part;
  };
  const extra = Object.fromEntries(head.extra.map((key) => [key, next()]));
  const columns = head.columns.map((column) => ({ ...column, values: next() }));
  return { head, extra, columns };
}

export class Table {
  constructor() {
    this.version = -1;
    this.names = [];
    this.places = new Map();
    this.columns = new Map();
    this.failures = {};
    this.counts = { states: {}, verdicts: {} };
    this.state = new Uint8Array(0);
    this.verdict = new Uint8Array(0);
    this.by = new Uint8Array(0);
    this.bins = new Map();
    this.place = null;
  }

  get n() { return this.names.length; }

  // Takes over what the server sent. False where names moved: then all is to be loaded again.
  merge(buffer) {
    const { head, extra, columns } = unpack(buffer);
    if (head.names.length === head.total) {
      this.names = head.names;
      this.places = new Map(head.names.map((name, i) => [name, i]));
      this.columns = new Map(columns.map((c) => [c.name, c]));
      this.failures = head.failures;
      for (const key of ["state", "verdict", "by"]) this[key] = Uint8Array.from(extra[key]);
      this.place = extra.stage_x ? Object.fromEntries(PLACE.map((key) => [key, extra[key]])) : null;
    } else if (!this._mergeRows(head, extra, columns)) {
      return false;
    }
    this.version = head.version;
    this.counts = head.counts;
    this.bins.clear();
    this.mapped = null;
    return true;
  }

  _mergeRows(head, extra, columns) {
    const old = this.n;
    let added = 0;
    for (let j = 0; j < head.names.length; j++) {
      const place = this.places.get(head.names[j]);
      if (place === undefined ? extra.place[j] !== old + added++ : extra.place[j] !== place) return false;
    }
    if (old + added !== head.total) return false;
    const n = head.total;
    for (const key of ["state", "verdict", "by"]) this[key] = longer(this[key], n, Uint8Array);
    for (const c of columns) if (!this.columns.has(c.name)) this.columns.set(c.name, { ...c, values: new Float32Array(0) });
    for (const c of this.columns.values()) c.values = longer(c.values, n, Float32Array, NaN);
    if (extra.stage_x) {
      this.place ||= Object.fromEntries(PLACE.map((key) => [key, new Float32Array(0)]));
      for (const key of PLACE) {
        this.place[key] = longer(this.place[key], n, Float32Array, NaN);
        extra.place.forEach((i, j) => { this.place[key][i] = extra[key][j]; });
      }
    } else if (this.place) for (const key of PLACE) this.place[key] = longer(this.place[key], n, Float32Array, NaN);
    const given = new Map(columns.map((c) => [c.name, c.values]));
    head.names.forEach((name, j) => {
      const i = extra.place[j];
      this.names[i] = name;
      this.places.set(name, i);
      for (const key of ["state", "verdict", "by"]) this[key][i] = extra[key][j];
      for (const c of this.columns.values()) c.values[i] = given.has(c.name) ? given.get(c.name)[j] : NaN;
      delete this.failures[name];
    });
    Object.assign(this.failures, head.failures);
    return true;
  }

  // Values of a number; "#map_x" and "#map_y" are places on the map.
  values(name) {
    if (name === "#map_x" || name === "#map_y") return this.map()[name.slice(5)];
    return this.columns.get(name).values;
  }

  // Where exposures are drawn on the map, um. Those of one stage position are drawn apart by their
  // beam shift, so far that they do not reach the next position: their distances are not to scale.
  map() {
    if (this.mapped) return this.mapped;
    const { stage_x, stage_y, shift_x, shift_y } = this.place;
    const n = this.n, x = Float32Array.from(stage_x), y = Float32Array.from(stage_y);
    const stops = new Map();
    for (let i = 0; i < n; i++) if (x[i] === x[i]) {
      const key = `${x[i].toFixed(1)} ${y[i].toFixed(1)}`;
      stops.get(key)?.push(i) ?? stops.set(key, [i]);
    }
    let reach = 0, apart = false;
    for (const members of stops.values()) for (const i of members) {
      reach = Math.max(reach, Math.hypot(shift_x[i], shift_y[i]));
      if (members.length > 1) apart = true;
    }
    if (apart && reach > 0) {
      const far = 0.4 * nearest([...stops.values()].map(([i]) => [stage_x[i], stage_y[i]]));
      for (let i = 0; i < n; i++) {
        x[i] += (shift_x[i] / reach) * far;
        y[i] += (shift_y[i] / reach) * far;
      }
    }
    return (this.mapped = { x, y, stops: stops.size, apart: apart && reach > 0 });
  }

  // Range without single wild values, and the bin of each exposure; what is outside counts in the
  // first or last bin.
  binned(name) {
    if (this.bins.has(name)) return this.bins.get(name);
    const values = this.columns.get(name).values;
    const known = values.filter((v) => v === v).sort();
    let lo = known[0], hi = known[known.length - 1];
    if (known.length >= 8) {
      const first = known[Math.floor(0.1 * known.length)], last = known[Math.floor(0.9 * known.length)];
      const margin = 2.5 * Math.max(last - first, 1e-9 * Math.max(Math.abs(last), 1));
      lo = Math.max(lo, first - margin);
      hi = Math.min(hi, last + margin);
    }
    if (!(hi - lo > 1e-9 * Math.max(Math.abs(hi), 1))) {
      const pad = 0.05 * Math.abs(hi) || 0.5;
      lo -= pad;
      hi += pad;
    }
    const bin = new Uint8Array(values.length);
    const factor = BINS / (hi - lo);
    for (let i = 0; i < values.length; i++) {
      const v = values[i];
      bin[i] = v !== v ? NONE : Math.min(BINS - 1, Math.max(0, Math.floor((v - lo) * factor)));
    }
    const all = new Uint32Array(NONE + 1);
    for (let i = 0; i < bin.length; i++) all[bin[i]]++;
    const found = { lo, hi, bin, count: BINS, all, chosen: new Uint32Array(NONE + 1), known: known.length, median: known[known.length >> 1] };
    this.bins.set(name, found);
    return found;
  }
}

function longer(array, n, Type, fill = 0) {
  const made = new Type(n).fill(fill);
  made.set(array);
  return made;
}

// The median distance of a point to the nearest other one, from two hundred of them at most.
function nearest(points) {
  if (points.length < 2) return 1;
  const step = Math.ceil(points.length / 200), found = [];
  for (let i = 0; i < points.length; i += step) {
    let least = Infinity;
    for (let j = 0; j < points.length; j++) {
      if (j !== i) least = Math.min(least, Math.hypot(points[i][0] - points[j][0], points[i][1] - points[j][1]));
    }
    found.push(least);
  }
  return found.sort((a, b) => a - b)[found.length >> 1];
}

// What is selected: all brushes at once. A brush is a range of a number or of the order, a box in
// two numbers, or one verdict or state.
export class Selection {
  constructor(table) {
    this.table = table;
    this.brushes = new Map();
    this.fails = new Uint8Array(0);
    this.which = new Int8Array(0);
    this.count = 0;
  }

  set(key, brush) {
    if (brush) this.brushes.set(key, brush);
    else this.brushes.delete(key);
  }

  update() {
    const { table } = this;
    const n = table.n;
    if (this.fails.length !== n) {
      this.fails = new Uint8Array(n);
      this.which = new Int8Array(n);
    }
    const { fails, which } = this;
    fails.fill(0);
    this.keys = [...this.brushes.keys()];
    this.keys.forEach((key, b) => {
      const brush = this.brushes.get(key);
      const mark = (i) => { fails[i]++; which[i] = b; };
      if (brush.kind === "order") {
        for (let i = 0; i < n; i++) if (i < brush.lo || i > brush.hi) mark(i);
      } else if (brush.kind === "class") {
        const values = table[brush.of];
        for (let i = 0; i < n; i++) if (values[i] !== brush.value) mark(i);
      } else if (brush.kind === "box") {
        const x = table.values(brush.x), y = table.values(brush.y);
        for (let i = 0; i < n; i++) {
          if (!(x[i] >= brush.x0 && x[i] <= brush.x1 && y[i] >= brush.y0 && y[i] <= brush.y1)) mark(i);
        }
      } else {
        const column = table.columns.get(key);
        if (!column) return;
        // The columns are float32: so are the limits, or a limit equal to a value would miss it.
        const lo = Math.fround(brush.lo), hi = Math.fround(brush.hi), values = column.values;
        for (let i = 0; i < n; i++) if (!(values[i] >= lo && values[i] <= hi)) mark(i);
      }
    });
    let count = 0;
    for (let i = 0; i < n; i++) if (fails[i] === 0) count++;
    this.count = count;
  }

  has(i) { return this.fails[i] === 0; }

  // Counts by bin of all, and of those that every other brush lets through.
  histogram(name) {
    const { bin, count, all, chosen } = this.table.binned(name);
    const own = this.keys.indexOf(name);
    const { fails, which } = this;
    chosen.fill(0);
    for (let i = 0; i < bin.length; i++) {
      if (fails[i] === 0 || (fails[i] === 1 && which[i] === own)) chosen[bin[i]]++;
    }
    return { all: all.subarray(0, count), chosen: chosen.subarray(0, count) };
  }

  list(limit = Infinity, start = 0) {
    const found = [];
    let seen = 0;
    for (let i = 0; i < this.fails.length && found.length < limit; i++) {
      if (this.fails[i] === 0 && seen++ >= start) found.push(i);
    }
    return found;
  }
}
