// Refreshes the dashboard from the API. Figures are formatted as in analytics_svc/templatetags/figures.py.
"use strict";

const EVERY = 5000; // milliseconds between two refreshes
const TIMEOUT = 2; // time limit of a response in seconds
const BOUND = 1000; // outboxes are counted up to this number
const DAYS = Number(document.body.dataset.days);
const DECIMALS = Number(document.body.dataset.decimals); // of the currency: 2 or 0
const WEEKDAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const byId = (id) => document.getElementById(id);
const pauseButton = byId("pause");
const charts = {};
let paused = false;
let running = false;
let timer = 0;
let shownAsOf = document.querySelector("[data-figure=asOf]").textContent;

// ── Requests

class Refused extends Error {}

// Amounts are kept as the text from the API: a JavaScript number is not exact to the cent for large sums.
function exact(text) {
  const amount = /"(revenue|averageOrderValue|stockValue)":(-?[0-9.]+(?:[eE][+-]?[0-9]+)?)/g;
  return JSON.parse(text.replace(amount, '"$1":"$2"'));
}

async function ask(report) {
  const ending = new AbortController();
  const end = setTimeout(() => ending.abort(), (TIMEOUT + 3) * 1000);
  try {
    const answer = await fetch(`/api/analytics/${report}`, {
      headers: { Accept: "application/json", "X-Request-Timeout": String(TIMEOUT), "X-Purpose": "poll" },
      cache: "no-store",
      signal: ending.signal,
    });
    if (answer.status === 401 || answer.status === 403) throw new Refused();
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return exact(await answer.text());
  } finally {
    clearTimeout(end);
  }
}

// Requests run one after the other, so that an open page uses one place in the service's bulkhead, not three.
// The platform's status comes last, so that events that the reports have just applied do not count as lag.
async function renew() {
  if (running) return;
  running = true;
  clearTimeout(timer);
  try {
    const reports = [await ask("summary"), await ask(`orders?days=${DAYS}`), await ask("products")];
    const platform = await ask("platform");
    showFigures(...reports);
    showServices(platform.services);
    showFreshness(reports);
  } catch (error) {
    showTrouble(error);
  } finally {
    running = false;
    schedule();
  }
}

function schedule() {
  clearTimeout(timer);
  if (!paused && !document.hidden) timer = setTimeout(renew, EVERY);
}

// ── Formats

const grouped = (digits) => digits.replace(/\B(?=(\d{3})+$)/g, ",");
const count = (number) => grouped(String(number));
const counted = (number) => (number >= BOUND ? `${count(number)}+` : count(number));
const milliseconds = (number) => (number >= 1 ? `${number.toFixed(0)} ms` : "< 1 ms");

function money(amount) {
  const text = /e/i.test(amount) ? Number(amount).toFixed(DECIMALS) : amount;
  const [whole, cents = ""] = text.split(".");
  return DECIMALS ? `${grouped(whole)}.${cents.padEnd(DECIMALS, "0")}` : grouped(whole);
}

function day(date) {
  return `${WEEKDAYS[date.getUTCDay()]} ${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]} ${date.getUTCFullYear()}`;
}

const dateOf = (text) => new Date(`${text}T00:00:00Z`);

function clock(text) {
  const moment = new Date(text ?? 0);
  if (moment.getUTCFullYear() === 1970) return "never";
  const isToday = moment.toISOString().slice(0, 10) === new Date().toISOString().slice(0, 10);
  return `${isToday ? "" : `${day(moment)}, `}${moment.toISOString().slice(11, 19)} UTC`;
}

function duration(seconds) {
  const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"]].find(([each]) => seconds >= each) ?? [1, "s"];
  return `${Math.floor(seconds / size)} ${unit}`;
}

// ── Elements

const sizeOf = ({ length }) => (length > 17 ? "huge" : length > 13 ? "longest" : length > 9 ? "long" : "short");

function write(name, text) {
  const element = document.querySelector(`[data-figure=${name}]`);
  if (element.textContent !== text) element.textContent = text;
  if (element.dataset.size) element.dataset.size = sizeOf(text);
}

function element(tag, attributes, ...children) {
  const space = tag === "svg" || tag === "rect" ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
  const made = document.createElementNS(space, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

const row = (...cells) => element("tr", {}, ...cells);
const head = (...children) => element("th", { scope: "row" }, ...children);
const cell = (...children) => element("td", {}, ...children);
const number = (child, more = "") => element("td", { class: `number${more}` }, child);
const note = (text) => element("span", { class: "note" }, text);
const state = (kind, text) => element("span", { class: `state ${kind}` }, text);
const named = (product) => element("span", { class: "name" }, product.name || product.productId);

function bar(kind, part, whole) {
  const width = whole ? (100 * part) / whole : 0;
  const filled = element("rect", { class: kind, height: 6, rx: 3, width: `${width.toFixed(2)}%` });
  return element("svg", { class: "bar", "aria-hidden": "true", height: 6, width: "100%" }, filled);
}

const bare = (row) => row.innerHTML.replace(/\s+/g, "");

// Only changed elements are replaced, so that nothing flickers and a selection is kept.
function fill(id, rows) {
  const body = byId(id);
  const there = body.rows;
  rows.forEach((each, index) => {
    if (!there[index]) body.append(each);
    else if (bare(there[index]) !== bare(each)) there[index].replaceWith(each);
  });
  while (there.length > rows.length) there[rows.length].remove();
}

function fillOrSayNone(id, rows) {
  const table = byId(id).closest("table");
  table.hidden = rows.length === 0;
  table.nextElementSibling.hidden = rows.length > 0;
  fill(id, rows);
}

function showFigures(summary, orders, products) {
  const today = orders.byDay.at(-1);
  const figures = {
    orders: count(orders.total), ordersToday: count(today.orders),
    revenue: money(orders.revenue), revenueToday: money(today.revenue), average: money(orders.averageOrderValue),
    users: count(summary.users.total), usersToday: count(summary.users.newToday),
    stockValue: money(products.stockValue), stockUnits: count(products.stockUnits),
    outOfStock: count(products.outOfStock),
    sent: count(summary.notifications.byStatus.sent), failed: count(summary.notifications.byStatus.failed),
    ...best(orders.byDay),
  };
  for (const [name, text] of Object.entries(figures)) write(name, text);
  byId("empty").hidden = orders.total > 0;
  showTables(orders, products);
  showCharts(orders.byDay);
}

function best(byDay) {
  const most = (name) => byDay.reduce((first, each) => (Number(each[name]) > Number(first[name]) ? each : first));
  const [revenue, orders] = [most("revenue"), most("orders")];
  const none = "None in these days";
  return {
    bestRevenue: Number(revenue.revenue) ? `Highest: ${money(revenue.revenue)} on ${day(dateOf(revenue.date))}` : none,
    bestOrders: orders.orders ? `Most: ${count(orders.orders)} on ${day(dateOf(orders.date))}` : none,
  };
}

function showTables(orders, products) {
  const share = (part) => (orders.total ? Math.round((100 * part) / orders.total) : 0);
  const most = products.topSellers[0]?.units;
  fill("days", orders.byDay.toReversed().map((each) =>
    row(head(day(dateOf(each.date))), number(count(each.orders)), number(money(each.revenue)))));
  fill("statuses", Object.entries(orders.byStatus).map(([status, part]) =>
    row(head(status, bar(status, part, orders.total)), number(count(part)), number(`${share(part)} %`, " share"))));
  fillOrSayNone("sellers", products.topSellers.map((each) =>
    row(head(named(each), bar("units", each.units, most)), number(count(each.units)), number(money(each.revenue)))));
  fillOrSayNone("low", products.lowStock.map((each) =>
    row(head(named(each)), number(each.stock ? count(each.stock) : state("down", "sold out")))));
}

function showServices(services) {
  fill("services", services.map((each) => row(
    head(each.service, note([each.version, each.mode].filter(Boolean).join(" · "))),
    health(each), feed(each.feedLag), outbox(each),
  )));
}

function health({ status, latencyMs }) {
  if (status === "ok") return cell(state("ok", "up"), note(milliseconds(latencyMs)));
  return cell(status === "down" ? state("down", "down") : state("unknown", "not known"));
}

function feed(lag) {
  if (!lag) return cell(note("has none"));
  if (lag.status === "current") return cell(state("ok", "up to date"));
  if (lag.status === "pending") return cell(state("ok", "just arriving"));
  if (lag.status === "behind") return cell(state("late", `${duration(lag.seconds)} behind`));
  return cell(state("unknown", "not known"), note(`complete until ${clock(lag.caughtUpAt)}`));
}

function outbox({ status, outbox: depth }) {
  if (!depth) return cell(status === "ok" ? note("has none") : state("unknown", "not known"));
  return cell(
    state(depth.dead ? "down" : depth.pending ? "late" : "ok", `${counted(depth.pending)} waiting`),
    depth.pending ? note(`oldest ${duration(depth.oldestSeconds)}`) : null,
    depth.dead ? note(`${counted(depth.dead)} given up`) : null,
  );
}

// ── Freshness

function showFreshness(reports) {
  const stale = [...new Set(reports.flatMap((report) => report.stale))];
  shownAsOf = clock(reports.map((report) => report.asOf).sort()[0]);
  write("asOf", shownAsOf);
  byId("pulse").dataset.state = stale.length ? "late" : "live";
  banner(stale.length ? `Some figures are as of ${shownAsOf}: ${stale.join(", ")} did not answer in time.` : "");
}

function showTrouble(error) {
  byId("pulse").dataset.state = "late";
  if (error instanceof Refused) {
    const door = element("a", { href: location.href }, "Sign in again");
    banner(`You are signed out. The figures are as of ${shownAsOf}.`, door);
  } else {
    banner(`The figures are as of ${shownAsOf}: analytics-service did not answer. Trying again.`);
  }
}

// Screen readers read the banner out when it changes, so it only changes if its text does.
function banner(text, link) {
  const place = byId("banner");
  const said = link ? `${text} ${link.textContent}` : text;
  if (place.textContent === said) return;
  place.replaceChildren(...(link ? [`${text} `, link] : text ? [text] : []));
}

// ── Charts

const IS_DENSE = DAYS > 100; // bars of one or two pixels: gaps between them would flicker
const BARS = {
  maxBarThickness: 26, categoryPercentage: IS_DENSE ? 1 : 0.9, barPercentage: IS_DENSE ? 1 : 0.86,
  borderRadius: IS_DENSE ? 0 : 3,
};
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function chart(id, tone, describe, ticks, suggestedMax) {
  const of = (index) => charts[id].days[index];
  const made = new Chart(byId(id), {
    type: "bar",
    data: { labels: [], datasets: [{ ...BARS, data: [], backgroundColor: (bar) => shade(charts[id], bar.dataIndex) }] },
    options: {
      animation: false,
      maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      plugins: {
        colors: { enabled: false },
        legend: { display: false },
        tooltip: {
          displayColors: false, padding: 10, cornerRadius: 8, borderWidth: 1,
          callbacks: {
            title: ([item]) => day(dateOf(of(item.dataIndex).date)),
            label: (item) => describe(of(item.dataIndex)),
          },
        },
      },
      scales: {
        x: { grid: { display: false }, ticks: { maxRotation: 0, autoSkipPadding: 20 } },
        y: {
          beginAtZero: true, suggestedMax, border: { display: false },
          ticks: { maxTicksLimit: 5, padding: 8, ...ticks },
        },
      },
    },
  });
  charts[id] = { made, tone, days: [] };
  paint(charts[id]);
}

// Today's bar is paler, because the day is not over.
const shade = (shown, index) => shown && (index === shown.days.length - 1 ? `${shown.shade}99` : shown.shade);

function paint(shown) {
  const { made } = shown;
  const { scales, plugins } = made.options;
  const font = { family: "Inter, system-ui, sans-serif", size: 12 };
  for (const scale of Object.values(scales)) Object.assign(scale.ticks, { color: colour("quiet"), font });
  scales.y.grid = { color: colour("line"), drawTicks: false };
  scales.x.border = { color: colour("line") };
  Object.assign(plugins.tooltip, {
    backgroundColor: colour("card"), borderColor: colour("line"),
    titleColor: colour("quiet"), bodyColor: colour("text"),
    titleFont: { ...font, weight: 500 }, bodyFont: { ...font, size: 13, weight: 600 },
  });
  shown.shade = colour(shown.tone);
  made.update("none");
}

function showCharts(days) {
  for (const [id, shown] of Object.entries(charts)) {
    const values = days.map((each) => Number(each[id]));
    const data = shown.made.data;
    const isSameDay = shown.days.at(-1)?.date === days.at(-1).date;
    const isSame = isSameDay && values.every((value, n) => value === data.datasets[0].data[n]);
    shown.days = days;
    if (isSame) continue;
    data.labels = days.map(({ date }) => `${dateOf(date).getUTCDate()} ${MONTHS[dateOf(date).getUTCMonth()]}`);
    data.datasets[0].data = values;
    shown.made.update("none");
  }
}

function drawCharts() {
  const inWords = ({ orders }) => `${count(orders)} ${orders === 1 ? "order" : "orders"}`;
  chart("revenue", "accent", ({ revenue }) => money(revenue), { callback: (value) => compact.format(value) }, 10);
  chart("orders", "second", inWords, { precision: 0 }, 4);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => Object.values(charts).forEach(paint));
}

// ── Start

function begin() {
  if (window.Chart) drawCharts();
  document.addEventListener("visibilitychange", () => (document.hidden || paused ? clearTimeout(timer) : renew()));
  pauseButton.addEventListener("click", () => {
    paused = !paused;
    pauseButton.textContent = paused ? "Resume" : "Pause";
    byId("pulse").dataset.state = "paused";
    paused ? clearTimeout(timer) : renew();
  });
  pauseButton.hidden = false;
  renew();
}

begin();
