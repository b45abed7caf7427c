/** Solves a challenge: ALTCHA's proof of work, version 2. Look for the number from which PBKDF2 derives a key that begins as told. */

import { Lost, ask, asked_wait_ms } from "./ask.js";
import { isSolved, solvesAhead } from "./phase.js";

const AHEAD_MS = 120_000; // A crowd that has a challenge to solve before the opening spreads its work over this long.
const TRIES_MAX = 1_000_000;
const AT_ONCE = 32; // So many keys are derived side by side; the browser does it off the page's own thread.

const bytesOf = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const hexOf = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** Whether this page may derive keys: a browser lets only pages by https (or from this machine). */
export const canSolve = () => Boolean(globalThis.crypto?.subtle);

async function derive(counter, { nonce, salt, cost, keyLength }) {
  const password = new Uint8Array(nonce.length + 4);
  password.set(nonce);
  new DataView(password.buffer).setUint32(nonce.length, counter);
  const key = await crypto.subtle.importKey("raw", password, "PBKDF2", false, ["deriveBits"]);
  const how = { name: "PBKDF2", hash: "SHA-256", salt, iterations: cost };
  return hexOf(new Uint8Array(await crypto.subtle.deriveBits(how, key, keyLength * 8)));
}

/** The solution as the server wants it. Throws what the browser throws where it can't derive keys. */
async function solve(challenge) {
  const { parameters } = challenge;
  const told = { ...parameters, nonce: bytesOf(parameters.nonce), salt: bytesOf(parameters.salt) };
  for (let first = 0; first < TRIES_MAX; first += AT_ONCE) {
    const keys = await Promise.all(Array.from({ length: AT_ONCE }, (_, i) => derive(first + i, told)));
    const found = keys.findIndex((key) => key.startsWith(parameters.keyPrefix));
    if (found < 0) continue;
    const solution = { counter: first + found, derivedKey: keys[found] };
    return btoa(JSON.stringify({ challenge, solution }));
  }
  throw new Error("no key begins as told");
}

const refused = (outcome, retry_after_s = null) => ({ ok: false, status: 428, body: {}, outcome, retry_after_s });

/** What trouble with a challenge means for the press: nothing was decided, so it is asked again, or it is a final no. */
function meaning(answer) {
  if (answer.status === 401 || answer.status === 403) return answer;
  return refused("WAIT", answer.retry_after_s);
}

/** Presses for a fan, and solves what stands before a press. ownAuth: the Authorization by which they are known. */
export function makeSolver({ store, clock, ownAuth }) {
  let ahead = null;
  let solving = null;
  const authOf = () => (isSolved(store.get()) ? `Right ${store.get().solved.right}` : ownAuth());

  /** Get a challenge, solve it, keep the right it brings. Gives null, or the answer that stood in the way. */
  async function solveNext() {
    const { fan, sale_name } = store.get();
    const path = `/sales/${encodeURIComponent(sale_name)}/challenge`;
    try {
      const auth = ownAuth();
      const given = await ask(path, { auth });
      if (!given.ok) return meaning(given);
      const taken = await ask(path, { method: "POST", auth, body: { payload: await solve(given.body) } });
      if (taken.ok && store.get().fan === fan) store.set({ solved: taken.body });
      return taken.ok ? null : meaning(taken);
    } catch (error) {
      return refused(error instanceof Lost ? "WAIT" : "CHALLENGE"); // The latter: this device can't do it.
    }
  }

  /** The same for all who wait for it: a press joins what was begun before it. */
  function solveOnce() {
    solving ??= solveNext().finally(() => { solving = null; });
    return solving;
  }

  /** One press, with the work it asks for. once(auth): sends it; mine(): whether the fan still wants it. */
  async function press(once, mine) {
    const marked = isSolved(store.get());
    const answer = await once(authOf());
    if (!mine()) return answer;
    if (answer.outcome === "NO_RIGHT" && marked) {
      store.set({ solved: null }); // The mark ran out, or not every process knows its key: the fan's own right may be good.
      return press(once, mine);
    }
    if (answer.outcome !== "CHALLENGE" || !canSolve()) return answer;
    store.set({ pending: { ...store.get().pending, why: "CHALLENGE", again_at_ms: null } });
    const trouble = await solveOnce();
    if (!mine()) return answer;
    const second = trouble ?? await once(authOf());
    return second.outcome === "CHALLENGE" && !trouble ? refused("WAIT") : second;
  }

  /** Where everybody has to solve one, it is done while the fan waits for the opening; should it fail, the press does it. */
  function solveAhead() {
    const left_ms = (store.get().sale?.opens_ms ?? 0) - clock.now_ms();
    if (ahead || left_ms <= 0 || !canSolve() || !solvesAhead(store.get())) return;
    ahead = setTimeout(async () => {
      const trouble = solvesAhead(store.get()) && await solveOnce();
      ahead = trouble ? setTimeout(() => { ahead = null; }, asked_wait_ms(trouble.retry_after_s ?? 5, 3)) : null;
    }, Math.min(AHEAD_MS, left_ms / 2) * Math.random());
  }

  return { press, solveAhead };
}
