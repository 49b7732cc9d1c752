import assert from "node:assert/strict";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { ANONYMOUS } from "./credentials.ts";
import { answer, NO_PROXIES, registries, serve } from "./registry.fixture.ts";
import { searchImages } from "./search.ts";

const JOE = { ...ANONYMOUS, username: "joe", password: "hunter2" };

function found(name: string) {
  return { name, description: "", stars: 0, isOfficial: false };
}

/** A registry with a catalog and no search, two repositories a page. */
function catalog(names: readonly string[]): RequestListener {
  return (request, response) => {
    const url = new URL(request.url ?? "", "http://x");
    if (url.pathname !== "/v2/_catalog")
      return answer(request, response, url.pathname === "/v2/" ? 200 : 404, "text/plain", "");
    const start = names.indexOf(url.searchParams.get("last") ?? "") + 1;
    const page = names.slice(start, start + 2);
    if (start + 2 < names.length) response.setHeader("Link", `</v2/_catalog?last=${page[1]}&n=2>; rel="next"`);
    answer(request, response, 200, "application/json", JSON.stringify({ repositories: page }));
  };
}

test("a registry's own search is asked in the words of the first registry API", async () => {
  const results = [
    { name: "team/web", description: null, star_count: 3, is_official: true, is_trusted: false },
    { name: "" },
  ];
  await using server = await serve((request, response) => {
    const isSearch = request.url === "/v1/search?q=we+b%26&n=7";
    answer(request, response, 200, "application/json", isSearch ? JSON.stringify({ num_results: 2, results }) : "{}");
  });
  using all = registries();
  const rows = await searchImages(all, { term: `${server.host}/we b&`, limit: 7 }, ANONYMOUS, {});
  assert.deepEqual(rows, [{ name: "team/web", description: "", stars: 3, isOfficial: true }]);
});

test("where there is no search the catalog is looked through, page by page, as far as is wanted", async () => {
  await using server = await serve(catalog(["a/web", "b/db", "c/webs", "d/x", "e/my-web", "f/y"]));
  using all = registries();
  const { host } = server;
  const search = (term: string, limit?: number) => searchImages(all, { term: `${host}/${term}`, limit }, ANONYMOUS, {});
  assert.deepEqual(await search("WEB"), [found(`${host}/a/web`), found(`${host}/c/webs`), found(`${host}/e/my-web`)]);
  assert.equal((await search("")).length, 6);
  assert.deepEqual(await search("nothing"), []);
  const before = server.requests.length;
  assert.deepEqual(await search("web", 1), [found(`${host}/a/web`)]);
  assert.deepEqual(
    server.requests
      .slice(before)
      .map(({ url }) => url)
      .filter((url) => url?.includes("_catalog")),
    ["/v2/_catalog?n=1000"],
  );
});

test("a page for people is no search, and a catalog that is not shown is said", async () => {
  await using server = await serve((request, response) => {
    const isCatalog = request.url?.startsWith("/v2/_catalog");
    if (!isCatalog) return answer(request, response, 200, "text/html", "<html>welcome</html>");
    const errors = [{ code: "DENIED", message: "no catalog for you" }];
    answer(request, response, 403, "application/json", JSON.stringify({ errors }));
  });
  using all = registries();
  await assert.rejects(searchImages(all, { term: `${server.host}/web`, limit: 5 }, ANONYMOUS, {}), {
    kind: "forbidden",
    message: `cannot search ${server.host}: it has no search, and does not show its catalog: denied: no catalog for you`,
  });
});

test("a catalog that goes round in circles ends", async () => {
  await using server = await serve((request, response) => {
    if (!request.url?.startsWith("/v2/")) return answer(request, response, 404, "text/plain", "");
    response.setHeader("Link", '</v2/_catalog?n=1&last=a>; rel="next"');
    answer(request, response, 200, "application/json", '{"repositories":["a"]}');
  });
  using all = registries();
  assert.deepEqual(await searchImages(all, { term: `${server.host}/z`, limit: 5 }, ANONYMOUS, {}), []);
  assert.ok(server.requests.length < 10);
});

test("a registry that wants to know who asks is told, its catalog's scope included", async () => {
  await using server = await serve((request, response) => {
    const url = new URL(request.url ?? "", `http://${request.headers.host}`);
    if (url.pathname === "/v1/search") return answer(request, response, 404, "text/plain", "");
    if (url.pathname === "/token") {
      const isJoe = request.headers.authorization === `Basic ${Buffer.from("joe:hunter2").toString("base64")}`;
      const isRight = isJoe && url.searchParams.get("scope") === "registry:catalog:*";
      return answer(request, response, isRight ? 200 : 401, "application/json", isRight ? '{"token":"good"}' : "{}");
    }
    if (request.headers.authorization === "Bearer good") return catalog(["web"])(request, response);
    response.setHeader("WWW-Authenticate", `Bearer realm="http://${request.headers.host}/token",service="test"`);
    answer(request, response, 401, "application/json", "{}");
  });
  using all = registries();
  const term = `${server.host}/web`;
  assert.deepEqual(await searchImages(all, { term, limit: undefined }, JOE, {}), [found(term)]);
  await assert.rejects(searchImages(all, { term, limit: undefined }, ANONYMOUS, {}), (error: Error) => {
    assert.doesNotMatch(error.message, /hunter2/);
    return true;
  });
});

test("a term without a registry goes to Docker Hub's search", async () => {
  const asked: string[] = [];
  const proxy = createServer();
  proxy.on("connect", (request, socket) => {
    asked.push(request.url ?? "");
    socket.end("HTTP/1.1 403 Forbidden\r\n\r\n");
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const { port } = proxy.address() as AddressInfo;
  const proxies = { ...NO_PROXIES, https: `http://127.0.0.1:${port}` };
  using all = registries({ proxies });
  try {
    for (const term of ["web", "team/web", "docker.io/web", "index.docker.io/library/web"]) {
      await assert.rejects(searchImages(all, { term, limit: 5 }, JOE, {}));
    }
    assert.deepEqual([...new Set(asked)], ["index.docker.io:443"]);
  } finally {
    proxy.closeAllConnections();
    await new Promise((resolve) => proxy.close(resolve));
  }
});

test("what is no term or no limit is refused before anybody is asked", async () => {
  using all = registries();
  const refused = async (term: string, limit: number | undefined, message: string): Promise<void> => {
    await assert.rejects(searchImages(all, { term, limit }, ANONYMOUS, {}), { kind: "invalid", message });
  };
  await refused("web", 101, "limit 101 is outside the range of [1, 100]");
  await refused("web", -1, "limit -1 is outside the range of [1, 100]");
  await refused("http://x/web", 1, "invalid repository name: repository name (http://x/web) should not have a scheme");
  await refused("a:b@c/web", 1, 'invalid repository name: "a:b@c" is no registry');
  await refused(`127.0.0.1:1/${"a".repeat(2000)}`, 1, "cannot search: the term is longer than 1000");
});
