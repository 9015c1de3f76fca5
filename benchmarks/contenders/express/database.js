// One pool for each process. Every statement is prepared once for each connection, by its name.
import pg from "pg";

pg.types.setTypeParser(pg.types.builtins.INT8, Number); // quantities; ids are selected as text
pg.types.setTypeParser(pg.types.builtins.NUMERIC, Number); // money has at most twelve digits

export const pool = new pg.Pool({
  connectionString: process.env.DATABASE_URL,
  max: Number(process.env.DATABASE_POOL),
  connectionTimeoutMillis: 5_000,
  statement_timeout: 5_000,
  idle_in_transaction_session_timeout: 15_000,
});
pool.on("error", (error) => console.error("idle connection:", error.message)); // the pool replaces it

const names = new Map();

/** A statement with a name of its own, to be given to `run`. */
export function statement(text) {
  if (!names.has(text)) names.set(text, `s${names.size}`);
  return { name: names.get(text), text };
}

/** Runs a statement, which is a transaction of its own. Returns its rows. */
export async function run(prepared, values = []) {
  return (await pool.query({ ...prepared, values })).rows;
}
