// Follows a job: replaces its progress every two seconds, and loads the page again when the job has ended.
const PAUSE = 2000;

async function follow() {
  const shown = document.querySelector("#job-progress[data-unfinished]");
  if (!shown) return;
  try {
    const answer = await fetch(location.href, { headers: { "X-Purpose": "poll" } });
    if (answer.ok && !answer.redirected) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const now = page.querySelector("#job-progress");
      if (now && !now.hasAttribute("data-unfinished")) {
        location.reload();
        return;
      }
      if (now && now.innerHTML !== shown.innerHTML) shown.innerHTML = now.innerHTML;
    }
  } catch {
    // The service does not answer; the next round asks again.
  }
  setTimeout(follow, PAUSE);
}

setTimeout(follow, PAUSE);
