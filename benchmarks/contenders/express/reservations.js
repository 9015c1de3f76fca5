// Reserves the stock of an order, all or nothing, in one statement. The order's id is the key, so it can be repeated.
import { run, statement } from "./database.js";
import { EVENT_COLUMNS, EVENT_PLACE } from "./events.js";
import { Problem } from "./problems.js";
import { idOf, objectIn, originOf, quantitiesIn } from "./wire.js";

export const PRODUCT_DATA = `jsonb_build_object(
  'version', version, 'name', name, 'category', category, 'price', price, 'stock', stock, 'createdAt', created_at
)`;
const NOT_NULL_VIOLATION = "23502";
const MOST = 100_000_000;

// $1 the order, $2 products, $3 quantities, $4 and $5 the request's ids. Products are locked in the order of their ids,
// so that two orders cannot deadlock. If a product cannot be taken, its line has no name, and NOT NULL makes the
// statement fail. No row is returned if the order has a reservation already.
const RESERVE = statement(`
  WITH wanted AS (
    SELECT * FROM unnest($2::bigint[], $3::bigint[]) WITH ORDINALITY AS w (id, n, place)
  ), claim AS (
    INSERT INTO product_svc_stockreservation (order_id, status, created_at)
    VALUES ($1::bigint, 'reserved', now()) ON CONFLICT DO NOTHING RETURNING order_id
  ), locked AS MATERIALIZED (
    SELECT p.id FROM claim, product_svc_product p WHERE p.id = ANY ($2::bigint[])
    ORDER BY p.id FOR NO KEY UPDATE OF p
  ), taken AS (
    UPDATE product_svc_product AS p SET stock = stock - w.n, version = version + 1, updated_at = now()
    FROM locked JOIN wanted AS w USING (id)
    WHERE p.id = w.id AND p.stock >= w.n AND p.deleted_at IS NULL
    RETURNING p.id, w.n, w.place, p.name, p.category, p.price, p.stock, p.version, p.created_at
  ), line AS (
    INSERT INTO product_svc_reservationline (reservation_id, product_id, name, unit_price, quantity)
    SELECT claim.order_id, wanted.id, taken.name, taken.price, wanted.n
    FROM claim CROSS JOIN wanted LEFT JOIN taken USING (id) ORDER BY wanted.place
  ), movement AS (
    INSERT INTO product_svc_stockmovement (product_id, delta, stock, kind, reason, order_id, created_at)
    SELECT id, -n, stock, 'reservation', '', $1::bigint, now() FROM taken ORDER BY id
  ), event AS (
    INSERT INTO events_event (${EVENT_COLUMNS})
    SELECT ${EVENT_PLACE}, 'stock.changed', id::text,
      ${PRODUCT_DATA} || jsonb_build_object('delta', -n, 'reason', 'reservation', 'orderId', $1::bigint::text),
      clock_timestamp(), $4::text, $5::text
    FROM taken ORDER BY id
  )
  SELECT id::text AS "productId", name, price AS "unitPrice", n AS quantity FROM taken ORDER BY place
`);
const BEFORE = statement(`
  SELECT r.status, l.product_id::text AS "productId", l.name, l.unit_price AS "unitPrice", l.quantity
  FROM product_svc_stockreservation r LEFT JOIN product_svc_reservationline l ON l.reservation_id = r.order_id
  WHERE r.order_id = $1 ORDER BY l.id
`);
const STOCKS = statement(
  "SELECT id::text, stock FROM product_svc_product WHERE id = ANY ($1::bigint[]) AND deleted_at IS NULL",
);

export async function reserve(request, response) {
  const order = idOf(request.params.id);
  const quantities = quantitiesIn(objectIn(request.body).items, { most: MOST });
  const values = [order, [...quantities.keys()], [...quantities.values()], ...originOf(request)];
  const taken = await take(values, quantities);
  const items = taken.length ? taken : await takenBefore(order, quantities);
  response.status(taken.length ? 201 : 200).json({ orderId: order, status: "reserved", items });
}

async function take(values, quantities) {
  for (;;) {
    try {
      return await run(RESERVE, values);
    } catch (error) {
      if (error.code !== NOT_NULL_VIOLATION) throw error;
      await refuse(quantities);
      // The missing stock has been added in the meantime: try again.
    }
  }
}

async function refuse(quantities) {
  const rows = await run(STOCKS, [[...quantities.keys()]]);
  const stocks = new Map(rows.map((row) => [row.id, row.stock]));
  const unknown = [];
  const short = [];
  [...quantities].forEach(([productId, requested], n) => {
    const field = `items[${n}]`;
    const available = stocks.get(productId);
    if (available === undefined) {
      unknown.push({ field, code: "unknown_product", detail: `There is no product ${productId}.`, productId });
    } else if (available < requested) {
      const detail = `${requested} wanted, ${available} in stock.`;
      short.push({ field, code: "insufficient_stock", detail, productId, requested, available });
    }
  });
  if (unknown.length) throw new Problem(422, "unknown_product", "A product does not exist.", unknown);
  if (short.length) throw new Problem(409, "insufficient_stock", "There is not enough stock.", short);
}

async function takenBefore(order, quantities) {
  const rows = await run(BEFORE, [order]);
  if (rows[0].status === "released") {
    throw new Problem(409, "reservation_released", "The reservation of this order was released; it stays so.");
  }
  const isSame = rows.length === quantities.size && rows.every((row) => quantities.get(row.productId) === row.quantity);
  if (!isSame) throw new Problem(409, "reservation_conflict", "This order has reserved other items before.");
  return rows.map(({ status, ...item }) => item);
}
