// One exposure: its micrograph, pictures, figures, numbers, and those before and after it.

import { Component, html } from "./vendor/htm-preact.js";
import { address, getJson, pictureAddress } from "./api.js";
import { Micrograph } from "./micrograph.js";
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
let serial = 0; // of what was asked for: pictures are fetched anew with each
const PICTURES = [["frames", "A frame as counted (left) and the aligned sum (right); below, the middle enlarged"], ["spectrum", "Spectrum (measured and fitted)"]];

const PARTS = { motion: "Motion", ctf: "CTF", look: "Micrograph", pick: "Picks", extract: "Particles", import: "File" };

// Numbers by stage, those that say most first.
function parts(numbers) {
  const rows = numbers.filter((r) => !isError(r.name, numbers));
  const stages = [...new Set([...Object.keys(PARTS), ...rows.map((r) => r.name.split(".")[0])])];
  return stages.map((stage) => [PARTS[stage] || stage, rows.filter((r) => r.name.startsWith(`${stage}.`)).sort((a, b) => b.main - a.main)]).filter(([, list]) => list.length);
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
    <p>All are listed in <code>picks/by_hand.star</code>. In the session's directory, teach the neural picker your particle. Best are all particles of three micrographs; twenty in each may do, too, and what it gained is said. Micrographs without picks are left out:</p>
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

  componentDidMount() {
    this.fetch();
    this.title.focus({ preventScroll: true });
  }

  // Another exposure, or this one has gone on: waiting, done, failed, done again.
  componentDidUpdate() { if (this.wanted !== this.props.name || this.stage !== this.now()) this.fetch(); }

  // Changes with the results of the exposure, not with its verdict.
  now() {
    const { table } = this.props.store;
    const i = table.places.get(this.props.name);
    return [table.state[i], ...[...table.columns.values()].map((column) => column.values[i])].join();
  }

  // Of several requests the last one's answer counts.
  async fetch() {
    const name = (this.wanted = this.props.name);
    const number = (this.number = ++serial), asked = performance.now();
    this.stage = this.now();
    try {
      const detail = await getJson("exposure", { name });
      if (number === this.number) this.setState({ detail, error: "", stage: number, asked });
    } catch (error) { if (number === this.number) this.setState({ detail: null, error: error.message }); }
  }

  render({ store, name }, { detail, error, stage, asked }) {
    const { table } = store;
    const i = table.places.get(name);
    const verdict = VERDICTS[table.verdict[i]];
    const around = [];
    for (let j = Math.max(0, i - 4); j < Math.min(table.n, i + 5); j++) around.push(table.names[j]);
    const known = detail && detail.name === name ? detail : null;
    return html`<main class="exposure">
      <div class="bar"><button onClick=${() => store.show("session")}>Back to the session</button>
        <h2 tabindex="-1" ref=${(e) => { this.title = e; }}>${name}</h2><span class="verdict ${verdict}">${verdict}${BY[table.by[i]] === "person" ? " by hand" : ""}</span>
        <button onClick=${() => store.step(-1)}>Previous</button><button onClick=${() => store.step(1)}>Next</button>
        ${!store.guest && html`<button onClick=${() => store.decide("accept", name)}>Accept</button><button onClick=${() => store.decide("reject", name)}>Reject</button><button onClick=${() => store.undo()}>Undo</button>`}</div>
      ${error && html`<p class="alarm" role="alert">${error}</p>`}
      ${known && known.failure && html`<p class="alarm" role="alert">${known.failure[0]} failed: ${known.failure[1]}</p>`}
      ${known && html`<div class="two"><div>
          <${Micrograph} key=${`${name} ${stage}`} detail=${known} store=${store} asked=${asked} chosen=${() => this.fetch()} />
          <nav class="neighbours" aria-label="Neighbours in time">${around.map((other) => html`<button key=${other} class="thumb ${other === name ? "current" : ""}" onClick=${() => store.open(other)}>
            ${table.failures[other] ? html`<span class="nothing">failed</span>` : html`<img alt="" loading="lazy" src=${pictureAddress(other, "thumbnail", 0)} />`}<span class="name">${other}</span></button>`)}</nav>
          ${PICTURES.filter(([key]) => known.pictures.includes(key)).map(([key, text]) => html`<figure key=${key}><figcaption>${text}</figcaption><img class="light" src=${pictureAddress(name, key, stage)} alt=${text} /></figure>`)}
          ${known.hand_picks && known.hand_picks.x.length > 0 && html`<${Uses} name=${name} diameter=${known.picks.diameter[0]} />`}
        </div><div>
          ${[...Object.entries(known.flags)].flatMap(([stage, flags]) => flags.map((f) => html`<p class="flag">${stage}: ${f}</p>`))}
          ${known.advice.map((text) => html`<p class="flag">${text}</p>`)}
          ${known.figures.map((f) => html`<figure key=${f}><figcaption>${FIGURES[f] || f}</figcaption><img class="light" src=${address("figure", { name, figure: f, v: stage })} alt=${FIGURES[f] || f} /></figure>`)}
          <table class="numbers"><caption>All numbers</caption>${parts(known.numbers).map(([part, rows]) => html`<tbody key=${part}><tr><th class="part" scope="rowgroup" colspan="3">${part}</th></tr>${rows.map((r) => html`<tr key=${r.name}><th scope="row" title=${r.name}>${r.label}</th><td class="num">${number(r.value)}${errorOf(r.name, known.numbers)} ${r.unit}</td><td class="soft">${r.about}</td></tr>`)}</tbody>`)}</table>
          <p class="soft">${known.source}</p></div></div>`}</main>`;
  }
}
