/** What a fan does on the page: sign in, choose, reserve, buy. Reserving and buying are asked until the answer is final. */

import { Lost, ask, asked_wait_ms, backoff_ms, makePause } from "./ask.js";
import { makeSolver } from "./challenge.js";

const PRESS_KEPT_MS = 600_000; // An older press is left to the list of orders: nobody wants to buy by a reload next week.
const ENDED = ["expired", "cancelled", "refunded"];
const NOT_OPEN_NEAR_MS = 5_000; // Told NOT_OPEN this close to the opening, the press waits instead of being given up.
const FLUSH_MS = 800; // A crowd that turns at the same moment spreads its questions over this long.

/** Why to ask again, or null when the answer is final. An unsettled press outlives answers that hold for everybody.
 * over: the fan's orders that have ended. The bucket may still count one of them, until its unit has come back. */
export function whyAgain(answer, { retry, now_ms, over = [] }) {
  if (answer instanceof Lost) return "LOST";
  const { outcome, status, body } = answer;
  if (outcome === "UNKNOWN" || outcome === "WAIT") return outcome;
  if (outcome === "NOT_OPEN") return body.opens_ms - now_ms < NOT_OPEN_NEAR_MS ? "NOT_OPEN" : null;
  if (outcome === "ALREADY_BOUGHT" && over.includes(body.order)) return "WAIT";
  if (outcome === "PAUSED" || outcome === "UNAVAILABLE") return retry ? "UNKNOWN" : null;
  if (status === 429) return "WAIT"; // The edge turned it away: nothing was decided.
  return status >= 500 ? "UNKNOWN" : null;
}

export function makeDeeds({ store, memory, orders, clock, look }) {
  const pause = makePause();
  const place = (kind) => `${kind}.${store.get().sale_name}.${store.get().fan.fan}`;
  const bearer = () => `Bearer ${store.get().fan.token}`;
  const patchSale = (patch) => store.set({ sale: { ...store.get().sale, ...patch } });

  /** One loop for reserving and buying: send, and while the answer is owed, wait as told and send again. */
  async function insist(deed, send, settle) {
    const { fan } = store.get();
    for (let tries = 0; ; tries += 1) {
      store.set({ pending: { ...(store.get().pending ?? deed), again_at_ms: null } });
      const answer = await send().catch((error) => error);
      const dropped = store.get().pending?.id !== deed.id; // The fan stopped it or signed out meanwhile.
      if (dropped && !(answer.ok && store.get().fan === fan)) return; // A yes that came all the same is theirs.
      const over = store.get().orders.filter((one) => ENDED.includes(one.state)).map((one) => one.order);
      const why = whyAgain(answer, { retry: deed.retry, now_ms: clock.now_ms(), over });
      if (!why) return settle(answer);
      if (why === "LOST" || why === "UNKNOWN") deed.unsettled();
      const wait_ms = why === "LOST" ? backoff_ms(tries) : asked_wait_ms(answer.retry_after_s, tries);
      store.set({ pending: { ...deed, why, again_at_ms: clock.now_ms() + wait_ms } });
      await pause.wait(wait_ms);
      if (store.get().pending?.id !== deed.id) return;
    }
  }

  // Not randomUUID: that one is missing where a page is tried over plain http from another machine.
  const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

  function reserve() {
    const { sale, channel, pending } = store.get();
    if (pending) return null;
    const body = sale.channels?.includes(channel) ? { channel } : undefined;
    const deed = { id: newId(), deed: "reserve", why: null, unsettled() {} };
    store.set({ refusal: null, pending: deed });
    const path = `/sales/${encodeURIComponent(sale.sale)}/reservation`;
    return insist(deed, () => ask(path, { method: "POST", auth: bearer(), body }), settleReservation);
  }

  function settleReservation(answer) {
    store.set({ pending: null });
    if (answer.ok) {
      const right = { right: answer.body.right, channel: answer.body.channel, expires_ms: answer.body.expires_ms };
      memory.keep(place("right"), right);
      return store.set({ right });
    }
    if (answer.status === 401) return signOut("login_expired");
    if (answer.outcome === "RESERVATION_NOT_OPEN") return look();
    return store.set({ refusal: { outcome: answer.outcome, status: answer.status } });
  }

  /** A press: its key is kept on the device before it is sent, so that a reload asks about the same press. */
  function buy() {
    const { pending, item } = store.get();
    const kept = keptPress();
    if (!pending) go(kept ?? { key: newId(), item, retry: false, pressed_ms: clock.now_ms() });
  }

  function go(press) {
    memory.keep(place("press"), press);
    const deed = { id: press.key, deed: "buy", item: press.item, why: press.retry ? "UNKNOWN" : null, retry: press.retry,
      unsettled() {
        deed.retry = true;
        memory.keep(place("press"), { ...press, retry: true });
      } };
    store.set({ refusal: null, shopping: false, item: press.item, pending: deed });
    const once = (auth) => ask(pathOf(press.item, deed.retry), { method: "POST", auth, key: press.key });
    const send = () => solver.press(once, () => store.get().pending?.id === deed.id);
    return insist(deed, send, (answer) => settlePurchase(answer, deed));
  }

  const pathOf = (item, retry) =>
    `/sales/${encodeURIComponent(store.get().sale_name)}/items/${encodeURIComponent(item)}/purchase${retry ? "?retry=1" : ""}`;
  const ownAuth = () => (store.get().right ? `Right ${store.get().right.right}` : bearer());
  const solver = makeSolver({ store, clock, ownAuth });

  function settlePurchase(answer, deed) {
    memory.forget(place("press"));
    store.set({ pending: null });
    if (answer.ok) return orders.won(answer.body);
    if (deed.retry) orders.load();
    return refuse(answer, deed);
  }

  function refuse({ outcome, status, body, retry_after_s }, { item }) {
    if (status === 401) return signOut("login_expired");
    if (outcome === "SOLD_OUT") {
      const until_ms = clock.now_ms() + 1_000 * (retry_after_s ?? 5);
      return store.set({ sold_out_until_ms: { ...store.get().sold_out_until_ms, [item]: until_ms } });
    }
    if (outcome === "NOT_OPEN") return patchSale({ state: "loaded", opens_ms: body.opens_ms ?? store.get().sale.opens_ms });
    if (["CLOSED", "PAUSED", "UNAVAILABLE"].includes(outcome)) return patchSale({ state: outcome.toLowerCase() });
    if (outcome === "NO_RIGHT") memory.forget(place("right"));
    if (outcome === "NO_RIGHT") store.set({ right: null });
    if (outcome === "ALREADY_BOUGHT") orders.load();
    return store.set({ refusal: { outcome, status, order: body.order ?? null } });
  }

  function keptPress() {
    const press = memory.recall(place("press"));
    return press && clock.now_ms() - press.pressed_ms < PRESS_KEPT_MS ? press : null;
  }

  /** After a reload: a press whose answer is still owed goes on by itself, as a repeat of the same. */
  const resume = () => go({ ...keptPress(), retry: true });

  function stop() {
    if (store.get().pending?.deed === "buy") memory.forget(place("press"));
    store.set({ pending: null });
    pause.wake();
  }

  async function login(fan) {
    store.set({ login: { busy: true, problem: null } });
    const answer = await ask("/sandbox/login", { method: "POST", body: { fan } }).catch(() => null);
    if (answer?.ok) return signIn({ token: answer.body.token, fan: answer.body.fan, sandbox: true });
    if (answer?.status === 404) return store.set({ sandbox: false, login: { busy: false, problem: null } });
    const crowded = answer && (answer.status === 429 || answer.status >= 500);
    const problem = !answer ? "login_lost" : crowded ? "login_crowded" : "login_refused";
    return store.set({ login: { busy: false, problem } });
  }

  function signIn(fan) {
    memory.keep("fan", fan);
    store.set({ fan, login: { busy: false, problem: null } });
    return enter();
  }

  /** A fan is known: fetch back what is theirs. */
  async function enter() {
    if (!store.get().sale_name || !store.get().sale) return;
    store.set({ right: memory.recall(place("right")) });
    const { fan } = store.get();
    await orders.enter();
    if (store.get().fan !== fan) return;
    if (keptPress()) {
      resume();
      return;
    }
    const { sale, right, now_ms } = store.get();
    const over = sale.reservation && now_ms >= sale.reservation.closes_ms && sale.state !== "closed";
    if (!over || right) return;
    // Reserved on another device, perhaps: asking again gives the same right, and can't reserve anew by now.
    setTimeout(() => store.get().fan && !store.get().right && reserve(), FLUSH_MS * Math.random());
  }

  /** Rights and orders stay on the device under the fan's name; only the sign-in goes. */
  function signOut(problem = null) {
    memory.forget("fan");
    orders.leave();
    store.set({ fan: null, right: null, solved: null, pending: null, refusal: null, shown: null, orders: [], orders_known: false,
      shopping: false, paying: null, cancelling: null, notice: null, login: { busy: false, problem } });
    pause.wake();
  }

  return {
    reserve, buy, stop, login, signIn, enter, solveAhead: solver.solveAhead,
    signOut: () => signOut(),
    expired: () => signOut("login_expired"),
    askNow: () => { pause.wake(); look(); },
    choose: (item) => { memory.keep(`item.${store.get().sale_name}`, item); store.set({ item }); },
    shop: () => store.set({ shopping: true, shown: null, refusal: null, notice: null }),
    switchLanguage() {
      const language = store.get().language === "zh" ? "en" : "zh";
      memory.keep("language", language);
      store.set({ language });
    },
  };
}
