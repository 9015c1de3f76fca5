// One service: `node server.js product`. The primary process starts WORKERS others, which share the port.
import cluster from "node:cluster";
import express from "express";

const service = process.argv[2];
const KEEP_ALIVE_MS = 75_000; // longer than clients keep idle connections
const ENDING_MS = 10_000;

if (cluster.isPrimary) {
  let ending = false;
  for (let n = 0; n < Number(process.env.WORKERS); n++) cluster.fork();
  cluster.on("exit", () => (ending ? undefined : cluster.fork()));
  for (const signal of ["SIGTERM", "SIGINT"]) {
    process.on(signal, () => {
      ending = true;
      for (const worker of Object.values(cluster.workers)) worker.kill();
    });
  }
} else {
  const { routes } = await import(`./${service}.js`);
  const { problemHandler, unknownPath } = await import("./problems.js");
  const { pool } = await import("./database.js");
  const app = express();
  app.disable("x-powered-by");
  app.set("etag", false); // a resource has the ETag of its version; hashing each answer would cost more
  app.set("query parser", "simple");
  app.get("/health/live", (request, response) => response.json({ status: "ok" }));
  app.use(express.json({ limit: "1mb" }));
  app.use("/api", routes);
  app.use(unknownPath);
  app.use(problemHandler);
  const server = app.listen(Number(process.env.PORT), "127.0.0.1");
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  server.requestTimeout = 30_000;
  process.on("SIGTERM", () => {
    server.close(async () => {
      await pool.end();
      process.exit(0);
    });
    server.closeIdleConnections();
    setTimeout(() => process.exit(1), ENDING_MS).unref();
  });
}
