/** Polite HTTP: every request has a time limit, every repeat waits with jitter, and the server's Retry-After always counts. */

const BASE = "/api/v1";
const TIMEOUT_MS = 8_000;
const QUIET_MS = 40_000; // The server's stream has a heartbeat each 15 s; silence past two of them is a dead line.

/** No answer came, or none that can be read: what happened at the server is not known. */
export class Lost extends Error {}

/** Ask once. Gives {ok, status, body, outcome, retry_after_s}; throws Lost when the answer did not arrive whole. */
export async function ask(path, { method = "GET", auth, key, body, timeout_ms = TIMEOUT_MS } = {}) {
  const headers = { Accept: "application/json" };
  if (auth) headers.Authorization = auth;
  if (key) headers["Idempotency-Key"] = key;
  if (body) headers["Content-Type"] = "application/json";
  try {
    const response = await fetch(path.startsWith(BASE) ? path : BASE + path, {
      method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(timeout_ms),
    });
    return await read(response);
  } catch (error) {
    throw new Lost(path, { cause: error });
  }
}

async function read(response) {
  const text = await response.text();
  const empty = { ok: response.ok, status: response.status, body: {}, outcome: null };
  const header_s = Number(response.headers.get("Retry-After")) || null;
  if (!/json/.test(response.headers.get("Content-Type") ?? "")) return { ...empty, retry_after_s: header_s };
  const body = JSON.parse(text);
  return { ...empty, body, outcome: body.outcome ?? null, retry_after_s: body.retry_after_s ?? header_s };
}

/** Up to 30 % longer, never shorter: a crowd that was told the same wait spreads out. */
export const jittered = (ms) => ms * (1 + 0.3 * Math.random());

/** How long to wait before try number `tries` + 1 when the server named no time: 1, 2, 4, 8, then 15 s. */
export const backoff_ms = (tries) => jittered(Math.min(15_000, 1_000 * 2 ** tries));

/** How long to wait when the server named a time: at least that, and after three tries more of it. */
export const asked_wait_ms = (retry_after_s, tries) =>
  jittered(1_000 * (retry_after_s ?? 1) * 2 ** Math.min(2, Math.max(0, tries - 2)));

/** A sleep that can be cut short. */
export function makePause() {
  let ring = () => {};
  return {
    wait: (ms) => new Promise((done) => {
      const timer = setTimeout(done, ms);
      ring = () => { clearTimeout(timer); done(); };
    }),
    wake: () => ring(),
  };
}

/**
 * Read server-sent events with fetch, because EventSource can't send Authorization.
 * Calls hear(object) per event; returns when the server ends the stream; throws Lost when the line dies and
 * gives {status, retry_after_s} when the server refuses.
 */
export async function listen(path, { auth, signal, hear }) {
  const line = new AbortController();
  const hangUp = () => line.abort();
  signal.addEventListener("abort", hangUp);
  let timer = setTimeout(hangUp, QUIET_MS);
  try {
    const response = await fetch(BASE + path, {
      headers: { Accept: "text/event-stream", Authorization: auth }, signal: line.signal, cache: "no-store",
    });
    if (!response.ok || !response.body) return await read(response);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { value, done } = await reader.read();
      if (done) return { status: 200, retry_after_s: null };
      clearTimeout(timer);
      timer = setTimeout(hangUp, QUIET_MS);
      const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
      rest = blocks.pop();
      blocks.map(dataOf).filter(Boolean).forEach((data) => hear(JSON.parse(data)));
    }
  } catch (error) {
    throw new Lost(path, { cause: error });
  } finally {
    clearTimeout(timer);
    hangUp();
    signal.removeEventListener("abort", hangUp);
  }
}

const dataOf = (block) =>
  block.split("\n").filter((row) => row.startsWith("data:")).map((row) => row.slice(5).trim()).join("\n");
