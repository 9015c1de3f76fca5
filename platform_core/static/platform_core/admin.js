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
