// Draws the charts from the figures in the page, and renews the page: it loads it again every few seconds and replaces
// what has changed. All texts come from the server.
"use strict";

const EVERY = 5000; // milliseconds between two refreshes
const SOON = 1000; // the same while figures are missing
const TIMEOUT = 3; // time limit of a response in seconds

const byId = (id, page = document) => page.getElementById(id);
const pauseButton = byId("pause");
const charts = {};
let bars = barsOf(document);
let paused = false;
let running = false;
let timer = 0;

// ── Refreshes

class Refused extends Error {}

async function loaded() {
  const ending = new AbortController();
  const end = setTimeout(() => ending.abort(), (TIMEOUT + 3) * 1000);
  try {
    const answer = await fetch(location.pathname + location.search, {
      headers: { Accept: "text/html", "X-Request-Timeout": String(TIMEOUT), "X-Purpose": "poll" },
      cache: "no-store",
      signal: ending.signal,
    });
    if (answer.redirected || answer.status === 401 || answer.status === 403) throw new Refused();
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!byId("bars", page)) throw new Error("another page");
    return page;
  } finally {
    clearTimeout(end);
  }
}

async function renew() {
  if (running) return;
  running = true;
  clearTimeout(timer);
  try {
    show(await loaded());
  } catch (error) {
    showTrouble(error);
  } finally {
    running = false;
    schedule();
  }
}

function schedule() {
  clearTimeout(timer);
  const isLate = byId("pulse").dataset.state === "late";
  if (!paused && !document.hidden) timer = setTimeout(renew, isLate ? SOON : EVERY);
}

function show(page) {
  for (const fresh of page.querySelectorAll("[data-live]")) {
    merge(document.querySelector(`[data-live="${fresh.dataset.live}"]`), fresh);
  }
  if (!paused) byId("pulse").dataset.state = byId("pulse", page).dataset.state;
  banner(byId("banner", page).textContent);
  bars = barsOf(page);
  Object.keys(charts).forEach(fill);
}

// Elements stay and take over what is new, so that nothing flickers, and focus and selections are kept.
function merge(shown, fresh) {
  if (shown.isEqualNode(fresh)) return;
  if (shown.nodeName !== fresh.nodeName) {
    shown.replaceWith(document.importNode(fresh, true));
  } else if (shown.nodeType === Node.TEXT_NODE) {
    shown.data = fresh.data;
  } else {
    for (const { name } of [...shown.attributes]) if (!fresh.hasAttribute(name)) shown.removeAttribute(name);
    for (const { name, value } of fresh.attributes) shown.setAttribute(name, value);
    const [old, young] = [[...shown.childNodes], [...fresh.childNodes]];
    young.forEach((each, n) => (n < old.length ? merge(old[n], each) : shown.append(document.importNode(each, true))));
    old.slice(young.length).forEach((each) => each.remove());
  }
}

function showTrouble(error) {
  const asOf = byId("asOf").textContent;
  byId("pulse").dataset.state = paused ? "paused" : "late";
  if (error instanceof Refused) {
    const door = document.createElement("a");
    door.href = location.href;
    door.append("Sign in again");
    banner(`You are signed out. The figures are as of ${asOf}.`, door);
  } else {
    banner(`The figures are as of ${asOf}: analytics-service did not answer. Trying again.`);
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

function barsOf(page) {
  return JSON.parse(byId("bars", page).textContent);
}

const IS_DENSE = bars.length > 100; // bars of one or two pixels: gaps between them would flicker
const BARS = {
  maxBarThickness: 26, categoryPercentage: IS_DENSE ? 1 : 0.9, barPercentage: IS_DENSE ? 1 : 0.86,
  borderRadius: IS_DENSE ? 0 : 3,
};
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const probe = document.body.appendChild(document.createElement("span"));
probe.hidden = true;
function colour(name) { // resolved for the theme, which the variable itself is not
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}
const labels = () => bars.map(({ label }) => label);
const values = (id) => bars.map((each) => each[id]);

function chart(id, tone, ticks, suggestedMax) {
  const shown = { tone, shade: colour(tone) };
  shown.made = new Chart(byId(id), {
    type: "bar",
    data: {
      labels: labels(),
      datasets: [{ ...BARS, data: values(id), backgroundColor: (bar) => shade(shown, bar.dataIndex) }],
    },
    options: {
      animation: false,
      maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      plugins: {
        colors: { enabled: false },
        legend: { display: false },
        tooltip: {
          displayColors: false, padding: 10, cornerRadius: 8, borderWidth: 1,
          callbacks: { title: ([item]) => bars[item.dataIndex].title, label: (item) => bars[item.dataIndex][`${id}Text`] },
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
  charts[id] = shown;
  paint(shown);
}

// Today's bar is paler, because the day is not over.
const faded = (rgb) => rgb.replace("rgb(", "rgba(").replace(")", ", 0.6)");
const shade = (shown, index) => (index === bars.length - 1 ? faded(shown.shade) : shown.shade);

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

function fill(id) {
  const { made } = charts[id];
  const [{ data }, fresh] = [made, values(id)];
  const isSame = data.labels.at(-1) === bars.at(-1).label && fresh.every((value, n) => value === data.datasets[0].data[n]);
  if (isSame) return;
  data.labels = labels();
  data.datasets[0].data = fresh;
  made.update("none");
}

function drawCharts() {
  chart("revenue", "accent", { callback: (value) => compact.format(value) }, 10);
  chart("orders", "second", { precision: 0 }, 4);
  addEventListener("themechange", () => Object.values(charts).forEach(paint));
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
  schedule();
}

begin();
