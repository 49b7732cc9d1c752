import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { GantryError, messageOf } from "../base/errors.ts";
import { createServer } from "../base/http.ts";
import type { Logger } from "../base/log.ts";
import type { Metrics } from "../base/metrics.ts";

export const METRICS_HEADERS = { "Content-Type": "text/plain; version=0.0.4; charset=utf-8" } as const;

/** Serves `GET /metrics`, and nothing else, at `address:port`. Throws unavailable if it can't listen there. */
export async function serveMetrics(address: string, metrics: Metrics, log: Logger): Promise<Server> {
  const server = createServer({ headersTimeout: 10_000, requestTimeout: 10_000 }, (request, response) => {
    request.resume();
    const path = (request.url ?? "").split("?")[0];
    if (path !== "/metrics" || (request.method !== "GET" && request.method !== "HEAD")) {
      response.writeHead(404, { "Content-Type": "text/plain; charset=utf-8" }).end("404 page not found\n");
      return;
    }
    metrics.text().then(
      (text) => response.writeHead(200, METRICS_HEADERS).end(text),
      (error: unknown) => {
        log.error(`cannot tell the metrics: ${messageOf(error)}`);
        response.writeHead(500).end();
      },
    );
  });
  const colon = address.lastIndexOf(":");
  const host = address.slice(0, colon).replace(/^\[(.*)\]$/, "$1");
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen({ port: Number(address.slice(colon + 1)), ...(host !== "" && { host }) }, resolve);
  try {
    await promise;
  } catch (error) {
    throw new GantryError("unavailable", `cannot serve metrics at ${address}: ${messageOf(error)}`, { cause: error });
  }
  server.on("error", (error) => log.error(`the metrics' socket failed: ${error.message}`));
  const { address: ip, port } = server.address() as AddressInfo;
  log.info("metrics API listening", { address: ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}` });
  return server;
}
