// Class averages: chosen by click, saved as templates and, where they are known, with their particles.

import { Component, html } from "./vendor/htm-preact.js";
import { address, getJson, post } from "./api.js";
import { number } from "./plots.js";

export class Classes extends Component {
  constructor(props) {
    super(props);
    this.state = { sets: null, detail: null, chosen: new Set(), saved: null, stale: null, error: "", sort: "number" };
  }

  async componentDidMount() {
    try {
      const sets = await getJson("classes");
      this.setState({ sets });
      const last = sets[sets.length - 1];
      if (last) await this.open(last.id);
    } catch (error) { this.setState({ error: error.message }); }
  }

  async open(id) {
    this.wanted = id;
    try {
      const detail = await getJson("classes/set", { set: id });
      if (id === this.wanted) this.setState({ detail, chosen: new Set(detail.chosen), saved: null, stale: null, error: "" });
    } catch (error) { if (id === this.wanted) this.setState({ error: error.message, detail: null }); }
  }

  toggle(k) {
    const chosen = new Set(this.state.chosen);
    if (!chosen.delete(k)) chosen.add(k);
    this.setState({ chosen, saved: null, stale: null });
  }

  choose(test) {
    this.setState({ chosen: new Set(this.state.detail.classes.filter(test).map((c) => c.number)), saved: null, stale: null });
  }

  async save() {
    const { detail, chosen } = this.state;
    try { this.setState({ saved: await post("classes/select", { set: detail.id, numbers: [...chosen] }), error: "" }); } catch (error) { this.setState({ error: error.message }); }
  }

  async use(save) {
    const changes = { pick: { method: "template", templates: this.state.saved.templates } };
    try {
      const stale = await post("settings", { changes, save });
      this.setState({ stale, error: "" });
    } catch (error) { this.setState({ error: error.message }); }
  }

  render({ store }, { sets, detail, chosen, saved, stale, error, sort }) {
    const guest = store.guest;
    const order = detail ? [...detail.classes].sort((a, b) => (sort === "number" ? a.number - b.number : (b[sort] ?? 0) - (a[sort] ?? 0))) : [];
    const has = (key) => detail && detail.classes.some((c) => c[key] !== null);
    const counted = has("population") ? detail.classes.filter((c) => chosen.has(c.number)).reduce((sum, c) => sum + c.population, 0) : null;
    return html`<section class="panel" aria-label="Class averages"><h2>Class averages</h2>
      <p class="about">Click the classes that show your particle. Saved, they are templates to pick with; particles of chosen classes are listed, too, where that is known.</p>
      ${sets && !sets.length && html`<p>There are none in this session yet. Make some with <code>icefloe classify relion/particles.star --out classes</code> in the session's directory.</p>`}
      ${error && html`<p class="alarm" role="alert">${error}</p>`}
      ${sets && sets.length > 0 && html`<div class="bar"><label>Classes <select onChange=${(e) => this.open(e.target.value)}>${sets.map((s) => html`<option value=${s.id} selected=${detail && detail.id === s.id}>${s.title}</option>`)}</select></label>
        <label>Order <select onChange=${(e) => this.setState({ sort: e.target.value })}><option value="number">number</option>${has("score") && html`<option value="score">score</option>`}${has("population") && html`<option value="population">particles</option>`}</select></label>
        ${!guest && html`<button onClick=${() => this.choose(() => true)}>All</button><button onClick=${() => this.choose(() => false)}>None</button>
        ${has("score") && html`<button title="score of 0.5 at least, and no other class like it" onClick=${() => this.choose((c) => c.score >= 0.5 && !c.like)}>The good ones that differ</button>`}`}</div>`}
      ${detail && html`<p class="about">${detail.classes.length} ${detail.classes.length === 1 ? "image" : "images"} of ${detail.box} px at ${number(detail.pixel_size)} Å: ${number(detail.box * detail.pixel_size)} Å wide; particle ${number(detail.diameter)} Å.</p>
      <ul class="gallery classes">${order.map((c) => html`<li key=${c.number}><button class="thumb" aria-pressed=${chosen.has(c.number) ? "true" : "false"} disabled=${guest} onClick=${() => this.toggle(c.number)}>
        <img alt="Class ${c.number}" src=${address("classes/picture", { set: detail.id, number: c.number })} />
        <span class="name">${c.number}${c.like ? `, like ${c.like}` : ""}</span>
        <span>${[c.score !== null && `score ${c.score.toFixed(2)}`, c.population !== null && `${c.population} particles`, c.population === null && c.share !== null && `${(100 * c.share).toFixed(1)} %`, c.resolution !== null && c.resolution < 900 && `${number(c.resolution, 3)} Å`].filter(Boolean).join(", ")}</span></button></li>`)}</ul>
      <div class="bar" role="status"><b>${chosen.size}</b> of ${detail.classes.length} chosen${counted !== null ? `, ${counted} particles` : ""}
        ${!guest && html`<button class="main" disabled=${!chosen.size} onClick=${() => this.save()}>Save as templates</button>`}</div>
      ${saved && html`<div role="status"><p>${saved.count} templates are in <code>${saved.templates}</code>${saved.particles !== null ? `, and ${saved.particles} of ${saved.particles_of} particles in particles_selected.star beside them` : ""}.</p>
        <div class="bar"><button onClick=${() => this.use(false)}>What would picking with them make stale?</button>
        <button class="main" onClick=${() => this.use(true)}>Pick with them in the next run</button></div></div>`}
      ${stale && html`<p role="status">${stale.saved ? "Set." : "Not set yet."} ${Object.keys(stale.stale).length ? `The next run does again: ${Object.entries(stale.stale).map(([s, n]) => `${s} (${n})`).join(", ")}.` : "No result becomes stale."}</p>`}`}
    </section>`;
  }
}
