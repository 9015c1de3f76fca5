// Refreshes the parts of the page that are marked with data-live. It asks more slowly while nothing changes, rests while
// the page is hidden, and stops after a while; "Refresh" starts it again. Without this script the page is complete, too.
(() => {
  "use strict";
  const FIRST = 2000, LONGEST = 30000, PATIENCE = 10000, MOST_UNCHANGED = 40;
  const note = document.getElementById("refreshing"), button = document.getElementById("refresh");
  let timer = 0, delay = FIRST, unchanged = 0, isAsking = false, hasStopped = false;

  const schedule = () => {
    clearTimeout(timer);
    if (!hasStopped && !document.hidden) timer = setTimeout(ask, delay);
  };

  const stop = (text) => {
    hasStopped = true;
    note.textContent = ` · ${text}`;
    button.hidden = false;
  };

  const content = (part) => {
    const copy = part.cloneNode(true);
    copy.querySelectorAll("[name=csrfmiddlewaretoken]").forEach((field) => field.remove());
    copy.querySelectorAll("details").forEach((each) => each.removeAttribute("open"));
    return copy.innerHTML;
  };

  // Somebody is reading or answering a question there.
  const isBusy = (part) => part.contains(document.activeElement) || Boolean(part.querySelector("form") && part.querySelector("details[open]"));

  const update = (fresh) => {
    let hasChanged = false;
    document.title = fresh.title;
    document.querySelectorAll("[data-live]").forEach((part) => {
      const other = fresh.getElementById(part.id);
      if (!other || content(part) === content(other) || isBusy(part)) return;
      part.querySelectorAll("details[open][id]").forEach((each) => other.querySelector(`#${each.id}`)?.setAttribute("open", ""));
      part.replaceChildren(...other.childNodes);
      hasChanged ||= !["as-of", "age"].includes(part.id);
    });
    return hasChanged;
  };

  const ask = async () => {
    if (isAsking) return;
    isAsking = true;
    try {
      const answer = await fetch(location.pathname, {
        headers: { Accept: "text/html", "X-Purpose": "poll" }, cache: "no-store", redirect: "manual",
        signal: AbortSignal.timeout(PATIENCE),
      });
      if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) return stop("you are signed out: reload the page");
      if (!answer.ok) throw new Error(answer.status);
      const hasChanged = update(new DOMParser().parseFromString(await answer.text(), "text/html"));
      note.textContent = "";
      unchanged = hasChanged ? 0 : unchanged + 1;
      delay = hasChanged ? FIRST : Math.min(delay * 1.3, LONGEST);
      if (unchanged >= MOST_UNCHANGED) stop("nothing has changed for a while");
    } catch {
      note.textContent = " · order-service does not answer, trying again";
      delay = Math.min(delay * 2, LONGEST);
    } finally {
      isAsking = false;
      schedule();
    }
  };

  const start = () => {
    hasStopped = false;
    button.hidden = true;
    note.textContent = "";
    [delay, unchanged] = [FIRST, 0];
    ask();
  };

  button.addEventListener("click", start);
  document.addEventListener("visibilitychange", () => (document.hidden || hasStopped ? clearTimeout(timer) : start()));
  schedule();
})();
