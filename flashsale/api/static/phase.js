/** Where the fan stands: pure functions from the state to one name, so that every state can be shown on purpose. */

export const LIVE = ["accepted", "confirmed", "paid"];

const REFUSALS = {
  ALREADY_BOUGHT: "already_bought",
  NO_RIGHT: "no_right",
  RETURNED_TOO_OFTEN: "returned_too_often",
  RESERVATION_FULL: "reservation_full",
  RESERVATION_CLOSED: "reservation_closed",
  CHALLENGE: "unsolvable",
};
const PENDING = { LOST: "lost", UNKNOWN: "unknown", WAIT: "crowded", NOT_OPEN: "not_open", CHALLENGE: "challenged" };
const SOLVED_SPARE_MS = 5_000; // A press sent now has to arrive while its right still holds.
const AHEAD_FROM_MS = 300_000;
const ORDERS = { accepted: "won", confirmed: "won", paid: "paid", expired: "expired", cancelled: "cancelled",
  refunded: "refunded", refused: "sorry" };

export const isOver = (sale, now_ms) => sale.state === "closed" || (sale.closes_ms && now_ms >= sale.closes_ms);

/** A loaded sale opens by the clock alone, with no command at noon. */
export const isOpen = (sale, now_ms) =>
  !isOver(sale, now_ms) && (sale.state === "open" || (sale.state === "loaded" && now_ms >= sale.opens_ms));

export const hasRight = (state) => Boolean(state.right) && state.right.expires_ms > state.now_ms;

/** Whether a challenge was solved whose mark still counts. */
export const isSolved = ({ solved, now_ms }) => Boolean(solved) && solved.expires_ms - SOLVED_SPARE_MS > now_ms;

/** Whether a challenge is to be solved before the press: everybody has to, it is time, and the fan may buy. */
export const solvesAhead = (state) =>
  state.sale?.challenged === "all" && Boolean(state.fan) && !state.pending && !isSolved(state)
  && ["waiting", "buy"].includes(stepOf(state)) && state.sale.opens_ms - state.now_ms < AHEAD_FROM_MS;

export const needsRight = (state) => state.sale.entry === "reservation" && !hasRight(state);

/** What a card says. Before the opening nothing: "sold out" must not be shown of a sale that has not begun. */
export function stockOf(state, item) {
  if (state.now_ms < (state.sold_out_until_ms[item.item] ?? 0)) return "sold_out";
  return isOpen(state.sale, state.now_ms) || state.sale.state === "paused" ? item.stock : null;
}

export const chosenItem = (state) => state.sale.items.find((item) => item.item === state.item) ?? null;

const allSoldOut = (state) =>
  state.sale.items.length > 0 && state.sale.items.every((item) => stockOf(state, item) === "sold_out");

export const shownOrder = (state) =>
  state.shopping ? null : state.orders.find((order) => order.order === state.shown) ?? null;

/** What is said of an order whose money does not stand where its state says: a word, or null. */
export function moneyOf({ state, payment_state, late_order }) {
  if (late_order) return "money_moved";
  if (state === "confirmed" && payment_state === "late") return "money_found";
  if (state === "paid" && payment_state === "refund_due") return "money_going_back";
  if (state !== "expired" && state !== "cancelled") return null;
  return { late: "money_late", refund_due: "money_due", refunded: "money_back" }[payment_state] ?? null;
}

/** May this fan hold one more order of this sale? */
export const mayBuyMore = (state) =>
  state.orders.filter((order) => LIVE.includes(order.state)).length < state.sale.per_fan_limit;

/** The next moment at which the page changes by itself. */
export function nextTurn_ms(sale, now_ms) {
  const turns = [sale.reservation?.opens_ms, sale.reservation?.closes_ms, sale.opens_ms, sale.closes_ms];
  return Math.min(...turns.filter((turn) => turn > now_ms));
}

/** Which countdown to show: [word, moment] or null. */
export function countdownOf(state) {
  const { sale, now_ms } = state;
  if (isOver(sale, now_ms) || isOpen(sale, now_ms) || sale.state !== "loaded") return null;
  const opens_ms = sale.reservation?.opens_ms ?? 0;
  return now_ms < opens_ms ? ["to_reservation", opens_ms] : ["to_opening", sale.opens_ms];
}

function reservationPhase({ sale, now_ms }) {
  const { reservation } = sale;
  if (reservation && now_ms < reservation.opens_ms) return "before_reservation";
  return reservation && now_ms < reservation.closes_ms ? "reserve" : "reservation_closed";
}

function salePhase(state) {
  const { sale, now_ms } = state;
  if (isOver(sale, now_ms)) return "closed";
  if (sale.state === "unavailable" || sale.state === "paused") return sale.state;
  if (needsRight(state)) return reservationPhase(state);
  if (!isOpen(sale, now_ms)) return "waiting";
  return allSoldOut(state) ? "sold_out" : "buy";
}

/** The phase that would hold if the line were good: it decides what stands on the page. */
export function stepOf(state) {
  if (!state.sale_name) return state.sales && state.now_ms ? "list" : "loading";
  if (state.missing) return "missing";
  if (!state.sale || !state.now_ms) return "loading";
  if (!state.fan) return state.sandbox === false ? "sign_in" : "login";
  if (state.pending) return PENDING[state.pending.why] ?? (state.pending.deed === "buy" ? "asking" : "reserving");
  if (!state.orders_known) return "loading";
  if (state.refusal) return REFUSALS[state.refusal.outcome] ?? "refused";
  const order = shownOrder(state);
  return order ? ORDERS[order.state] : salePhase(state);
}

/** What the fan is told: the step, unless the line is down. */
export function phaseOf(state) {
  if (state.link?.why === "LOST" && !state.pending) return "lost";
  const step = stepOf(state);
  return step === "loading" && state.link?.why === "WAIT" ? "crowded" : step;
}
