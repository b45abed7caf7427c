/** The whole page as a pure function of the state: view(state, deeds) → {phase, title, tree}. */

import { action, buyable } from "./actions.js";
import { h, icon } from "./draw.js";
import { clock, count, date, secondsTo, when, zone } from "./format.js";
import { countdown, items, loginForm, myOrders, saleList, ticket } from "./parts.js";
import { hasRight, moneyOf, phaseOf, shownOrder, stepOf } from "./phase.js";
import { sayer } from "./words.js";

const ICONS = {
  loading: "clock", list: "ticket", missing: "search", login: "person", sign_in: "person", before_reservation: "clock",
  reserve: "ticket", reserving: "ticket", waiting: "check", reservation_closed: "lock", reservation_full: "lock", buy: "bolt",
  asking: "bolt", challenged: "lock", unsolvable: "lock", crowded: "people", unknown: "search", not_open: "clock", lost: "cut", sold_out: "box", paused: "pause",
  closed: "box", unavailable: "lock", no_right: "lock", returned_too_often: "lock", refused: "cut", already_bought: "ticket",
  won: "check", paid: "check", expired: "clock", cancelled: "box", refunded: "box", sorry: "cut",
};

export function view(state, deeds) {
  const say = sayer(state.language);
  const scene = { state, deeds, say, phase: phaseOf(state), step: stepOf(state), order: state.sale && shownOrder(state) };
  const name = state.sale?.title[state.language] ?? state.sale_name ?? say("sales");
  return {
    phase: scene.phase,
    title: `${name} · flashsale`,
    tree: [header(scene), h("main", { key: "main" },
      h("div", { key: "lead", class: "lead" }, head(scene), status(scene)),
      h("div", { key: "side", class: "side" }, content(scene), footer(scene), action(scene)))],
  };
}

function header({ state, deeds, say }) {
  return h("header", { key: "header" },
    h("a", { class: "brand", href: "/s", "aria-label": "flashsale" }, icon("ticket"), "flashsale"),
    state.fan && h("button", { key: "fan", class: "quiet fan", type: "button", "data-test": "sign-out", title: say("sign_out"),
      "aria-label": `${state.fan.fan}: ${say("sign_out")}`, onclick: deeds.signOut },
    h("span", { class: "who" }, state.fan.fan), h("span", { class: "soft" }, say("sign_out"))),
    h("button", { key: "language", class: "quiet", type: "button", "data-test": "language",
      lang: state.language === "zh" ? "en" : "zh", onclick: deeds.switchLanguage }, say("other_language")));
}

function head(scene) {
  const { state, say, order } = scene;
  const { sale, language } = state;
  if (!sale) return h("h1", { key: "title" }, state.sale_name ?? say("sales"));
  return h("section", { key: "head", class: "head" },
    h("h1", null, sale.title[language]),
    h("p", { class: "soft at" }, h("span", null, say("at_date", { date: date(sale.opens_ms, language) })),
      h("span", null, say("at_zone", { zone: zone(sale.opens_ms, language) }))),
    !order && state.now_ms && countdown(state, say),
    facts(scene));
}

function facts({ state, say }) {
  const { sale, language } = state;
  if (!sale.reservation) return null;
  const held = state.fan && hasRight(state);
  return h("p", { key: "facts", class: "facts" },
    held && h("span", { key: "held", class: "chip on", "data-test": "reserved" }, icon("check"), say("reserved")),
    sale.reservation.count > 0 && h("span", { key: "count", class: "chip" },
      say("reserved_count", { count: count(sale.reservation.count, language) })));
}

/** The name of the text that fits the phase, where a phase has more than one. */
function textOf({ state, phase, order }) {
  const money = order && !["lost", "crowded"].includes(phase) && moneyOf(order);
  if (money) return money;
  if (phase === "won" && order.checking) return "checking_text";
  if (phase === "won") return order.pay_before_ms < state.now_ms ? "overdue_text" : `${order.state}_text`;
  if (phase === "lost" && state.pending?.deed === "buy") return "lost_buy_text";
  if (phase === "unknown" && state.pending?.deed === "reserve") return "unknown_reserve_text";
  if (phase === "waiting" && state.sale.entry === "open") return "waiting_open_text";
  if (phase === "buy" && !buyable(state)) return "buy_choose_text";
  return `${phase}_text`;
}

function valuesOf({ state, order }) {
  const { sale, now_ms, language } = state;
  return {
    closes: sale?.reservation && when(sale.reservation.closes_ms, now_ms, language),
    limit: sale?.per_fan_limit,
    status: state.refusal?.status,
    unit: order && count(order.unit, language),
    before: order && when(order.pay_before_ms, now_ms, language),
  };
}

function status(scene) {
  const { state, say, phase } = scene;
  const open = phase === "waiting" && state.sale.entry === "open";
  const title = open ? "waiting_open_title" : `${phase}_title`;
  return h("section", { key: "status", class: "status", "data-test": "status" },
    h("span", { key: "badge", class: "badge" }, icon(open ? "clock" : ICONS[phase])),
    // Only the words are a live region: a ticking number would be read out each second.
    h("div", { key: "words", class: "words", role: "status", "aria-live": "polite" },
      h("h2", null, say(title)), h("p", null, say(textOf(scene), valuesOf(scene)))),
    again(scene));
}

/** A moving bar while an answer is owed, and when the page asks again by itself. */
function again({ state, say, phase, deeds }) {
  const wait = state.pending ?? state.link;
  if (!wait) return null;
  if (!wait.why || wait.why === "CHALLENGE") return h("p", { key: "again", class: "again" }, h("span", { class: "bar" }));
  const seconds = wait.again_at_ms && state.now_ms ? secondsTo(wait.again_at_ms, state.now_ms) : 0;
  return h("p", { key: "again", class: "again", "data-test": "again", "data-seconds": seconds },
    h("span", { class: "bar" }),
    h("span", null, seconds ? say("again_in", { seconds }) : say("again_now")),
    phase === "lost" && h("button", { key: "now", class: "quiet", type: "button", "data-test": "ask-now",
      onclick: deeds.askNow }, say("ask_now")));
}

function content({ state, deeds, say, step, order }) {
  if (step === "list") return saleList(state, say);
  if (step === "loading" || step === "missing") return null;
  return [
    step === "login" && loginForm(state, say, deeds),
    order && !state.pending ? ticket(state, order, say) : items(state, say, deeds, { locked: Boolean(state.pending) }),
    myOrders(state, say, deeds, order),
  ];
}

/** The server's time matters until there is an order; then the order's own deadline does. */
function footer({ state, say, order }) {
  const { now_ms, device_ahead_ms } = state;
  if (!now_ms || order) return null;
  const off = Math.abs(device_ahead_ms) > 2_000 && (device_ahead_ms > 0 ? "device_ahead" : "device_behind");
  return h("footer", { key: "footer", class: "small", "data-test": "clock" },
    h("span", null, say("server_time", { time: clock(now_ms, state.language), error: Math.ceil(state.clock_error_ms) })),
    off && h("span", null, say(off, { seconds: Math.round(Math.abs(device_ahead_ms) / 1_000) })));
}
