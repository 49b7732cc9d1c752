import assert from "node:assert/strict";
import { test } from "node:test";
import { ROUTES, type Route } from "./routes.ts";

/** Docker's routes of API 1.51, as published. */
const PUBLISHED = `
GET /_ping
HEAD /_ping
GET /version
GET /info
GET /events
GET /system/df
POST /build
POST /build/cancel
POST /build/prune
POST /session
POST /grpc
POST /auth
GET /containers/json
POST /containers/create
GET /containers/{id}/json
GET /containers/{id}/top
GET /containers/{id}/logs
GET /containers/{id}/changes
GET /containers/{id}/export
GET /containers/{id}/stats
GET /containers/{id}/attach/ws
GET /containers/{id}/archive
HEAD /containers/{id}/archive
PUT /containers/{id}/archive
POST /containers/{id}/start
POST /containers/{id}/stop
POST /containers/{id}/restart
POST /containers/{id}/kill
POST /containers/{id}/pause
POST /containers/{id}/unpause
POST /containers/{id}/rename
POST /containers/{id}/update
POST /containers/{id}/resize
POST /containers/{id}/attach
POST /containers/{id}/wait
POST /containers/{id}/exec
DELETE /containers/{id}
POST /containers/prune
POST /commit
POST /exec/{id}/start
POST /exec/{id}/resize
GET /exec/{id}/json
GET /images/json
GET /images/search
GET /images/get
GET /images/{name}/get
GET /images/{name}/history
GET /images/{name}/json
POST /images/create
POST /images/load
POST /images/{name}/push
POST /images/{name}/tag
POST /images/prune
DELETE /images/{name}
GET /networks
GET /networks/{id}
POST /networks/create
POST /networks/{id}/connect
POST /networks/{id}/disconnect
POST /networks/prune
DELETE /networks/{id}
GET /volumes
GET /volumes/{name}
POST /volumes/create
POST /volumes/prune
PUT /volumes/{name}
DELETE /volumes/{name}
GET /distribution/{name}/json
GET /plugins
GET /swarm
GET /nodes
GET /services
GET /tasks
GET /secrets
GET /configs
`;

/** What Docker has and this engine answers with 404 "page not found". */
const ABSENT = `
GET /containers/{id}/checkpoints
POST /containers/{id}/checkpoints
DELETE /containers/{id}/checkpoints/{checkpoint}
POST /swarm/init
POST /swarm/join
POST /swarm/leave
POST /swarm/update
POST /swarm/unlock
GET /swarm/unlockkey
POST /services/create
GET /services/{id}
POST /services/{id}/update
DELETE /services/{id}
GET /services/{id}/logs
GET /nodes/{id}
POST /nodes/{id}/update
DELETE /nodes/{id}
GET /tasks/{id}
GET /tasks/{id}/logs
POST /secrets/create
GET /secrets/{id}
POST /secrets/{id}/update
DELETE /secrets/{id}
POST /configs/create
GET /configs/{id}
POST /configs/{id}/update
DELETE /configs/{id}
GET /plugins/{name}/json
GET /plugins/privileges
POST /plugins/pull
POST /plugins/create
POST /plugins/{name}/enable
POST /plugins/{name}/disable
POST /plugins/{name}/push
POST /plugins/{name}/upgrade
POST /plugins/{name}/set
DELETE /plugins/{name}
`;

const linesOf = (text: string) => text.trim().split("\n").map(withoutNames);
const withoutNames = (line: string) => line.replaceAll(/\{\w+\}|[:*]\w+/g, "{}");
const SERVED = Object.values(ROUTES as Readonly<Record<string, Route>>).map(({ method, path }) =>
  withoutNames(`${method} ${path}`),
);

test("every published route is served or known to be absent", () => {
  const published = linesOf(PUBLISHED);
  assert.deepEqual(
    published.filter((line) => !SERVED.includes(line)),
    [],
  );
  const absent = linesOf(ABSENT);
  assert.deepEqual(
    absent.filter((line) => SERVED.includes(line)),
    [],
    "served meanwhile: move the line to the published ones",
  );
});

test("every other route of the table is Gantry's own, below its own path", () => {
  const known = new Set(linesOf(PUBLISHED));
  const own = SERVED.filter((line) => !known.has(line));
  for (const line of own) assert.match(line, /^\w+ (\/gantry\/|\/openapi\.json$|\/metrics$)/);
});

test("no two rows answer the same request", () => {
  assert.equal(new Set(SERVED).size, SERVED.length);
});
