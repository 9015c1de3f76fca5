// The bar: the search leads to another host, which a form of this page may not do, so a script follows it. The states of
// the services come from one route, which has a bound and is cached.
(() => {
  const bar = document.querySelector(".office-bar");
  const find = bar.querySelector(".office-find");
  find?.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = find.elements.q.value.trim();
    if (text) location.assign(`/find?q=${encodeURIComponent(text)}`);
  });

  const person = bar.querySelector(".office-person");
  document.addEventListener("click", (event) => { if (!person.contains(event.target)) person.open = false; });
  person.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    person.open = false;
    person.querySelector("summary").focus();
  });

  const texts = { ok: "up", down: "down", unknown: "not known" };
  const links = bar.querySelectorAll("[data-service]");
  async function look() {
    if (document.hidden) return;
    let services = [];
    try {
      const answer = await fetch("/api/services", {
        headers: { Accept: "application/json", "X-Purpose": "poll" }, signal: AbortSignal.timeout(5000),
      });
      if (answer.ok) services = (await answer.json()).services;
    } catch { /* this service does not answer: nothing is known */ }
    const states = Object.fromEntries(services.map((each) => [each.service, each.status]));
    for (const link of links) {
      link.dataset.status = states[link.dataset.service] ?? "unknown";
      link.querySelector("[data-text]").textContent = texts[link.dataset.status] ?? texts.unknown;
      link.title = `${link.dataset.service}: ${texts[link.dataset.status]}`;
    }
  }
  if (!links.length) return;
  look();
  setInterval(look, 30000);
  document.addEventListener("visibilitychange", look);
})();
