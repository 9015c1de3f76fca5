// The shapes on the wire: ids as strings, money as numbers, times in UTC.
import { invalid, notFound } from "./problems.js";

const MAX_ID = 2n ** 63n - 1n;
const isId = (text) => /^[0-9]{1,19}$/.test(text) && BigInt(text) <= MAX_ID;

/** The id of a path, as a string. */
export function idOf(text) {
  if (!isId(text)) throw notFound();
  return text;
}

/** An id of a body: a number, or a string of digits. */
export function idIn(field, value) {
  const text = typeof value === "number" ? String(value) : value;
  if (typeof text !== "string" || !isId(text)) throw invalid(field, "Expected an id.");
  return text;
}

export function objectIn(body) {
  if (body === null || typeof body !== "object" || Array.isArray(body)) throw invalid("body", "Expected an object.");
  return body;
}

export function textIn(field, value, { min = 0, max }) {
  const text = typeof value === "string" ? value.trim() : value;
  if (typeof text !== "string" || text.length < min || text.length > max || text.includes("\0")) {
    throw invalid(field, `Expected a text of ${min} to ${max} characters.`);
  }
  return text;
}

export function wholeIn(field, value, { min, max }) {
  if (!Number.isSafeInteger(value) || value < min || value > max) throw invalid(field, `Expected ${min} to ${max}.`);
  return value;
}

export function moneyIn(field, value) {
  const cents = Math.round(value * 100);
  if (typeof value !== "number" || !(value >= 0 && value < 1e10) || Math.abs(value * 100 - cents) > 1e-4) {
    throw invalid(field, "Expected an amount with at most two decimals.");
  }
  return value;
}

/** Quantities by product. The lines of one product are summed. */
export function quantitiesIn(items, { most }) {
  if (!Array.isArray(items) || items.length < 1 || items.length > 100) {
    throw invalid("items", "Expected 1 to 100 items.");
  }
  const found = new Map();
  items.forEach((item, n) => {
    const product = idIn(`items[${n}].productId`, objectIn(item).productId);
    const quantity = wholeIn(`items[${n}].quantity`, item.quantity, { min: 1, max: most });
    found.set(product, (found.get(product) ?? 0) + quantity);
  });
  return found;
}

/** The ids of a request for rows and peers: the caller's, or new ones. */
export function originOf(request) {
  return [request.get("X-Request-ID") ?? crypto.randomUUID(), request.get("traceparent") ?? ""];
}

/** Answers with a row whose member `version` is its ETag, or with 304. */
export function sendVersioned(request, response, row) {
  if (row === undefined) throw notFound();
  const { version, ...resource } = row;
  const tag = `"${version}"`;
  response.set("ETag", tag);
  if (request.get("If-None-Match") === tag) return response.status(304).end();
  return response.json(resource);
}

/** The limit of a page, and the id that its rows come before. */
export function placeOf(query) {
  const limit = query.limit === undefined ? 50 : Number(query.limit);
  return [wholeIn("limit", limit, { min: 1, max: 200 }), query.before === undefined ? String(MAX_ID) : idIn("before", query.before)];
}

/** A page. `rows` has one more row than the page if there is a next page. */
export function pageOf(request, rows, limit) {
  let next = null;
  if (rows.length > limit) {
    rows.length = limit;
    const query = new URLSearchParams({ ...request.query, before: rows[limit - 1].id });
    next = `${request.protocol}://${request.get("Host")}${request.baseUrl}${request.path}?${query}`;
  }
  return { results: rows, next, previous: null };
}
