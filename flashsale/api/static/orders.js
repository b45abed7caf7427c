/** The fan's orders of this sale: found again after a reload, watched as they land, paid and cancelled. */

import { Lost, ask, asked_wait_ms, backoff_ms, jittered, listen, makePause } from "./ask.js";
import { LIVE } from "./phase.js";

const RANK = ["accepted", "confirmed", "paid", "expired", "cancelled", "refunded", "refused"];
const GET_MS = 3_000; // How often an order is asked for while its stream can't be had.
const STREAM_EVERY = 4; // With the stream down, every how many of those questions it is tried again.
const PAYING_SHOWN_MS = 20_000; // A payment that no news follows may be tried again after this long.
const UNFINISHED = ["accepted", "confirmed"];
const CONFIRMED_TRIES = 30; // How often an order that is not written down yet is asked to be ended.
const MONEY_MOVES = ["pending", "late"]; // Of an order that is over: its money may still come, and find another unit.

const isSettled = ({ state, payment_state }) =>
  !UNFINISHED.includes(state) && !(state !== "paid" && MONEY_MOVES.includes(payment_state));

export function makeOrders({ store, memory, clock, expired }) {
  const pause = makePause();
  let watching = null; // {order, line: AbortController}
  const bearer = () => `Bearer ${store.get().fan.token}`;
  const place = () => `won.${store.get().sale_name}.${store.get().fan.fan}`;
  const find = (id) => store.get().orders.find((order) => order.order === id);

  /** Take in an order; news that arrive out of order never turn it back. */
  function learn(order) {
    const { orders, shown } = store.get();
    const known = find(order.order);
    if (known && RANK.indexOf(known.state) > RANK.indexOf(order.state)) return;
    const others = orders.filter((one) => one.order !== order.order);
    const all = [...others, { ...known, ...order }].sort((a, b) => (a.order < b.order ? 1 : -1));
    const over = shown === order.order && !UNFINISHED.includes(order.state);
    store.set({ orders: all, ...(over && { paying: null, notice: null, cancelling: null }) });
    if (order.late_order && !find(order.late_order)) look(order.late_order);
  }

  /** The first news of a win, from the answer itself; kept on the device until the list of orders has it. */
  function won(body) {
    const { sale } = store.get();
    const item = sale.items.find((one) => one.item === body.item);
    const order = { order: body.order, sale: body.sale, item: body.item, unit: body.unit, level: body.level,
      state: body.level === "accepted" ? "accepted" : "confirmed", price_minor: item.price_minor, currency: sale.currency,
      pay_before_ms: body.pay_before_ms };
    memory.keep(place(), order);
    learn(order);
    show(body.order);
  }

  function show(id) {
    store.set({ shown: id, shown_at_ms: clock.now_ms(), shopping: false, refusal: null, paying: null, cancelling: null,
      notice: null });
    watch(id);
  }

  async function load() {
    const { fan } = store.get();
    const answer = await ask("/orders", { auth: bearer() }).catch((error) => error);
    if (store.get().fan !== fan) return true; // Somebody else by now: these are not their orders.
    if (answer.status === 401) return expired();
    if (!answer.ok) return false;
    const mine = answer.body.orders.filter((order) => order.sale === store.get().sale_name);
    mine.forEach(learn);
    if (mine.some((order) => order.order === memory.recall(place())?.order)) memory.forget(place());
    return answer.body.complete; // Else the newest may be missing: ask again.
  }

  /** A fan came in: show their newest live order. A slow list holds the page up for a moment only. */
  async function enter() {
    const kept = memory.recall(place());
    if (kept) learn(kept);
    const listed = loadUntilKnown();
    await Promise.race([listed, new Promise((done) => setTimeout(done, 1_500))]);
    store.set({ orders_known: true });
    showNewest();
    listed.then(showNewest);
  }

  async function loadUntilKnown() {
    for (let tries = 0; store.get().fan && !(await load()); tries += 1) await pause.wait(backoff_ms(tries));
  }

  function showNewest() {
    const { orders, shown, shopping, pending } = store.get();
    const live = orders.find((order) => LIVE.includes(order.state));
    if (live && !shown && !shopping && !pending) show(live.order);
  }

  /** Ask for one order. An order just won may not be listed yet: 404 then means "later", not "none". */
  async function look(id) {
    const { fan } = store.get();
    const answer = await ask(`/orders/${id}`, { auth: bearer() }).catch((error) => error);
    if (store.get().fan !== fan) return answer;
    if (answer.status === 401) expired();
    if (answer.ok) learn(answer.body);
    return answer;
  }

  function watch(id) {
    if (watching?.id === id && !watching.line.signal.aborted) return;
    watching?.line.abort();
    watching = { id, line: new AbortController() };
    follow(id, watching.line).catch((error) => { if (!(error instanceof Lost)) throw error; });
  }

  /** The stream while it can be had, else a question every few seconds, until the order is settled. */
  async function follow(id, line) {
    const { signal } = line;
    for (let failures = 0; !signal.aborted && find(id) && !isSettled(find(id));) {
      const heard = failures % STREAM_EVERY === 0
        ? await listen(`/orders/${id}/events`, { auth: bearer(), signal, hear: learn }).catch((error) => error) : null;
      if (signal.aborted) return;
      failures = heard?.status === 200 ? 0 : failures + 1;
      const answer = await look(id);
      const asked_ms = asked_wait_ms(answer.retry_after_s ?? heard?.retry_after_s ?? 0, 0);
      if (!signal.aborted) await pause.wait(Math.max(asked_ms, failures ? jittered(GET_MS) : jittered(1_000)));
    }
    line.abort();
  }

  async function pay() {
    const id = store.get().shown;
    store.set({ paying: "asking", notice: null });
    try {
      const answer = await onceConfirmed(`/orders/${id}/payment`);
      if (!answer) return undefined;
      if (!answer.ok) return refused(id, answer, "pay_refused");
      return await settle(new URL(answer.body.pay_url, location.href));
    } catch (error) {
      if (!(error instanceof Lost)) throw error;
      return store.set({ paying: null, notice: "pay_lost" });
    }
  }

  /** The sandbox is paid from here; a real provider has its own page, and the fan goes there. */
  async function settle(url) {
    if (url.origin !== location.origin || !url.pathname.includes("/sandbox/")) {
      if (url.protocol === "https:" || url.protocol === "http:") location.assign(url);
      return;
    }
    const answer = await ask(url.pathname + url.search, { method: "POST", auth: bearer() });
    if (!answer.ok) return store.set({ paying: null, notice: "pay_refused" });
    store.set({ paying: "sent" });
    setTimeout(() => store.get().paying === "sent" && store.set({ paying: null }), PAYING_SHOWN_MS);
  }

  function refused(id, answer, notice) {
    store.set({ paying: null, cancelling: null, notice });
    return answer.status === 401 ? expired() : look(id);
  }

  /** A winner may be quicker than the worker: while the order is still being written down, it is asked again. Null when
   * the fan has signed out meanwhile. */
  async function onceConfirmed(path) {
    const { fan } = store.get();
    for (let tries = 1; ; tries += 1) {
      if (store.get().fan !== fan) return null;
      const answer = await ask(path, { method: "POST", auth: bearer() });
      if (!answer.body.type?.endsWith("/not-confirmed-yet") || tries === CONFIRMED_TRIES) return answer;
      await new Promise((done) => setTimeout(done, asked_wait_ms(answer.retry_after_s, 0)));
    }
  }

  async function cancelSurely() {
    const id = store.get().shown;
    store.set({ cancelling: "busy", notice: null });
    const answer = await onceConfirmed(`/orders/${id}/cancellation`).catch((error) => error);
    if (!answer) return undefined;
    if (answer.ok) return learn(answer.body);
    return refused(id, answer, "cancel_refused");
  }

  function seeOrder() {
    const id = store.get().refusal.order;
    if (find(id)) return show(id);
    return look(id).then(() => find(id) && show(id));
  }

  return {
    won, load, enter, show, pay, cancelSurely, seeOrder,
    leave: () => { watching?.line.abort(); pause.wake(); },
    cancel: () => store.set({ cancelling: "confirm", notice: null }),
    keepOrder: () => store.set({ cancelling: null }),
  };
}
