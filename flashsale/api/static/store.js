/** What the page knows (one plain object) and what it keeps on the device, so that views stay pure and a reload finds its way back. */

/** A state before anything is known. Times are the server's, in milliseconds. */
export function initialState({ language, sale_name, channel }) {
  return {
    language,
    sale_name, // null on the list of sales
    channel,
    now_ms: null, // null until the server's clock is known
    clock_error_ms: null,
    device_ahead_ms: 0,
    sales: null,
    sale: null,
    missing: false,
    sandbox: null, // null: not known yet
    fan: null, // {token, fan, sandbox}
    login: { busy: false, problem: null },
    link: null, // {why: LOST | WAIT, again_at_ms} while the sale can't be read
    right: null, // {right, channel, expires_ms}
    solved: null, // {right, expires_ms}: a right with the mark that a challenge was solved, good for some minutes
    pending: null, // {deed: reserve | buy, item, key, why, again_at_ms} while an answer is owed
    refusal: null, // {outcome, order, status}: a final no
    item: null, // the item chosen
    sold_out_until_ms: {}, // per item: until then a refusal just heard outweighs the sale's picture
    orders: [],
    orders_known: false,
    shown: null, // the order on display
    shown_at_ms: 0,
    shopping: false, // true: go on buying although there are orders
    paying: null, // null | asking | sent
    cancelling: null, // null | confirm | busy
    notice: null, // a word's name, told beside the order
  };
}

/** A store of one state: set() merges a patch and tells the listener. */
export function makeStore(state, listener) {
  return {
    get: () => state,
    set(patch) {
      state = { ...state, ...patch };
      listener(state);
    },
  };
}

/** Memory on the device. A browser that refuses storage gets one that lasts as long as the page. */
export function makeMemory(storage) {
  const spare = new Map();
  const named = (name) => `flashsale.${name}`;
  return {
    recall(name) {
      try {
        return JSON.parse(storage.getItem(named(name))) ?? spare.get(name) ?? null;
      } catch {
        return spare.get(name) ?? null; // Unreadable is the same as absent.
      }
    },
    keep(name, value) {
      spare.set(name, value);
      try {
        storage.setItem(named(name), JSON.stringify(value));
      } catch {
        /* Full or forbidden: the spare above serves until the page goes. */
      }
    },
    forget(name) {
      spare.delete(name);
      try {
        storage.removeItem(named(name));
      } catch {
        /* Forbidden: there was nothing to remove. */
      }
    },
  };
}
