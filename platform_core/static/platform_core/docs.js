// The settings of Swagger UI. Below an answer it lists links to the resources whose ids are in it.
"use strict";

const idLinks = JSON.parse(document.getElementById("swagger-ui").dataset.links);

function idsIn(value, found = new Map()) {
  if (value && typeof value === "object") {
    for (const [name, each] of Object.entries(value)) {
      if (idLinks[name] && /^[0-9]{1,19}$/.test(each)) found.set(`${name.slice(0, -2)} ${each}`, idLinks[name] + each);
      else idsIn(each, found);
    }
  }
  return found;
}

function idLinksPlugin(system) {
  const element = system.React.createElement;
  const linked = (Body) => (props) => {
    let ids = new Map();
    try { ids = idsIn(JSON.parse(props.content)); } catch { /* not JSON */ }
    const links = [...ids].slice(0, 20).map(([name, url]) => element("a", { key: url, href: url }, name));
    return element("div", null, element(Body, props), links.length > 0 && element("p", { className: "linked-ids" }, "Leads to: ", ...links));
  };
  // The button that opens an operation must not contain a link. Opening it still puts the operation into the address.
  const text = () => (props) => element("span", { className: "nostyle" }, element("span", null, props.text));
  return { wrapComponents: { responseBody: linked, DeepLink: text } };
}

// Swagger UI leaves some fields without a name.
function nameFields() {
  for (const field of document.querySelectorAll("#swagger-ui :is(select, input, textarea):not([aria-label])")) {
    if (field.labels?.length && [...field.labels].some((label) => label.innerText.trim() && !label.contains(field))) continue;
    const name = field.id === "servers" ? "Server"
      : field.closest("tr[data-param-name]")?.dataset.paramName
      ?? (field.matches("select.content-type, .content-type select") ? "Media type" : null)
      ?? (field.matches("textarea") ? "Body" : field.placeholder || field.name || "Value");
    field.setAttribute("aria-label", name);
  }
}
new MutationObserver(nameFields).observe(document.getElementById("swagger-ui"), { childList: true, subtree: true });

const platformSettings = { deepLinking: true, plugins: [idLinksPlugin] };
