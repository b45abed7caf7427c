/** The parts of the page that stand for things: countdown, items, the sign-in form, the order's ticket, lists. Pure. */

import { h, icon } from "./draw.js";
import { cells, count, price, secondsTo, short, shortOrder, when } from "./format.js";
import { countdownOf, isOpen, isOver, stockOf } from "./phase.js";

export function countdown(state, say) {
  const turn = countdownOf(state);
  if (!turn) return null;
  const seconds = secondsTo(turn[1], state.now_ms);
  const cell = ([name, digits]) =>
    h("div", { key: name, class: "cell" }, h("span", { class: "digits" }, digits), h("span", { class: "unit" }, say(name)));
  return h("div", { key: "countdown", class: seconds <= 10 ? "countdown close" : "countdown" },
    h("p", { class: "label" }, say(turn[0])),
    h("div", { class: "cells", role: "timer", "data-test": "countdown", "data-to": turn[0], "data-seconds": seconds },
      cells(seconds).map(cell)));
}

export function items(state, say, deeds, { locked }) {
  const card = (item) => {
    const stock = stockOf(state, item);
    const chosen = item.item === state.item;
    return h("label", { key: item.item, class: "item", "data-test": `item-${item.item}`, "data-stock": stock,
      "data-chosen": chosen },
    h("input", { type: "radio", name: "item", value: item.item, checked: chosen, disabled: locked,
      onchange: () => deeds.choose(item.item) }),
    h("span", { class: "mark" }, icon("check")),
    h("span", { class: "name" }, item.title[state.language]),
    h("span", { class: "price" }, price(item.price_minor, state.sale.currency, state.language)),
    stock && h("span", { class: "stock" }, say(stock)));
  };
  return h("fieldset", { key: "items", class: "items" },
    h("legend", null, h("span", null, say("choose")), h("span", null, terms(state.sale, say))), state.sale.items.map(card));
}

const terms = (sale, say) => say("terms", { limit: say("limit", { limit: sale.per_fan_limit }), pay: payWindow(sale.pay_window_s, say) });

const payWindow = (seconds, say) =>
  seconds < 120 ? say("pay_window_s", { seconds }) : say("pay_window_min", { minutes: Math.floor(seconds / 60) });

export function loginForm(state, say, deeds) {
  const { busy, problem } = state.login;
  return h("form", { key: "login", class: "panel login", novalidate: true, onsubmit: (event) => {
    event.preventDefault();
    deeds.login(event.target.elements.fan.value.trim());
  } },
  h("label", { for: "fan" }, say("login_name")),
  h("input", { id: "fan", name: "fan", autocomplete: "nickname", maxlength: 64, autocapitalize: "none", spellcheck: "false",
    enterkeyhint: "go", "data-test": "login-name", "aria-describedby": "login-help" }),
  h("p", { id: "login-help", class: "small", role: problem ? "alert" : null }, say(problem ?? "login_sandbox")),
  h("button", { type: "submit", class: "main", "data-test": "login", disabled: busy }, say(busy ? "login_busy" : "login")));
}

const STEPS = ["accepted", "confirmed", "paid"];

function steps(order, say) {
  const reached = STEPS.indexOf(order.state);
  const step = (name, at) => h("li", { key: name, class: at <= reached ? "done" : "open",
    "aria-current": at === reached ? "step" : null },
  h("span", { class: "dot" }, at <= reached && icon("check")), say(`step_${name}`));
  return h("ol", { key: "steps", class: "steps" }, STEPS.map(step));
}

const row = (name, ...value) => h("div", { key: name, class: "row" }, h("dt", null, name), h("dd", null, ...value));

function deadline(state, order, say) {
  if (order.state !== "accepted" && order.state !== "confirmed") return null;
  const left = short(secondsTo(order.pay_before_ms, state.now_ms));
  return row(say("pay_left"), h("span", { class: "digits", role: "timer", "data-test": "pay-countdown" }, left));
}

/** Each item counts its units from 1, so that a number needs its item's name beside it. */
const itemName = ({ sale, language }, { item }) => sale.items.find((one) => one.item === item)?.title[language] ?? item;

export function ticket(state, order, say) {
  const over = ["expired", "cancelled", "refunded", "refused"].includes(order.state);
  return h("section", { key: `ticket-${order.order}`, class: over ? "ticket over" : "ticket", "data-test": "order",
    "data-order": order.order, "aria-label": say("order_number") }, h("div", { class: "leaf" },
  h("div", { class: "stub" },
    h("p", { class: "label" }, say("unit")),
    h("p", { class: "number digits", "data-test": "unit" }, h("span", { class: "soft" }, "№ "), count(order.unit, state.language)),
    h("p", { class: "name" }, itemName(state, order))),
  h("div", { class: "body" },
    over ? null : steps(order, say),
    h("dl", null,
      row(say("order_number"), h("span", { class: "digits", title: order.order, "data-test": "order-number" },
        shortOrder(order.order))),
      row(say("price"), h("span", { class: "digits" }, price(order.price_minor, order.currency, state.language))),
      row(say("state"), h("span", { "data-test": "order-state", "data-state": order.state }, say(`state_${order.state}`))),
      deadline(state, order, say)))));
}

export function myOrders(state, say, deeds, shown) {
  const others = state.orders.filter((order) => order !== shown);
  if (!others.length) return null;
  return h("section", { key: "orders", class: "list", "data-test": "orders" }, h("h2", null, say("my_orders")),
    others.map((order) => h("button", { key: order.order, class: "line", type: "button", "data-order": order.order,
      onclick: () => deeds.show(order.order) },
    h("span", { class: "digits" }, `№ ${count(order.unit, state.language)}`), h("span", { class: "name" }, itemName(state, order)),
    h("span", { class: "soft" }, say(`state_${order.state}`)))));
}

function saleWord(sale, state, say) {
  if (isOver(sale, state.now_ms)) return say("sale_closed");
  if (isOpen(sale, state.now_ms)) return say("sale_open");
  return say(`sale_${sale.state}`, { when: when(sale.opens_ms, state.now_ms, state.language) });
}

export function saleList(state, say) {
  if (!state.sales.length) return h("p", { key: "none", class: "soft" }, say("list_empty"));
  return h("nav", { key: "sales", class: "list" }, state.sales.map((sale) =>
    h("a", { key: sale.sale, class: "line", href: `/s/${encodeURIComponent(sale.sale)}`, "data-test": `sale-${sale.sale}` },
      h("span", { class: "name" }, sale.title[state.language]),
      h("span", { class: isOpen(sale, state.now_ms) ? "now" : "soft" }, saleWord(sale, state, say)))));
}
