// Calls to the other services, over one pool of connections for each of them.
import { Pool } from "undici";
import { unavailable } from "./problems.js";

const DEADLINE_MS = 5_000; // of a whole call
const pools = new Map();

function poolOf(service) {
  if (!pools.has(service)) {
    const url = process.env[`${service.toUpperCase()}_SERVICE_URL`];
    pools.set(service, new Pool(url, { connections: 50, keepAliveTimeout: 30_000, connect: { timeout: 1_000 } }));
  }
  return pools.get(service);
}

/** The status and the decoded body. Throws a 503 after the deadline, without an answer, and for a 5xx. */
export async function ask(service, method, path, body) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  const signal = AbortSignal.timeout(DEADLINE_MS);
  try {
    const answer = await poolOf(service).request({ method, path, headers, body: body && JSON.stringify(body), signal });
    if (answer.statusCode < 500) return { status: answer.statusCode, data: await answer.body.json() };
    await answer.body.dump();
  } catch (error) {
    console.error(`${service}-service:`, error.message);
  }
  throw unavailable(`${service}-service does not answer at the moment.`);
}
