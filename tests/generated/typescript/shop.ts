// Uses the types that openapi-typescript makes of the documents. Compiled by `tsc --strict`, and run on a platform.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { paths as Orders } from "./order.js";
import type { paths as Products } from "./product.js";
import type { paths as Users } from "./user.js";

const [usersUrl, productsUrl, ordersUrl] = process.argv.slice(2);
const users = createClient<Users>({ baseUrl: usersUrl });
const products = createClient<Products>({ baseUrl: productsUrl });
const orders = createClient<Orders>({ baseUrl: ordersUrl });

function given<T>(answer: { data?: T; error?: unknown }): T {
  assert.ok(answer.data !== undefined, JSON.stringify(answer.error));
  return answer.data;
}

const tom = given(await users.POST("/api/users", { body: { name: "Tom", email: "tom@example.com" } }));
const sofa = given(await products.POST("/api/products", { body: { name: "Sofa", price: 250, stock: 5 } }));
const body = { userId: tom.id, items: [{ productId: sofa.id, quantity: 1 }] };
const placed: string[] = [];
for (const key of ["first", "second", "third"]) {
  const order = given(await orders.POST("/api/orders", { body, headers: { "Idempotency-Key": `typescript-${key}` } }));
  assert.equal(order.status, "confirmed");
  assert.equal(order.total, 250);
  placed.unshift(order.id);
}

const seen: string[] = [];
let cursor: string | undefined;
do {
  const page = given(await orders.GET("/api/orders/user/{userId}", {
    params: { path: { userId: tom.id }, query: { limit: 2, cursor } },
  }));
  seen.push(...page.results.map((order) => order.id));
  cursor = page.next ? new URL(page.next, ordersUrl).searchParams.get("cursor") ?? undefined : undefined;
} while (cursor);
assert.deepEqual(seen, placed);

const cancelled = given(await orders.POST("/api/orders/{id}/cancel", { params: { path: { id: placed[0] } } }));
assert.equal(cancelled.status, "cancelled");
const cheaper = given(await products.PATCH("/api/products/{id}", { params: { path: { id: sofa.id } }, body: { price: 199.5 } }));
assert.equal(cheaper.price, 199.5);
const refused = await orders.POST("/api/orders", { body: { userId: "999999", productId: sofa.id, quantity: 1 } });
assert.equal(refused.error?.code, "unknown_user");
assert.equal((await products.DELETE("/api/products/{id}", { params: { path: { id: sofa.id } } })).response.status, 204);
assert.equal((await users.DELETE("/api/users/{id}", { params: { path: { id: tom.id } } })).response.status, 204);
console.log("Done.");
