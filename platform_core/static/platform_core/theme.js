// The theme that was chosen in this service's admin holds on its other pages, too. Runs before the page is drawn.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  function apply() {
    let chosen = "auto";
    try { chosen = JSON.parse(localStorage.getItem("adminTheme")) ?? "auto"; } catch { /* not set, or not allowed */ }
    const isDark = chosen === "dark" || (chosen !== "light" && system.matches);
    root.dataset.theme = isDark ? "dark" : "light";
    root.classList.toggle("dark-mode", isDark); // as Swagger UI calls it
    dispatchEvent(new Event("themechange"));
  }
  apply();
  system.addEventListener("change", apply);
  addEventListener("storage", apply);
})();
