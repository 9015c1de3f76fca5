import { Router } from "express";
import { run, statement } from "./database.js";
import { idOf, sendVersioned } from "./wire.js";

const ONE = statement(`
  SELECT version, id::text, name, email, phone, address, is_active AS "isActive",
    created_at AS "createdAt", updated_at AS "updatedAt"
  FROM user_svc_user WHERE id = $1
`);
const STATS = statement(`
  SELECT count(*) AS total,
    count(*) FILTER (WHERE created_at >= date_trunc('day', now(), 'UTC')) AS "newToday"
  FROM user_svc_user
`);

export const routes = Router();

routes.get("/users/:id", async (request, response) => {
  const [user] = await run(ONE, [idOf(request.params.id)]);
  sendVersioned(request, response, user);
});

routes.get("/stats", async (request, response) => response.json((await run(STATS))[0]));
