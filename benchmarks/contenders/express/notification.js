import { Router } from "express";
import { run, statement } from "./database.js";

const STATS = statement("SELECT status, count(*) AS number FROM notification_svc_notification GROUP BY status");

export const routes = Router();

routes.get("/stats", async (request, response) => {
  const found = Object.fromEntries((await run(STATS)).map((row) => [row.status, row.number]));
  const total = Object.values(found).reduce((sum, number) => sum + number, 0);
  response.json({ total, byStatus: { sent: found.sent ?? 0, failed: found.failed ?? 0 } });
});
