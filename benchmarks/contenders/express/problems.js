// Errors as application/problem+json (RFC 9457).
import { STATUS_CODES } from "node:http";

export class Problem extends Error {
  constructor(status, code, detail = "", errors = [], headers = {}) {
    super(code);
    Object.assign(this, { status, code, detail, errors, headers });
  }
}

export const notFound = () => new Problem(404, "not_found", "Not found.");
export const invalid = (field, detail) =>
  new Problem(400, "invalid", `${field}: ${detail}`, [{ field, code: "invalid", detail }]);
export const unavailable = (detail = "Not available at the moment.") =>
  new Problem(503, "unavailable", detail, [], { "Retry-After": "1" });

export function unknownPath() {
  throw notFound();
}

const CONNECTION_ERRORS = new Set(["ECONNREFUSED", "ECONNRESET", "ENOENT", "57P01", "57P03", "57014", "53300"]);

function asProblem(error) {
  if (error instanceof Problem) return error;
  if (error.type === "entity.too.large") return new Problem(413, "too_large", "The body is too large.");
  if (error.status === 400) return new Problem(400, "invalid", "The body is not valid JSON.");
  if (CONNECTION_ERRORS.has(error.code) || /timeout/i.test(error.message)) return unavailable();
  console.error(error);
  return new Problem(500, "internal_error", "");
}

// Express knows a handler of errors by its four parameters.
export function problemHandler(error, request, response, next) {
  if (response.headersSent) return next(error);
  const { status, code, detail, errors, headers } = asProblem(error);
  const body = { type: "about:blank", title: STATUS_CODES[status], status, detail, code };
  response.status(status).set(headers).type("application/problem+json");
  response.send(JSON.stringify(errors.length ? { ...body, errors } : body));
}
