/** The server's clock on this device: a fan's own clock may be wrong or be turned, so it decides nothing. */

import { ask, backoff_ms } from "./ask.js";

const SAMPLES = 4;
const GAP_MS = 120;
const RENEW_MS = 300_000; // Crystals drift; a phone's by a few milliseconds in five minutes.

/** now_ms() runs on the monotonic clock; of several samples the one with the shortest way there and back wins. */
export function makeClock({ learned }) {
  let best = null;

  async function sample() {
    const sent = performance.now();
    const { ok, body } = await ask("/time", { timeout_ms: 4_000 });
    const came = performance.now();
    if (!ok) return null;
    // The server read its clock about half-way; the answer is that half old by now.
    const error_ms = (came - sent) / 2;
    return { offset_ms: body.now_ms + error_ms - came, error_ms, wall_ms: Date.now() - came, body };
  }

  async function measure() {
    const taken = [];
    for (let n = 0; n < SAMPLES; n += 1) {
      const one = await sample().catch(() => null);
      if (one) taken.push(one);
      if (one && !best) learned((best = one));
      await new Promise((done) => setTimeout(done, GAP_MS * (1 + Math.random())));
    }
    taken.sort((a, b) => a.error_ms - b.error_ms);
    if (taken.length) learned((best = taken[0]));
    return taken.length > 0;
  }

  async function keep() {
    for (let tries = 0; ;) {
      tries = (await measure()) ? 0 : tries + 1;
      await new Promise((done) => setTimeout(done, tries ? backoff_ms(tries) : RENEW_MS));
    }
  }

  return {
    keep,
    /** After sleep the monotonic clock may have stood still while the wall clock went on: then measure anew. */
    check: () => best && Math.abs(Date.now() - performance.now() - best.wall_ms) > 500 && measure(),
    now_ms: () => (best ? performance.now() + best.offset_ms : null),
  };
}
