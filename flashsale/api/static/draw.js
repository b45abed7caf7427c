/** Draws a view: plain objects from h() onto the document, changing only what differs, so that focus and live regions hold. */

const SVG = "http://www.w3.org/2000/svg";
const drawn = new WeakMap(); // node → the view it was drawn from

/** One element of a view. Empty children (null, false) are left out; props.key tells siblings apart. */
export function h(tag, props, ...children) {
  const kept = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  return { tag, props: props ?? {}, children: kept.map((child) => (child.tag ? child : { text: String(child) })) };
}

/** Make parent's children look like the view. */
export function draw(parent, views) {
  views.forEach((view, at) => {
    const found = find(parent, at, view);
    const node = found ?? create(view);
    if (parent.childNodes[at] !== node) parent.insertBefore(node, parent.childNodes[at] ?? null);
    change(node, view);
  });
  while (parent.childNodes.length > views.length) parent.lastChild.remove();
}

function find(parent, at, view) {
  const here = parent.childNodes[at];
  if (here && alike(drawn.get(here), view)) return here;
  if (!view.props?.key) return null;
  return [...parent.childNodes].slice(at).find((node) => alike(drawn.get(node), view));
}

const alike = (old, view) => old && old.tag === view.tag && old.props?.key === view.props?.key;

function create(view) {
  if (!view.tag) return document.createTextNode("");
  return ["svg", "path"].includes(view.tag)
    ? document.createElementNS(SVG, view.tag) : document.createElement(view.tag);
}

function change(node, view) {
  const old = drawn.get(node);
  drawn.set(node, view);
  if (!view.tag) {
    if (node.data !== view.text) node.data = view.text;
    return;
  }
  for (const name of Object.keys({ ...old?.props, ...view.props })) {
    if (old?.props[name] !== view.props[name]) setProp(node, name, view.props[name]);
  }
  draw(node, view.children);
}

function setProp(node, name, value) {
  if (name === "key") return;
  if (name.startsWith("on")) node[name] = value ?? null;
  else if (name === "checked") node.checked = Boolean(value);
  else if (value === false || value === null || value === undefined) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? "" : value);
}

const ICONS = {
  check: "M5 12.5l4.5 4.5L19 7.5",
  clock: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 7.5V12l3 2",
  people: "M9 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM3.5 19a5.5 5.5 0 0 1 11 0M16 5.3a3 3 0 0 1 0 5.4M17 13.9a5.5 5.5 0 0 1 3.5 5.1",
  pause: "M9 6v12M15 6v12",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l4.5 4.5",
  cut: "M3 3l18 18M8.5 15.5a5 5 0 0 1 5.6-1M5 12a10 10 0 0 1 4.2-2.6M13.4 9a10 10 0 0 1 5.6 3M12 19h.01",
  lock: "M6.5 11h11v9h-11zM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
  box: "M4 8l8-4 8 4v8l-8 4-8-4zM4 8l8 4 8-4M12 12v8",
  bolt: "M13 3L5 13.5h6L10.5 21 19 10.5h-6z",
  person: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.5 20.5a7.5 7.5 0 0 1 15 0",
  ticket: "M3 7.5h18v2.7a2 2 0 0 0 0 3.6v2.7H3v-2.7a2 2 0 0 0 0-3.6zM14.5 8v8",
};

/** A line icon; only for the eye, the words beside it say the same. */
export const icon = (name, kind = "icon") =>
  h("svg", { key: `icon-${name}`, class: kind, viewBox: "0 0 24 24", "aria-hidden": "true" }, h("path", { d: ICONS[name] }));
