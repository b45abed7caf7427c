/** Solves a challenge: ALTCHA's proof of work, version 2. Look for the number from which PBKDF2 derives a key that begins as told. */

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
export async function solve(challenge) {
  const { parameters } = challenge;
  const told = { ...parameters, nonce: bytesOf(parameters.nonce), salt: bytesOf(parameters.salt) };
  for (let first = 0; ; first += AT_ONCE) {
    const keys = await Promise.all(Array.from({ length: AT_ONCE }, (_, i) => derive(first + i, told)));
    const found = keys.findIndex((key) => key.startsWith(parameters.keyPrefix));
    if (found < 0) continue;
    const solution = { counter: first + found, derivedKey: keys[found] };
    return btoa(JSON.stringify({ challenge, solution }));
  }
}
