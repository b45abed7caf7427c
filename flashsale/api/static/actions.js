/** The one big button of each step, at thumb height, and at most two small ones beside it. Pure. */

import { h } from "./draw.js";
import { price, secondsTo, short } from "./format.js";
import { chosenItem, isOpen, mayBuyMore, stockOf } from "./phase.js";

const PAY_GUARD_MS = 700; // A second tap meant for Buy must not land on Pay, which takes its place.

const main = (name, label, onclick, more) =>
  h("button", { key: "main", class: "main", type: "button", "data-test": name, disabled: !onclick, onclick, ...more }, label);
const second = (name, label, onclick) =>
  h("button", { key: name, class: "second", type: "button", "data-test": name, disabled: !onclick, onclick }, label);

/** The chosen item while it can be bought, else null. */
export function buyable(state) {
  const item = chosenItem(state);
  return item && stockOf(state, item) !== "sold_out" ? item : null;
}

/** The bar of buttons for the step, or nothing. */
export function action(scene) {
  const made = (ACTIONS[scene.step] ?? (() => null))(scene);
  return made && h("div", { key: "action", class: "action" }, made);
}

function waitingAction({ state, say, step, deeds }) {
  const reserve = state.pending?.deed === "reserve";
  const label = { asking: "asking_title", reserving: "reserving_title", challenged: "asking_title" }[step] ?? "again_now";
  const seconds = state.pending.again_at_ms ? secondsTo(state.pending.again_at_ms, state.now_ms) : 0;
  // A press that may have been heard can't be stopped, only found out about.
  const stoppable = (step === "crowded" || step === "not_open") && !state.pending.retry;
  return [main(reserve ? "reserve" : "buy", seconds ? say("again_in", { seconds }) : say(label), null),
    stoppable && second("stop", say("stop"), seconds ? deeds.stop : null)];
}

function soon(name, word) {
  return ({ state, say }) => {
    const to_ms = name === "reserve" ? state.sale.reservation.opens_ms : state.sale.opens_ms;
    return main(name, say(word, { left: leftUntil(to_ms, state, say) }), null);
  };
}

function leftUntil(ms, state, say) {
  const seconds = secondsTo(ms, state.now_ms);
  return seconds < 86_400 ? short(seconds) : say("in_days", { days: Math.floor(seconds / 86_400) });
}

function buyAction({ state, say, deeds }) {
  const item = buyable(state);
  if (!item) return main("buy", say("choose_first"), null);
  return main("buy", say("buy", { price: price(item.price_minor, state.sale.currency, state.language) }), deeds.buy);
}

function wonAction({ state, say, deeds, order }) {
  const ready = order.state === "confirmed" && !state.paying && state.now_ms - state.shown_at_ms >= PAY_GUARD_MS;
  if (state.cancelling) return cancelAction({ state, say, deeds });
  const label = state.paying ? `pay_${state.paying}` : order.state === "accepted" ? "pay_soon" : "pay";
  return [
    (state.notice || state.fan.sandbox) && h("p", { key: "notice", class: "small", role: state.notice ? "alert" : null },
      say(state.notice ?? "pay_sandbox")),
    main("pay", say(label, { price: price(order.price_minor, order.currency, state.language) }), ready ? deeds.pay : null),
    second("cancel", say("cancel"), state.paying ? null : deeds.cancel),
    more({ state, say, deeds }),
  ];
}

/** Where Cancel was now stands Keep, so that a double tap cancels nothing. */
const cancelAction = ({ state, say, deeds }) => {
  const busy = state.cancelling === "busy";
  return [
    h("p", { key: "sure", class: "small", role: "alert" }, say("cancel_sure")),
    main("cancel-yes", say(busy ? "cancel_busy" : "cancel_yes"), busy ? null : deeds.cancelSurely, { class: "main plain-edge" }),
    second("cancel-no", say("cancel_no"), busy ? null : deeds.keepOrder),
  ];
};

const more = ({ state, say, deeds }) =>
  isOpen(state.sale, state.now_ms) && mayBuyMore(state) && second("more", say("buy_more"), deeds.shop);

const tryAgain = ({ state, say, deeds }) =>
  isOpen(state.sale, state.now_ms) && mayBuyMore(state) && main("try-again", say("try_again"), deeds.shop);

const askRight = ({ say, deeds }) => second("ask-right", say("ask_right"), deeds.reserve);
const toList = ({ say }) => h("a", { key: "to-list", class: "second", href: "/s" }, say("to_list"));
const still = (word) => ({ say }) => main("buy", say(word), null);

const ACTIONS = {
  missing: toList,
  closed: toList,
  before_reservation: soon("reserve", "reserve_soon"),
  reserve: ({ say, deeds }) => main("reserve", say("reserve"), deeds.reserve),
  waiting: soon("buy", "buy_soon"),
  buy: buyAction,
  reserving: waitingAction, asking: waitingAction, challenged: waitingAction, crowded: waitingAction,
  unknown: waitingAction, not_open: waitingAction, lost: waitingAction,
  sold_out: still("sold_out_title"), paused: still("paused_title"), unavailable: still("unavailable_title"),
  reservation_closed: askRight,
  no_right: askRight,
  unsolvable: ({ say, deeds }) => main("try-again", say("try_again"), deeds.shop),
  refused: ({ say, deeds }) => main("try-again", say("try_again"), deeds.shop),
  already_bought: ({ say, deeds, state }) => main("see-order", say("see_order"), state.refusal.order ? deeds.seeOrder : null),
  won: wonAction,
  paid: (scene) => more(scene) || toList(scene),
  expired: tryAgain,
  cancelled: tryAgain,
  refunded: tryAgain,
  sorry: tryAgain,
};
