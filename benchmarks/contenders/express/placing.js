// The saga that places an order. No transaction is open during calls to other services; each is one statement.
import { createHash } from "node:crypto";
import { run, statement } from "./database.js";
import { EVENT_COLUMNS, EVENT_PLACE } from "./events.js";
import { ask } from "./peers.js";
import { Problem, invalid, unavailable } from "./problems.js";

const CURRENCY = "USD";
const RULES = { insufficient_stock: 409, unknown_product: 422 };
const NO_ANSWER = "product-service does not answer at the moment; the order was not placed.";

const OPEN = statement(`
  WITH opened AS (
    INSERT INTO order_svc_order (user_id, status, version, currency, reason, caller, idempotency_key, fingerprint,
      request_id, traceparent, created_at, updated_at)
    VALUES ($1::bigint, 'pending', 1, '${CURRENCY}', '', '', $2, $3, $6, $7, now(), now())
    ON CONFLICT (caller, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING id, created_at
  ), line AS (
    INSERT INTO order_svc_orderline (order_id, product_id, quantity)
    SELECT opened.id, w.product_id, w.quantity FROM opened, unnest($4::bigint[], $5::int[])
      WITH ORDINALITY AS w (product_id, quantity, place) ORDER BY w.place
  )
  SELECT id::text, created_at AS "createdAt" FROM opened
`);
const message = (kind, destination, what, payload) => `
  INSERT INTO outbox_outboxmessage (kind, destination, aggregate, key, payload, state, attempts, available_at,
    last_error, request_id, traceparent, created_at)
  SELECT '${kind}', '${destination}', 'order:' || id, 'order-' || id || '${what}', ${payload}, 'pending', 0,
    now(), '', $2::text, $3::text, now()
  FROM moved
`;
// The conditional update decides all races for an order's status.
const CONFIRM = statement(`
  WITH moved AS (
    UPDATE order_svc_order SET status = 'confirmed', version = version + 1, updated_at = $4, total = $5,
      confirmed_at = $4
    WHERE id = $1::bigint AND status = 'pending' RETURNING id
  ), priced AS (
    UPDATE order_svc_orderline AS line
    SET name = p.name, unit_price = p.unit_price, subtotal = p.unit_price * line.quantity
    FROM moved, unnest($6::bigint[], $7::text[], $8::numeric[]) AS p (product_id, name, unit_price)
    WHERE line.order_id = moved.id AND line.product_id = p.product_id
  ), event AS (
    INSERT INTO events_event (${EVENT_COLUMNS})
    SELECT ${EVENT_PLACE}, 'order.confirmed', id::text, $9::jsonb, clock_timestamp(), $2::text, $3::text FROM moved
  ), sent AS (${message("notification.send", "notification-service", "-confirmed", "$10::jsonb")})
  SELECT id FROM moved
`);
const REJECT = statement(`
  WITH moved AS (
    UPDATE order_svc_order SET status = 'rejected', version = version + 1, updated_at = now(), reason = $4,
      refusal = $5::jsonb, idempotency_key = CASE WHEN $5::jsonb IS NOT NULL THEN idempotency_key END
    WHERE id = $1::bigint AND status = 'pending' RETURNING id
  ), sent AS (${message("stock.release", "product-service", "-release", "jsonb_build_object('orderId', id)")})
  SELECT id FROM moved
`);

const inProgress = () =>
  new Problem(409, "idempotency_in_progress", "The first request with this Idempotency-Key is still running.", [], {
    "Retry-After": "1",
  });

/** An Idempotency-Key with its request. */
export class Claim {
  constructor(key, fingerprint) {
    Object.assign(this, { key, fingerprint });
  }

  static of(key, user, quantities) {
    if (key === undefined) return null;
    if (!/^[\x20-\x7e]{1,255}$/.test(key)) throw invalid("Idempotency-Key", "Expected printable ASCII characters.");
    return new Claim(key, createHash("sha256").update(JSON.stringify([user, ...quantities])).digest());
  }

  /** The answer of the order that has this key, or null. */
  answerOf(row) {
    if (row === undefined) return null;
    const { fingerprint, refusal, confirmed_at: updatedAt, ...order } = row;
    if (!this.fingerprint.equals(fingerprint)) {
      throw new Problem(422, "idempotency_key_reused", "This Idempotency-Key was used with another request.");
    }
    if (order.status === "pending") throw inProgress();
    if (refusal) {
      const { status, code, detail, errors } = refusal;
      throw new Problem(status, code, detail, errors, { "Idempotent-Replayed": "true" });
    }
    return { ...order, status: "confirmed", updatedAt };
  }
}

/** Places an order. Throws a Problem if it cannot be confirmed. */
export async function place(user, quantities, claim, origin) {
  await checkUser(user);
  const order = await open(user, quantities, claim, origin);
  try {
    return await confirm(order, await reserve(order.id, quantities), origin);
  } catch (error) {
    const problem = error instanceof Problem ? error : unavailable();
    if (problem !== error) console.error(error);
    await reject(order.id, problem, origin);
    throw problem;
  }
}

async function checkUser(user) {
  const { status } = await ask("user", "GET", `/api/users/${user}`);
  if (status === 404) {
    const detail = `There is no user ${user}.`;
    throw new Problem(422, "unknown_user", detail, [{ field: "userId", code: "unknown_user", detail }]);
  }
  if (status !== 200) throw unavailable();
}

/** Commits the pending order before any side effect. */
async function open(user, quantities, claim, origin) {
  const values = [user, claim?.key ?? null, claim?.fingerprint ?? null, [...quantities.keys()], [...quantities.values()]];
  const [opened] = await run(OPEN, [...values, ...origin]);
  if (opened === undefined) throw inProgress();
  return { ...opened, userId: user };
}

/** The reserved items. Throws a Problem if there are none, or if they differ from the request. */
async function reserve(order, quantities) {
  const items = [...quantities].map(([productId, quantity]) => ({ productId, quantity }));
  const { status, data } = await ask("product", "PUT", `/api/stock-reservations/${order}`, { items });
  if (status >= 400) {
    if (RULES[data.code] !== status) throw unavailable(NO_ANSWER);
    throw new Problem(status, data.code, data.detail, data.errors ?? []);
  }
  const reserved = Array.isArray(data.items) ? data.items : [];
  const isSame = (item) => quantities.get(item.productId) === item.quantity && typeof item.unitPrice === "number";
  if (reserved.length !== quantities.size || !reserved.every(isSame)) throw unavailable(NO_ANSWER);
  return reserved;
}

/** Confirms the order. Throws a 503 if recovery has rejected it. */
async function confirm({ id, userId, createdAt }, reserved, [requestId, traceparent]) {
  const items = reserved.map(({ productId, name, unitPrice, quantity }) => {
    return { productId, name, unitPrice, quantity, subtotal: inCents(unitPrice, quantity) / 100 };
  });
  const total = items.reduce((sum, item) => sum + inCents(item.unitPrice, item.quantity), 0) / 100;
  const updatedAt = new Date();
  const order = { id, userId, status: "confirmed", items, total, currency: CURRENCY, createdAt, updatedAt };
  const moved = await run(CONFIRM, [
    id,
    requestId,
    traceparent,
    updatedAt,
    total,
    items.map((item) => item.productId),
    items.map((item) => item.name),
    items.map((item) => item.unitPrice),
    JSON.stringify({ version: 2, userId, status: order.status, total, currency: CURRENCY, createdAt, items }),
    JSON.stringify(confirmation(order)),
  ]);
  if (!moved.length) throw unavailable("The order was rejected by recovery before it could be confirmed.");
  return order;
}

const inCents = (price, quantity) => Math.round(price * 100) * quantity;

function confirmation(order) {
  const rows = order.items.map(({ quantity, name, subtotal }) => `${quantity} × ${name}: ${subtotal.toFixed(2)} ${CURRENCY}`);
  const text = ["Thank you for your order.", "", ...rows, "", `Total: ${order.total.toFixed(2)} ${CURRENCY}`].join("\n");
  return { user_id: Number(order.userId), type: "order_confirmed", subject: `Order ${order.id} is confirmed`, message: text };
}

/** Rejects the order. A refusal by a rule is stored for the key; after a 503 the key is free again. */
async function reject(order, { status, code, detail, errors }, [requestId, traceparent]) {
  const refusal = code in RULES ? JSON.stringify({ status, code, detail, errors }) : null;
  await run(REJECT, [order, requestId, traceparent, refusal ? code : "unavailable", refusal]);
}
