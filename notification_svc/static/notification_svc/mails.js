// Refreshes the list of mails. The form and the focus stay as they are.
"use strict";

const EVERY = 3000;

async function refresh() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const [shown, fresh] = [document.getElementById("mails"), page.getElementById("mails")];
      if (fresh && fresh.innerHTML !== shown.innerHTML && !shown.contains(document.activeElement)) shown.replaceWith(fresh);
    }
  } catch {
    // The service may be restarting.
  }
  setTimeout(refresh, EVERY);
}

setTimeout(refresh, EVERY);
