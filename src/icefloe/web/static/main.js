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
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  // Keys are for looking through exposures; what is written stays writing, and sliders keep arrows.
  const field = event.target.closest("input, select, textarea");
  if (field && !(event.key.length === 1 && ["range", "radio", "checkbox"].includes(field.type))) return;
  if (event.key === "Enter" && event.target.closest("button, summary, a")) return;
  if (event.key !== "Escape" && !["session", "exposure"].includes(store.view)) return;
  if (event.repeat && "rau".includes(event.key)) return;
  const action = KEYS[event.key];
  if (action) { event.preventDefault(); action(); }
});
window.addEventListener("popstate", () => store.visit(location.search));

class App extends Component {
  componentDidMount() {
    this.view = store.view;
    window.addEventListener("scroll", () => { if (store.view === "session" && this.view === "session") this.at = scrollY; }, { passive: true });
    store.on(() => this.setState({}));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.repaint());
    window.addEventListener("resize", () => this.repaint());
  }

  // The session is where it was left, with the exposure that was looked at in focus.
  componentDidUpdate() {
    const { view } = store, last = this.view;
    if (view === last) return;
    this.view = view;
    scrollTo(0, view === "session" ? this.at || 0 : 0);
    if (view === "session" && last === "exposure") document.querySelector(".thumb.current")?.focus({ preventScroll: true });
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
    const tab = (name, text) => html`<button aria-current=${view === name ? "page" : null} onClick=${() => store.show(name)}>${text}</button>`;
    return html`<header><h1>Icefloe <span>${session.name}</span></h1>
        ${!session.calculator && html`<nav aria-label="Views">${tab("session", "Session")}${tab("classes", "Classes")}${tab("settings", "Settings")}${tab("tools", "Calculator, report, export")}</nav>`}
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
  store.visit(location.search);
  render(html`<${App} />`, app);
  app.dataset.ready = "true";
  store.listen();
} catch (error) {
  document.getElementById("app").textContent = `The session cannot be shown: ${error.message}`;
}
