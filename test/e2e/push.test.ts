import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { sha256 } from "../archive.ts";
import { NO_DOCKER, startEngine } from "../engine.ts";
import { startFaultyRegistry } from "../faulty-registry.ts";
import { imageOf, layerOf, pushTo, putBlob, randomImage } from "../oci-image.ts";
import { pullWell } from "../pulling.ts";
import { importRandom, push, pushWell, stepsOf } from "../pushing.ts";
import { registryMissing, startRegistry, type TestRegistry } from "../registry.ts";

const SKIP = registryMissing();
const LAYER = 1 << 20;

const engine = SKIP === false ? await startEngine({ image: false }) : undefined;
const registry = SKIP === false ? await startRegistry() : undefined;
after(async () => {
  await registry?.[Symbol.asyncDispose]();
  await engine?.[Symbol.asyncDispose]();
});

interface ManifestJson {
  readonly mediaType: string;
  readonly config: { readonly digest: string };
  readonly layers: readonly { readonly mediaType: string; readonly digest: string; readonly size: number }[];
}

async function manifestAt(at: TestRegistry, repository: string, tag: string) {
  const accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
  const answer = await at.request("GET", `/v2/${repository}/manifests/${tag}`, { headers: { Accept: accept } });
  assert.equal(answer.status, 200);
  return {
    digest: String(answer.headers["docker-content-digest"]),
    json: JSON.parse(answer.body.toString()) as ManifestJson,
  };
}

/** Uploads that registries took whole. */
function uploads(at: TestRegistry): number {
  return at.asked("PUT", "uploads").filter(({ status }) => status === 201).length;
}

async function retag(from: string, repository: string, tag: string): Promise<void> {
  const answer = await engine!.request("POST", `/images/${from}/tag?repo=${repository}&tag=${tag}`);
  assert.equal(answer.status, 201, answer.text);
}

async function digestsOf(name: string): Promise<string[]> {
  return (await engine!.request("GET", `/images/${name}/json`)).json.RepoDigests;
}

describe("push", { skip: SKIP }, () => {
  test("tells what Docker tells, line by line", async () => {
    const name = `${registry!.host}/lines`;
    const tar = await importRandom(engine!, `${name}:1`, "lines", LAYER);
    const id = sha256(tar).slice(0, 12);
    const first = await pushWell(engine!, name, "1");
    assert.deepEqual(stepsOf(first.lines, id), ["Preparing", "Pushing", "Pushed"]);
    const bars = first.lines.filter(({ status }) => status === "Pushing");
    assert.deepEqual(bars.at(-1)?.progressDetail, { current: tar.length, total: tar.length });
    assert.match(bars[0]?.progress ?? "", /^\[=*> *\] /);
    const { digest } = await manifestAt(registry!, "lines", "1");
    assert.equal(first.digest, digest);
    const again = await pushWell(engine!, name, "1");
    const size = again.lines.at(-1)?.aux?.Size;
    assert.equal(
      again.text,
      [
        { status: `The push refers to repository [${name}]` },
        { status: "Preparing", progressDetail: {}, id },
        { status: "Layer already exists", progressDetail: {}, id },
        { status: `1: digest: ${digest} size: ${size}` },
        { progressDetail: {}, aux: { Tag: "1", Digest: digest, Size: size } },
      ]
        .map((line) => `${JSON.stringify(line)}\r\n`)
        .join(""),
    );
  });

  test("keeps the digest of what was pulled, whatever its media types and compressions are", async () => {
    const kinds = [
      { mediaTypes: "docker", compression: "gzip" },
      { mediaTypes: "oci", compression: "zstd" },
      { mediaTypes: "oci", compression: "none" },
      { mediaTypes: "docker", compression: "gzip-members" },
    ] as const;
    await using target = await startRegistry();
    for (const [index, kind] of kinds.entries()) {
      const layers = [1, 2].map((n) => layerOf([{ name: `file${n}`, body: `${n} of ${index}` }], kind));
      const image = imageOf({ layers, mediaTypes: kind.mediaTypes, process: { Cmd: [String(index)] } });
      await pushTo(registry!, `kinds:${index}`, image);
      await pullWell(engine!, `${registry!.host}/kinds`, { tag: String(index) });
      await retag(`${registry!.host}/kinds:${index}`, `${target.host}/kinds`, String(index));
      const { digest } = await pushWell(engine!, `${target.host}/kinds`, String(index));
      assert.equal(digest, image.manifest.digest, JSON.stringify(kind));
      assert.equal((await manifestAt(target, "kinds", String(index))).digest, image.manifest.digest);
      assert.ok((await digestsOf(`${target.host}/kinds:${index}`)).includes(`${target.host}/kinds@${digest}`));
    }
  });

  test("compresses the layers of images made here, and gives them the same manifest each time", async () => {
    const name = `${registry!.host}/made`;
    const tar = await importRandom(engine!, `${name}:1`, "made", LAYER);
    const { digest } = await pushWell(engine!, name, "1");
    const { json } = await manifestAt(registry!, "made", "1");
    assert.equal(json.mediaType, "application/vnd.oci.image.manifest.v1+json");
    const [layer] = json.layers;
    assert.equal(layer?.mediaType, "application/vnd.oci.image.layer.v1.tar+gzip");
    const { body } = await registry!.request("GET", `/v2/made/blobs/${layer?.digest}`);
    assert.equal(body.length, layer?.size);
    assert.equal(sha256(gunzipSync(body)), sha256(tar));
    assert.deepEqual(await digestsOf(`${name}:1`), [`${name}@${digest}`]);
    // Pulled and pushed on by another engine it is the same, and this one remembers after a restart.
    await using other = await startEngine({ image: false });
    await using elsewhere = await startRegistry();
    await pullWell(other, name, { tag: "1" });
    await other.request("POST", `/images/${name}:1/tag?repo=${elsewhere.host}/made&tag=1`);
    assert.equal((await pushWell(other, `${elsewhere.host}/made`, "1")).digest, digest);
    await engine!.restart();
    registry!.forget();
    assert.equal((await pushWell(engine!, name, "1")).digest, digest);
    assert.equal(registry!.asked("POST", "uploads").length, 0);
  });

  test("pushes what was committed on what was pulled: the layers below stay as they are", async () => {
    const image = imageOf({
      layers: [layerOf([{ name: "below", body: "below" }], { mediaTypes: "docker" })],
      mediaTypes: "docker",
    });
    await pushTo(registry!, "base:1", image);
    await pullWell(engine!, `${registry!.host}/base`, { tag: "1" });
    const made = await engine!.request("POST", "/containers/create", {
      Image: `${registry!.host}/base:1`,
      Cmd: ["/x"],
    });
    assert.equal(made.status, 201, made.text);
    const archive = await importRandom(engine!, "unused:1", "committed", 5000);
    const put = await engine!.request("PUT", `/containers/${made.json.Id}/archive?path=/`, archive, {
      "Content-Type": "application/x-tar",
    });
    assert.equal(put.status, 200, put.text);
    const name = `${registry!.host}/committed`;
    const committed = await engine!.request("POST", `/commit?container=${made.json.Id}&repo=${name}&tag=1`, {});
    assert.equal(committed.status, 201, committed.text);
    await engine!.request("DELETE", `/containers/${made.json.Id}?force=1`);
    const { lines } = await pushWell(engine!, name, "1");
    assert.ok(lines.some(({ status }) => status === "Mounted from base"));
    const { json } = await manifestAt(registry!, "committed", "1");
    assert.equal(json.layers[0]?.digest, image.layers[0]?.digest);
    assert.deepEqual(
      new Set(json.layers.map(({ mediaType }) => mediaType)),
      new Set(["application/vnd.oci.image.layer.v1.tar+gzip"]),
    );
    await using other = await startEngine({ image: false });
    await pullWell(other, name, { tag: "1" });
  });

  test("pushes all tags of a repository, and mounts what another repository has", async () => {
    const name = `${registry!.host}/team/tags`;
    await importRandom(engine!, `${name}:a`, "tags", LAYER);
    await retag(`${name}:a`, name, "b");
    registry!.forget();
    const { lines } = await pushWell(engine!, name, "");
    assert.deepEqual(
      lines.flatMap(({ aux }) => aux?.Tag ?? []),
      ["a", "b"],
    );
    assert.equal(uploads(registry!), 2);
    await retag(`${name}:a`, `${registry!.host}/team/other`, "a");
    registry!.forget();
    const mounted = await pushWell(engine!, `${registry!.host}/team/other`, "a");
    assert.ok(mounted.lines.some(({ status }) => status === "Mounted from team/tags"));
    assert.equal(uploads(registry!), 0);
    assert.equal(mounted.digest, lines.at(-1)?.aux?.Digest);
  });

  test("uploads each blob once, however many pushes want it", async () => {
    const name = `${registry!.host}/many`;
    await importRandom(engine!, `${name}:1`, "many", 8 * LAYER);
    await retag(`${name}:1`, name, "2");
    await retag(`${name}:1`, `${registry!.host}/many2`, "1");
    registry!.forget();
    const all = await Promise.all([
      pushWell(engine!, name, "1"),
      pushWell(engine!, name, "1"),
      pushWell(engine!, name, "2"),
      pushWell(engine!, `${registry!.host}/many2`, "1"),
    ]);
    assert.equal(new Set(all.map(({ digest }) => digest)).size, 1);
    assert.equal(uploads(registry!), 2);
    assert.equal(registry!.asked("PATCH", "uploads").length, 1);
  });

  test("says what isn't there, and what can't be pushed", async () => {
    const host = registry!.host;
    await importRandom(engine!, `${host}/there:1`, "there", 1000);
    const refusals: [string, string, string][] = [
      [`${host}/nowhere`, "1", `An image does not exist locally with the tag: ${host}/nowhere`],
      [`${host}/there`, "2", `tag does not exist: ${host}/there:2`],
      [`${host}/there@sha256:${"a".repeat(64)}`, "", "cannot push a digest reference"],
      [`${host}/There`, "1", "invalid reference format: repository name (There) must be lowercase"],
      [`${host}/there`, "%", "invalid tag format"],
    ];
    for (const [name, tag, message] of refusals) assert.equal((await push(engine!, name, tag)).error, message);
    const platform = { os: "linux", architecture: "s390x" };
    const other = await push(engine!, `${host}/there`, "1", { platform });
    assert.equal(other.status, 404);
    assert.match(other.error, /^image with reference .* was found but its platform \(linux\/\w+\) does not match/);
    await retag(`${host}/there:1`, "127.0.0.1:1/there", "1");
    const { error } = await push(engine!, "127.0.0.1:1/there", "1");
    assert.match(error, /^Get "http:\/\/127\.0\.0\.1:1\/v2\/": dial tcp 127\.0\.0\.1:1: connect: connection refused$/);
  });

  test("proves itself by password or token, and is refused in Docker's words", async () => {
    const auth = { username: "joe", password: "secret" };
    await using basic = await startRegistry({ htpasswd: { joe: "secret" } });
    await importRandom(engine!, `${basic.host}/mine:1`, "mine", 1000);
    const nobody = await push(engine!, `${basic.host}/mine`, "1");
    assert.match(nobody.error, /no basic auth credentials$/);
    const wrong = await push(engine!, `${basic.host}/mine`, "1", { auth: { ...auth, password: "guess" } });
    assert.equal(wrong.error, "unauthorized: authentication required");
    await pushWell(engine!, `${basic.host}/mine`, "1", { auth });

    await using tokens = await startRegistry({ token: { users: { joe: "secret" } } });
    await retag(`${basic.host}/mine:1`, `${tokens.host}/joe/a`, "1");
    await retag(`${basic.host}/mine:1`, `${tokens.host}/joe/b`, "1");
    await pushWell(engine!, `${tokens.host}/joe/a`, "1", { auth });
    const mounted = await pushWell(engine!, `${tokens.host}/joe/b`, "1", { auth });
    assert.ok(mounted.lines.some(({ status }) => status === "Mounted from joe/a"));
  });

  test("leaves foreign layers where they are, unless the registry is to have them", async () => {
    await using shelf = await startFaultyRegistry();
    const content = [{ name: "foreign", body: "foreign" }];
    const shelved = layerOf(content, { mediaTypes: "docker" });
    await putBlob(shelf, "shelf", shelved);
    const urls = [`${shelf.url}/v2/shelf/blobs/${shelved.digest}`];
    const foreign = layerOf(content, { mediaTypes: "docker", urls });
    const own = layerOf([{ name: "own", body: "own" }], { mediaTypes: "docker" });
    const image = imageOf({ layers: [own, foreign], mediaTypes: "docker" });
    await pushTo(registry!, "foreign:1", image);
    await pullWell(engine!, `${registry!.host}/foreign`, { tag: "1" });
    await using target = await startRegistry();
    await retag(`${registry!.host}/foreign:1`, `${target.host}/foreign`, "1");
    const { lines, digest } = await pushWell(engine!, `${target.host}/foreign`, "1");
    assert.ok(lines.some(({ status, id }) => status === "Skipped foreign layer" && id === foreign.diffId.slice(7, 19)));
    assert.equal(digest, image.manifest.digest);
    assert.equal((await target.request("HEAD", `/v2/foreign/blobs/${foreign.digest}`)).status, 404);

    await using takes = await startEngine({
      image: false,
      args: ["--allow-nondistributable-artifacts", "127.0.0.0/8"],
    });
    await pullWell(takes, `${registry!.host}/foreign`, { tag: "1" });
    await takes.request("POST", `/images/${registry!.host}/foreign:1/tag?repo=${target.host}/foreign&tag=2`);
    assert.equal((await pushWell(takes, `${target.host}/foreign`, "2")).digest, image.manifest.digest);
    assert.equal((await target.request("HEAD", `/v2/foreign/blobs/${foreign.digest}`)).status, 200);
  });

  test("tells of itself in events and figures", async () => {
    const name = `${registry!.host}/told`;
    await importRandom(engine!, `${name}:1`, "told", 1000);
    const since = Math.trunc(Date.now() / 1000) - 1;
    await pushWell(engine!, name, "1");
    await pushWell(engine!, name, "");
    const until = Math.trunc(Date.now() / 1000) + 1;
    const filters = encodeURIComponent(JSON.stringify({ event: ["push"] }));
    const { text } = await engine!.request("GET", `/events?since=${since}&until=${until}&filters=${filters}`);
    const actors = text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line).Actor)
      .filter((actor) => actor.Attributes.name === name);
    assert.deepEqual(
      actors.map(({ ID }) => ID),
      [`${name}:1`, name],
    );
    const metrics = (await engine!.request("GET", "/metrics")).text;
    assert.match(metrics, /^gantry_image_pushes_total\{result="done"\} [1-9]/m);
  });

  test("asks little where there is nothing to do", async () => {
    const image = randomImage("nothing", { layers: 10, size: 1000 });
    await pushTo(registry!, "nothing:1", image);
    await pullWell(engine!, `${registry!.host}/nothing`, { tag: "1" });
    await pushWell(engine!, `${registry!.host}/nothing`, "1");
    registry!.forget();
    await pushWell(engine!, `${registry!.host}/nothing`, "1");
    const asked = registry!.requests.map(({ method, path }) => `${method} ${path.replace(/sha256:.*/, "")}`);
    assert.deepEqual(asked, ["HEAD /v2/nothing/manifests/", "PUT /v2/nothing/manifests/1"]);
    // Of a registry that has lost a blob since, each is asked for, and what is missing comes again.
    const [layer] = image.layers;
    rmSync(join(registry!.storage, "docker/registry/v2/repositories/nothing/_layers/sha256", layer!.digest.slice(7)), {
      recursive: true,
    });
    const { lines } = await pushWell(engine!, `${registry!.host}/nothing`, "1");
    assert.deepEqual(stepsOf(lines, layer!.diffId.slice(7, 19)).at(-1), "Pushed");
    assert.equal((await registry!.request("HEAD", `/v2/nothing/blobs/${layer!.digest}`)).status, 200);
  });

  test("looks the same through both clients", { skip: NO_DOCKER }, async () => {
    const name = `${registry!.host}/clients`;
    await importRandom(engine!, `${name}:1`, "clients", LAYER);
    await pushWell(engine!, name, "1");
    for (const tool of ["docker", "gantry"] as const) {
      const { code, stdout, stderr } = await engine!.tool(tool, ["push", `${name}:1`]);
      assert.equal(code, 0, stderr);
      const lines = stdout.trim().split("\n");
      assert.equal(lines[0], `The push refers to repository [${name}]`);
      assert.match(lines.at(-1) ?? "", /^1: digest: sha256:[a-f0-9]{64} size: \d+$/);
      const missing = await engine!.tool(tool, ["push", `${name}:none`]);
      assert.equal(missing.code, 1);
      assert.match(missing.stderr, /tag does not exist: .*clients:none/);
    }
  });
});
