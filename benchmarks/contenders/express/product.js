import { Router } from "express";
import { run, statement } from "./database.js";
import { EVENT_COLUMNS, EVENT_PLACE } from "./events.js";
import { Problem } from "./problems.js";
import { PRODUCT_DATA, reserve } from "./reservations.js";
import { idOf, moneyIn, objectIn, originOf, pageOf, placeOf, sendVersioned, textIn, wholeIn } from "./wire.js";

const COLUMNS = `
  id::text, name, description, category, sku, price, stock, created_at AS "createdAt", updated_at AS "updatedAt"
`;
const ONE = statement(`SELECT version, ${COLUMNS} FROM product_svc_product WHERE id = $1 AND deleted_at IS NULL`);
const CREATE = statement(`
  WITH made AS (
    INSERT INTO product_svc_product
      (name, description, category, sku, price, stock, version, created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, 1, now(), now())
    RETURNING *
  ), movement AS (
    INSERT INTO product_svc_stockmovement (product_id, delta, kind, reason, stock, created_at)
    SELECT id, stock, 'initial', '', stock, now() FROM made WHERE stock > 0
  ), event AS (
    INSERT INTO events_event (${EVENT_COLUMNS})
    SELECT ${EVENT_PLACE}, 'product.created', id::text, ${PRODUCT_DATA}, clock_timestamp(), $7, $8 FROM made
  )
  SELECT ${COLUMNS} FROM made
`);
const STATS = statement(`
  SELECT count(*) AS total, count(*) FILTER (WHERE stock = 0) AS "outOfStock",
    coalesce(sum(stock), 0) AS "stockUnits", coalesce(sum(stock * price), 0) AS "stockValue"
  FROM product_svc_product WHERE deleted_at IS NULL
`);
const UNIQUE_VIOLATION = "23505";

export const routes = Router();

routes.get("/products/:id", async (request, response) => {
  const [product] = await run(ONE, [idOf(request.params.id)]);
  sendVersioned(request, response, product);
});

routes.get("/products", async (request, response) => {
  const [limit, before] = placeOf(request.query);
  const { category, minPrice, maxPrice } = request.query;
  const values = [before, limit + 1];
  const conditions = ["deleted_at IS NULL", "id < $1"];
  const add = (condition, value) => conditions.push(`${condition} $${values.push(value)}`);
  if (category !== undefined) add("category =", textIn("category", category, { max: 100 }));
  if (minPrice !== undefined) add("price >=", moneyIn("minPrice", Number(minPrice)));
  if (maxPrice !== undefined) add("price <=", moneyIn("maxPrice", Number(maxPrice)));
  const text = `
    SELECT ${COLUMNS} FROM product_svc_product WHERE ${conditions.join(" AND ")}
    ORDER BY product_svc_product.id DESC LIMIT $2
  `;
  response.json(pageOf(request, await run(statement(text), values), limit));
});

routes.post("/products", async (request, response) => {
  const body = objectIn(request.body);
  const values = [
    textIn("name", body.name, { min: 1, max: 200 }),
    textIn("description", body.description ?? "", { max: 5000 }),
    textIn("category", body.category ?? "", { max: 100 }),
    textIn("sku", body.sku ?? "", { max: 64 }) || null,
    moneyIn("price", body.price),
    wholeIn("stock", body.stock ?? 0, { min: 0, max: 2 ** 31 - 1 }),
    ...originOf(request),
  ];
  let product;
  try {
    [product] = await run(CREATE, values);
  } catch (error) {
    if (error.code === UNIQUE_VIOLATION) throw new Problem(409, "sku_taken", "Another product has this sku.");
    throw error;
  }
  response.status(201).set({ Location: `/api/products/${product.id}`, ETag: '"1"' }).json(product);
});

routes.put("/stock-reservations/:id", reserve);

routes.get("/stats", async (request, response) => response.json((await run(STATS))[0]));
