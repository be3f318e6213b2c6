// Rules of curation: edited here, counted by the server, saved as the session's own.

import { Component, html } from "./vendor/htm-preact.js";
import { getJson, post } from "./api.js";

export class Rules extends Component {
  constructor(props) {
    super(props);
    this.state = { rules: [], counts: null, saved: true, error: "", text: "" };
  }

  async componentDidMount() {
    const { store } = this.props;
    store.addRule = (keep) => this.change([...this.state.rules, { keep, reason: "" }]);
    try {
      const found = await getJson("rules");
      this.defaults = found.defaults;
      this.setState({ rules: found.rules });
      this.count(found.rules);
    } catch (error) { this.setState({ error: error.message }); }
  }

  // Exposures that arrive count, too, but a large session is not counted all the time.
  componentDidUpdate() {
    const { table } = this.props.store, now = performance.now();
    if (this.state.counts && table.version !== this.version && now - this.ended > Math.max(15000, 10 * this.took)) this.count(this.state.rules);
  }

  change(rules) {
    this.setState({ rules, saved: false });
    this.count(rules);
  }

  async count(rules) {
    if (this.props.store.guest) return;
    const asked = (this.asked = (this.asked || 0) + 1), start = performance.now();
    this.version = this.props.store.table.version;
    this.ended = Infinity;
    try {
      const counts = await post("rules/preview", { rules });
      if (asked === this.asked) this.setState({ counts, error: "" });
    } catch (error) { if (asked === this.asked) this.setState({ counts: null, error: error.message }); }
    this.ended = performance.now();
    this.took = this.ended - start;
  }

  async save() {
    try {
      await post("rules", { rules: this.state.rules });
      this.setState({ saved: true, error: "" });
      this.props.store.say("The rules are saved; 'icefloe curate' and the exports use them");
    } catch (error) { this.setState({ error: error.message }); }
  }

  render({ store }, { rules, counts, saved, error, text }) {
    const guest = store.guest;
    const edit = (i, part) => this.change(rules.map((rule, j) => (i === j ? { ...rule, ...part } : rule)));
    return html`<section class="panel" aria-label="Rules"><h2>Rules ${!saved && html`<span class="draft">not saved</span>`}</h2>
      <p class="about">An exposure must fulfil all of them to be kept. Decisions by hand win over rules and are kept apart.</p>
      <table><thead><tr><th>Keep</th><th>Reason</th><th class="num" title="exposures that the rule rejects">takes</th><th class="num" title="that no other rule rejects">only it</th><th class="num" title="of which it can say nothing">unknown</th><th></th></tr></thead>
      <tbody>${rules.map((rule, i) => html`<tr key=${i}>
        <td><input class="rule" aria-label="Rule ${i + 1}" disabled=${guest} value=${rule.keep} onChange=${(e) => edit(i, { keep: e.target.value })} /></td>
        <td><input aria-label="Reason of rule ${i + 1}" disabled=${guest} value=${rule.reason} onChange=${(e) => edit(i, { reason: e.target.value })} /></td>
        ${["takes", "only", "unknown"].map((key) => html`<td class="num">${counts && counts.rules[i] ? counts.rules[i][key] : ""}</td>`)}
        <td>${!guest && html`<button aria-label="Remove rule ${i + 1}" onClick=${() => this.change(rules.filter((_, j) => j !== i))}>Remove</button>`}</td></tr>`)}</tbody></table>
      ${!rules.length && html`<p>There are no rules.</p>`}
      ${error && html`<p class="alarm" role="alert">${error}</p>`}
      ${counts && html`<p role="status">With these rules <b>${counts.accepted}</b> accepted, <b>${counts.rejected}</b> rejected, ${counts.pending} not finished, before decisions by hand.</p>`}
      ${!guest && html`<form class="bar" onSubmit=${(e) => { e.preventDefault(); if (text) { this.change([...rules, { keep: text, reason: "" }]); this.setState({ text: "" }); } }}>
        <label>New rule <input class="rule" placeholder="ctf.fit_resolution <= 6" value=${text} onInput=${(e) => this.setState({ text: e.target.value })} /></label>
        <button>Add</button>
        <button type="button" onClick=${() => this.change([...rules, ...(this.defaults || []).filter((d) => !rules.some((r) => r.keep === d.keep))])}>Add the built-in rules</button>
        <button type="button" class="main" disabled=${saved || !!error} onClick=${() => this.save()}>Save the rules</button></form>`}
    </section>`;
  }
}
