/** Puts the page together: one store, the clock, the polite look at the sale, and a redraw whenever something changed. */

import { Lost, ask, asked_wait_ms, backoff_ms, jittered, makePause } from "./ask.js";
import { makeClock } from "./clock.js";
import { makeDeeds } from "./deeds.js";
import { draw } from "./draw.js";
import { makeOrders } from "./orders.js";
import { chosenItem, nextTurn_ms, phaseOf, stockOf } from "./phase.js";
import { initialState, makeMemory, makeStore } from "./store.js";
import { view } from "./view.js";

const SPREAD_MS = 800; // At a turn everybody looks at once; each waits a random part of this.
const SLOW_MS = 5_000; // Sold out or settled: there is no hurry to look again.
const HIDDEN_MS = 15_000;
const TICK_MS = 250;

function storageOf(kind) {
  try {
    return window[kind];
  } catch {
    return null; // Reading the property itself may be forbidden.
  }
}

/** A token given in the address (#token=…) is taken and struck out, so that it is not shared with the link. */
function tokenFromAddress() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return null;
  history.replaceState(null, "", location.pathname + location.search);
  return { token, fan: fanOf(token), sandbox: false };
}

/** The fan's id as the token names it; only shown and used to name what is kept, never trusted. */
function fanOf(token) {
  try {
    const bytes = atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(bytes, (char) => char.charCodeAt(0)))).sub ?? "?";
  } catch {
    return "?";
  }
}

function begin() {
  const memory = makeMemory(storageOf("localStorage"));
  const saleName = decodeURIComponent(location.pathname.split("/")[2] ?? "") || null;
  const language = memory.recall("language") ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
  const channel = new URLSearchParams(location.search).get("channel");
  const pause = makePause();
  let queued = false;
  let acts = {};
  let arrived = tokenFromAddress() ?? memory.recall("fan");

  const store = makeStore(initialState({ language, sale_name: saleName, channel }), () => {
    if (queued) return;
    queued = true;
    queueMicrotask(() => { queued = false; show(); });
  });
  const clock = makeClock({ learned: ({ error_ms, body }) => {
    store.set({ clock_error_ms: error_ms, now_ms: clock.now_ms(), device_ahead_ms: Date.now() - clock.now_ms() });
    if (body.sandbox === false) store.set({ sandbox: false });
    comeIn();
  } });
  const look = () => pause.wake();
  const orders = makeOrders({ store, memory, clock, expired: () => deeds.expired() });
  const deeds = makeDeeds({ store, memory, orders, clock, look });
  acts = { ...deeds, ...orders };

  function show() {
    const scene = view(store.get(), acts);
    document.documentElement.lang = store.get().language === "zh" ? "zh-Hans" : "en";
    document.body.dataset.phase = scene.phase;
    if (document.title !== scene.title) document.title = scene.title;
    draw(document.getElementById("page"), scene.tree);
  }

  /** Ticks fall on the server's whole seconds, so that zero is zero everywhere and the button turns in time. */
  function tick() {
    const now_ms = clock.now_ms();
    if (now_ms) store.set({ now_ms });
    setTimeout(tick, Math.min(TICK_MS, 1_001 - ((now_ms ?? 0) % 1_000)));
  }

  function take(body) {
    if (!saleName) {
      store.set({ sales: body.sales, link: null });
      return comeIn();
    }
    const first = !store.get().sale;
    store.set({ sale: body, missing: false, link: null });
    if (first || !chosenItem(store.get())) choose();
    comeIn();
    return deeds.solveAhead();
  }

  /** The item chosen last time, else the first that can be had; a choice that sells out later is not changed silently. */
  function choose() {
    const state = store.get();
    const kept = state.sale.items.find((item) => item.item === memory.recall(`item.${saleName}`));
    const free = state.sale.items.find((item) => stockOf(state, item) !== "sold_out");
    store.set({ item: (kept ?? free ?? state.sale.items[0])?.item ?? null });
  }

  /** Look at the sale once; gives the milliseconds until the next look. */
  async function lookOnce(tries) {
    const path = saleName ? `/sales/${encodeURIComponent(saleName)}` : "/sales";
    const answer = await ask(path).catch((error) => error);
    if (answer.ok) {
      take(answer.body);
      return untilNextLook();
    }
    if (answer.status === 404) store.set({ missing: true, link: null });
    if (answer.status === 404) return HIDDEN_MS;
    const lost = answer instanceof Lost;
    const wait_ms = lost ? backoff_ms(tries) : asked_wait_ms(answer.retry_after_s, tries);
    store.set({ link: { why: lost ? "LOST" : "WAIT", again_at_ms: clock.now_ms() && clock.now_ms() + wait_ms } });
    return wait_ms;
  }

  function untilNextLook() {
    const { sale, now_ms } = store.get();
    const calm = !saleName || ["sold_out", "won", "paid", "closed"].includes(phaseOf(store.get()));
    let wait_ms = Math.max((sale?.ask_again_s ?? 2) * 1_000, calm ? SLOW_MS : 0, document.hidden ? HIDDEN_MS : 0);
    wait_ms = jittered(wait_ms);
    const turn_ms = sale && now_ms ? nextTurn_ms(sale, clock.now_ms()) - clock.now_ms() : Infinity;
    return turn_ms < wait_ms ? turn_ms + SPREAD_MS * Math.random() : wait_ms;
  }

  async function keepLooking() {
    for (let tries = 0; ;) {
      const wait_ms = await lookOnce(tries);
      tries = store.get().link ? tries + 1 : 0;
      await pause.wait(wait_ms);
    }
  }

  /** Once the sale and the clock are known, whoever was signed in before comes in. */
  function comeIn() {
    const { now_ms, sale, fan } = store.get();
    if (fan || !arrived || !now_ms || (saleName && !sale)) return;
    const own = arrived;
    arrived = null;
    deeds.signIn(own);
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    clock.check();
    setTimeout(look, SPREAD_MS * Math.random());
  });
  window.addEventListener("online", () => deeds.askNow());
  show();
  clock.keep();
  keepLooking();
  tick();
}

begin();
