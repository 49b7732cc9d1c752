import assert from "node:assert/strict";
import { test } from "node:test";
import type { BuildOptions } from "./builder.ts";
import { Builds, type BuildsPorts } from "./builds.ts";
import { plainRequest } from "./request.fixture.ts";

/** Builds that wait for a Dockerfile which never comes. */
function waitingBuilds(): { readonly builds: Builds; readonly opened: string[] } {
  const opened: string[] = [];
  const ports: Pick<BuildsPorts, "history" | "results" | "sources" | "upkeep"> = {
    history: { begin: () => ({ add: () => {}, end: () => {} }) } as unknown as BuildsPorts["history"],
    results: { check: () => {} } as unknown as BuildsPorts["results"],
    upkeep: { collectSoon: () => {} } as unknown as BuildsPorts["upkeep"],
    sources: {
      open: ({ id }: { readonly id: string }, { signal }: BuildOptions) => {
        opened.push(id);
        const never = Promise.withResolvers<never>();
        signal.addEventListener("abort", () => never.reject(signal.reason), { once: true });
        return { dockerfile: () => never.promise, [Symbol.asyncDispose]: async () => {} };
      },
    } as unknown as BuildsPorts["sources"],
  };
  return { builds: new Builds(ports as BuildsPorts), opened };
}

const options = (): BuildOptions => ({ signal: new AbortController().signal, onEvent: () => {} });

test("a build that is asked for while the engine ends does not begin", async () => {
  const { builds, opened } = waitingBuilds();
  const first = builds.build(plainRequest({ id: "first" }), options());
  const closed = builds.close();
  await assert.rejects(builds.build(plainRequest({ id: "second" }), options()), {
    kind: "unavailable",
    message: "cannot build: the engine is ending",
  });
  await assert.rejects(first, { kind: "cancelled" });
  await closed;
  assert.deepEqual(opened, ["first"]);
});
