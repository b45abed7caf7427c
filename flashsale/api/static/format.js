/** Numbers, prices and times in the fan's own language and zone. */

/** The browser's own locale where it matches the chosen language, so that an American sees 12:00 PM. */
export function localeOf(language) {
  const own = (globalThis.navigator?.languages ?? []).find((name) => name.toLowerCase().startsWith(language));
  return own ?? (language === "zh" ? "zh-CN" : "en-GB");
}

export const count = (number, language) => new Intl.NumberFormat(localeOf(language)).format(number);

/** Minor units of an ISO currency; how many make one major unit is the currency's own matter. */
export function price(minor, currency, language) {
  const form = new Intl.NumberFormat(localeOf(language), {
    style: "currency", currency, trailingZeroDisplay: "stripIfInteger",
  });
  return form.format(minor / 10 ** form.resolvedOptions().maximumFractionDigits);
}

const near = (ms, now_ms) => Math.abs(ms - now_ms) < 12 * 3_600_000;

/** Chinese may break between any two signs: a word joiner between them and no-break spaces hold a moment together. */
const unbroken = (text) => [...text].join("\u2060").replaceAll(" ", "\u00a0");

/** "12:00" today, "Tue 24 Nov, 12:00" otherwise; never broken over two lines. */
export function when(ms, now_ms, language) {
  const day = near(ms, now_ms) ? {} : { weekday: "short", day: "numeric", month: "short" };
  return unbroken(new Intl.DateTimeFormat(localeOf(language), { ...day, hour: "numeric", minute: "2-digit" }).format(ms));
}

/** The whole date, for the head of the page. */
export const date = (ms, language) =>
  new Intl.DateTimeFormat(localeOf(language), {
    weekday: "long", day: "numeric", month: "long", hour: "numeric", minute: "2-digit",
  }).format(ms);

/** The name of the fan's own time zone at that moment. */
export const zone = (ms, language) =>
  new Intl.DateTimeFormat(localeOf(language), { timeZoneName: "long" })
    .formatToParts(ms).find((part) => part.type === "timeZoneName").value;

export const clock = (ms, language) => new Intl.DateTimeFormat(localeOf(language), { timeStyle: "medium" }).format(ms);

/** Whole seconds still to go; a started second counts, so that zero means now. */
export const secondsTo = (ms, now_ms) => Math.max(0, Math.ceil((ms - now_ms) / 1_000));

/** [["days", "2"], ["hours", "03"], …]; days only when there are any. */
export function cells(seconds) {
  const two = (number) => String(number).padStart(2, "0");
  const days = Math.floor(seconds / 86_400);
  const rest = [["hours", two(Math.floor(seconds / 3_600) % 24)], ["minutes", two(Math.floor(seconds / 60) % 60)],
    ["seconds", two(seconds % 60)]];
  return days ? [["days", String(days)], ...rest] : rest;
}

/** "14:59", or "1:02:03" past an hour. */
export function short(seconds) {
  const [minutes, rest] = [Math.floor(seconds / 60), String(seconds % 60).padStart(2, "0")];
  if (minutes < 60) return `${minutes}:${rest}`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

/** The end of an order's number: its beginning is the time and alike for all who won together. */
export const shortOrder = (order) => order.replaceAll("-", "").slice(-8).toUpperCase().replace(/(.{4})/, "$1 ");
