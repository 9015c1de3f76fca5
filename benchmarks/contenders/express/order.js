import { Router } from "express";
import { run, statement } from "./database.js";
import { Claim, place } from "./placing.js";
import { invalid } from "./problems.js";
import { idIn, idOf, objectIn, originOf, pageOf, placeOf, quantitiesIn, sendVersioned } from "./wire.js";

const COLUMNS = `
  o.id::text, o.user_id::text AS "userId", o.status, (
    SELECT coalesce(json_agg(json_build_object('productId', l.product_id::text, 'name', l.name,
      'unitPrice', l.unit_price, 'quantity', l.quantity, 'subtotal', l.subtotal) ORDER BY l.id), '[]')
    FROM order_svc_orderline l WHERE l.order_id = o.id
  ) AS items, o.total, o.currency, o.created_at AS "createdAt", o.updated_at AS "updatedAt"
`;
const ONE = statement(`SELECT o.version, ${COLUMNS} FROM order_svc_order o WHERE o.id = $1`);
const FIND = statement(`SELECT ${COLUMNS} FROM order_svc_order o WHERE o.id < $1 ORDER BY o.id DESC LIMIT $2`);
const EARLIER = statement(`
  SELECT o.fingerprint, o.refusal, o.confirmed_at, ${COLUMNS}
  FROM order_svc_order o WHERE o.caller = '' AND o.idempotency_key = $1
`);
const STATS = statement(`
  SELECT status, count(*) AS orders, sum(total) AS value FROM order_svc_order
  WHERE status NOT IN ('pending', 'rejected') GROUP BY status
`);
const PAID = ["confirmed", "shipped", "delivered"];
const MOST = 1_000_000;

export const routes = Router();

routes.post("/orders", async (request, response) => {
  const body = objectIn(request.body);
  const isSingle = body.productId !== undefined && body.quantity !== undefined;
  if (isSingle === (body.items !== undefined)) throw invalid("items", "Give either productId and quantity, or items.");
  const items = isSingle ? [{ productId: body.productId, quantity: body.quantity }] : body.items;
  const user = idIn("userId", body.userId);
  const quantities = quantitiesIn(items, { most: MOST });
  const claim = Claim.of(request.get("Idempotency-Key"), user, quantities);
  const earlier = claim && claim.answerOf((await run(EARLIER, [claim.key]))[0]);
  if (earlier) response.set("Idempotent-Replayed", "true");
  const order = earlier ?? (await place(user, quantities, claim, originOf(request)));
  response.status(201).set("Location", `/api/orders/${order.id}`).json(order);
});

routes.get("/orders/:id", async (request, response) => {
  const [order] = await run(ONE, [idOf(request.params.id)]);
  sendVersioned(request, response, order);
});

routes.get("/orders", async (request, response) => {
  const [limit, before] = placeOf(request.query);
  response.json(pageOf(request, await run(FIND, [before, limit + 1]), limit));
});

routes.get("/stats", async (request, response) => {
  const found = Object.fromEntries((await run(STATS)).map((row) => [row.status, row]));
  const byStatus = Object.fromEntries([...PAID, "cancelled"].map((name) => [name, found[name]?.orders ?? 0]));
  const paid = PAID.reduce((sum, name) => sum + byStatus[name], 0);
  const revenue = PAID.reduce((sum, name) => sum + (found[name]?.value ?? 0), 0);
  const averageOrderValue = paid ? Math.round((revenue / paid) * 100) / 100 : 0;
  const total = Object.values(byStatus).reduce((sum, orders) => sum + orders, 0);
  response.json({ total, byStatus, revenue, averageOrderValue });
});
