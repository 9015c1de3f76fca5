// The admin's pages are written for the Alpine that evals its expressions. Ours, which does not, knows no globals
// and one expression at a time; here it is given the globals that the pages name, and the rest is said otherwise.
document.addEventListener("alpine:init", () => {
  const globals = {
    localStorage: {
      getItem: (key) => localStorage.getItem(key),
      setItem: (key, value) => localStorage.setItem(key, value),
    },
    window: {
      location: {
        get pathname() { return location.pathname; },
        get search() { return location.search; },
        get hash() { return location.hash; },
        set href(url) { location.href = url; },
      },
    },
    getCurrentTab: () => getCurrentTab(),
    rememberSidebar: (open) => localStorage.setItem("sidebarDesktopOpen", open ? "1" : "0"),
  };
  Alpine.data("theme", (chosen) => Object.assign(theme(chosen), globals)); // of <html>, so that all pages' parts see it
  Alpine.data("searchForm", searchForm);
  Alpine.data("searchCommand", searchCommand);

  Alpine.interceptInit((element) => {
    for (const { name, value } of element.attributes) {
      if (/^x-(init|on:)/.test(name)) {
        const said = otherwise(value);
        if (said !== value) element.setAttribute(name, said);
      }
    }
  });
});

function otherwise(expression) {
  const single = expression
    .replace(/^\s*if \((.*?)\) (?=\w)/, "$1 && ")
    .replace(/value => localStorage\.setItem\('sidebarDesktopOpen', .*?\)/, "rememberSidebar")
    .replace(/;\s*$/, "");
  return single.includes(";") ? `[${single.split(";").join(",")}]` : single;
}

// Some of unfold's controls are links without an address, or plain elements, that only a mouse can use; and its icons are
// words in an icon font, which screen readers would read aloud. Here the controls become buttons, and the icons are hidden.
const CONTROLS = "a:not([href]), span, div, h2, li";
const NAMES = {
  dock_to_right: "Show or hide the sidebar", close: "Close", search: "Search", more_horiz: "More", arrow_back: "Back",
  unfold_more: "Account", filter_list: "Filters", light_mode: "Theme", dark_mode: "Theme", computer: "Theme",
};
const isControl = (element) => element.hasAttribute("x-on:click") && element.matches(CONTROLS) && element.id !== "changelist-filter-close";
const iconsOf = (element) => element.querySelectorAll(".material-symbols-outlined");

function makeUsable(root) {
  for (const element of root.querySelectorAll(CONTROLS)) {
    if (!isControl(element) || element.hasAttribute("role") || !element.textContent.trim()) continue;
    element.setAttribute("role", "button");
    element.tabIndex = 0;
  }
  for (const icon of root.querySelectorAll(".material-symbols-outlined")) {
    const name = NAMES[icon.textContent.trim()] ?? icon.textContent.trim().replaceAll("_", " ");
    if (icon.getAttribute("role") === "button") {
      if (!icon.hasAttribute("aria-label")) icon.setAttribute("aria-label", name);
      continue;
    }
    icon.setAttribute("aria-hidden", "true");
    const control = icon.closest("a, button, [role=button]");
    if (!control || control.hasAttribute("aria-label")) continue;
    const words = [...iconsOf(control)].reduce((text, each) => text.replace(each.textContent, ""), control.textContent);
    if (!words.trim()) control.setAttribute("aria-label", control.title.trim() || name);
  }
}

document.addEventListener("DOMContentLoaded", () => {
  document.getElementById("main")?.setAttribute("role", "main");
  document.getElementById("content")?.setAttribute("tabindex", "-1"); // where the skip link leads
  makeUsable(document);
  new MutationObserver(() => makeUsable(document)).observe(document.body, { childList: true, subtree: true });
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.getElementById("changelist-filter-close")?.click();
  if ((event.key !== "Enter" && event.key !== " ") || !isControl(event.target)) return;
  event.preventDefault();
  event.target.click();
});
