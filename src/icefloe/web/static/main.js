// The page: which view is shown, keys, theme.

import { Component, html, render } from "./vendor/htm-preact.js";
import { Classes } from "./classes.js";
import { Exposure } from "./exposure.js";
import { readColours } from "./plots.js";
import { Rules } from "./rules.js";
import { Counts, Failures, Gallery, Plots, SelectionBar } from "./session.js";
import { Store } from "./store.js";
import { Calculator, Output, Settings } from "./tools.js";

const store = new Store();
window.icefloe = store; // for measurements and tests

const KEYS = { j: () => store.step(1), k: () => store.step(-1), ArrowRight: () => store.step(1), ArrowLeft: () => store.step(-1),
  r: () => decide("reject"), a: () => decide("accept"), u: () => store.undo(),
  Enter: () => { if (store.current && store.view !== "exposure") store.open(store.current); },
  Escape: () => { if (store.view !== "session" && !store.session.calculator) store.show("session"); } };

async function decide(decision) {
  if (!store.current) { store.say("Choose an exposure first: j or the right arrow"); return; }
  await store.decide(decision);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  if (event.key === "Enter" && event.target.closest("button, summary, a")) return;
  const action = KEYS[event.key];
  if (action) { event.preventDefault(); action(); }
});

class App extends Component {
  componentDidMount() {
    store.on(() => this.setState({}));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.repaint());
    window.addEventListener("resize", () => this.repaint());
  }

  repaint() {
    readColours();
    for (const paint of store.painters) paint();
    this.setState({});
  }

  theme() {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    this.repaint();
  }

  render() {
    const { session, view } = store;
    const tab = (name, text) => html`<button role="tab" aria-selected=${view === name ? "true" : "false"} onClick=${() => store.show(name)}>${text}</button>`;
    return html`<header><h1>Icefloe <span>${session.name}</span></h1>
        ${!session.calculator && html`<div role="tablist" aria-label="Views">${tab("session", "Session")}${tab("classes", "Classes")}${tab("settings", "Settings")}${tab("tools", "Calculator, report, export")}</div>`}
        <span class="soft">${store.guest ? "looking only" : ""}</span>
        <span class="link-state ${store.connected ? "on" : "off"}">${store.connected ? "live" : "connecting …"}</span>
        <button onClick=${() => this.theme()}>Light / dark</button></header>
      <p class="message" role="status" aria-live="polite">${store.message}</p>
      ${session.problem && html`<p class="alarm" role="alert">${session.problem}</p>`}
      <div hidden=${view !== "session"}><main class="session">
        <${Counts} store=${store} /><${Failures} store=${store} /><${SelectionBar} store=${store} />
        <${Plots} store=${store} /><${Rules} store=${store} />
        <h2>Exposures</h2><p class="about">Keys: j or → next, k or ← previous, Enter open, a accept, r reject, u undo.</p>
        <${Gallery} store=${store} /></main></div>
      ${view === "exposure" && html`<${Exposure} store=${store} name=${store.current} />`}
      ${view === "classes" && html`<main><${Classes} store=${store} /></main>`}
      ${view === "settings" && html`<main><${Settings} store=${store} /></main>`}
      ${view === "tools" && html`<main>${!session.calculator && html`<${Output} store=${store} />`}<${Calculator} store=${store} /></main>`}`;
  }
}

readColours();
try {
  await store.load();
  const app = document.getElementById("app");
  app.replaceChildren();
  if (store.session.calculator) store.view = "tools";
  const wanted = new URLSearchParams(location.search);
  if (wanted.has("exposure")) { store.current = wanted.get("exposure"); store.view = "exposure"; }
  else if (wanted.has("view")) store.view = wanted.get("view");
  render(html`<${App} />`, app);
  app.dataset.ready = "true";
  store.listen();
} catch (error) {
  document.getElementById("app").textContent = `The session cannot be shown: ${error.message}`;
}
