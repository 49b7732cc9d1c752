import assert from "node:assert/strict";
import { test } from "node:test";
import { parseNormalized } from "../oci/reference.ts";
import { ANONYMOUS } from "./credentials.ts";
import { Observed } from "./observed.ts";
import { answer, oneImage, registries, serve } from "./registry.fixture.ts";

test("what is seen of a registry is the last of it, and its clock is looked at now and then", () => {
  let now = 1_000_000;
  const observed = new Observed(() => now);
  const date = (at: number): { readonly date: string } => ({ date: new Date(at).toUTCString() });
  observed.answered("a", { ...date(1_060_000), "ratelimit-limit": "100;w=60", "ratelimit-remaining": "7;w=60" });
  const first = { host: "a", problem: undefined, at: now, aheadMs: 60_000 };
  const rateLimit = { limit: 100, remaining: 7, seconds: 60 };
  assert.deepEqual(observed.list(), [{ ...first, rateLimit }]);
  now += 1000;
  observed.answered("a", date(now + 99_000));
  observed.failed("b", "refused");
  const second = { host: "b", problem: "refused", at: now, aheadMs: undefined, rateLimit: undefined };
  assert.deepEqual(observed.list(), [{ ...first, rateLimit, at: now }, second]);
  now += 60_000;
  observed.answered("a", { ...date(0), age: "60" });
  assert.equal(observed.list().at(-1)?.aheadMs, 60_000, "a cache's answer tells another time");
});

test("only so many registries are kept in mind, the last that were used", () => {
  const observed = new Observed();
  for (let n = 0; n < 100; n++) observed.answered(`${n}`, {});
  observed.answered("40", {});
  const hosts = observed.list().map(({ host }) => host);
  assert.deepEqual([hosts.length, hosts[0], hosts.at(-1)], [64, "36", "40"]);
});

test("registries are seen while they are used, and what they refer to elsewhere is not", async () => {
  await using other = await serve((request, response) => answer(request, response, 200, "text/plain", "x"));
  await using server = await serve((request, response) => {
    if (!request.url?.startsWith("/v2/away/")) return oneImage(request, response);
    response.writeHead(307, { Location: `http://${other.host}/x` }).end();
  });
  using all = registries();
  const ask = (name: string): Promise<unknown> => {
    const reference = parseNormalized(name);
    return all.reading(reference, ANONYMOUS, (repository) => repository.manifest(reference.tag ?? "", {}));
  };
  await ask(`${server.host}/a/b:1`);
  await assert.rejects(ask(`${server.host}/away/b:1`));
  await assert.rejects(ask("127.0.0.1:1/a/b:1"));
  const seen = all.observations();
  assert.deepEqual(seen.map(({ host }) => host).sort(), [server.host, "127.0.0.1:1"].sort());
  assert.ok(Math.abs(seen.find(({ host }) => host === server.host)?.aheadMs ?? Number.NaN) < 5000);
  assert.match(seen.find(({ host }) => host === "127.0.0.1:1")?.problem ?? "", /connection refused/);
});
