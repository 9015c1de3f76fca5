// The figures of the four other services, which are asked at once.
import { Router } from "express";
import { ask } from "./peers.js";

const SERVICES = ["user", "product", "order", "notification"];

export const routes = Router();

routes.get("/analytics/summary", async (request, response) => {
  const asOf = new Date();
  const figures = await Promise.all(SERVICES.map(statsOf));
  const stale = SERVICES.filter((_, n) => figures[n] === null).map((service) => `${service}-service`);
  const named = Object.fromEntries(SERVICES.map((service, n) => [`${service}s`, figures[n]]));
  response.json({ asOf, stale, ...named });
});

async function statsOf(service) {
  try {
    const { status, data } = await ask(service, "GET", "/api/stats");
    return status === 200 ? data : null;
  } catch {
    return null;
  }
}
