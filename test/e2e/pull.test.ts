import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { tarOf } from "../archive.ts";
import { finish } from "../command.ts";
import { NO_DOCKERD, TestDockerd } from "../dockerd.ts";
import { type Answer, NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { artifact, imageOfTooFewDiffIds, imageOfWrongDiffId, indexOfOthers } from "../faulty-images.ts";
import { startFaultyRegistry } from "../faulty-registry.ts";
import { HOST_PLATFORM, imageOf, indexOf, layerOf, pushTo, randomImage, type TestImage } from "../oci-image.ts";
import type { ProgressLine } from "../progress-lines.ts";
import { followPull, pull, pullWell, rowsOf } from "../pulling.ts";
import { registryMissing, startRegistry, type TestRegistry } from "../registry.ts";

const ARM = { os: "linux", architecture: process.arch === "arm64" ? "amd64" : "arm64" };
const ZEROS = `sha256:${"0".repeat(64)}`;

describe("pull", { skip: registryMissing() }, () => {
  let engine: TestEngine;
  let registry: TestRegistry;

  before(async () => {
    registry = await startRegistry();
    engine = await startEngine();
  });

  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
  });

  const image = async (name: string, platform?: object): Promise<Answer["json"]> => {
    const query = platform === undefined ? "" : `?platform=${encodeURIComponent(JSON.stringify(platform))}`;
    return (await engine.request("GET", `/images/${registry.host}/${name}/json${query}`)).json;
  };
  const exactly = (text: string): RegExp => new RegExp(text.replaceAll(/[.*+?()[\]/]/g, "\\$&"));

  test("an image's layers, config and names are as its author made them", async () => {
    const layers = [
      layerOf([{ name: "etc/a", body: "a\n" }]),
      layerOf([{ name: "etc/b", body: "b\n" }], { compression: "zstd" }),
    ];
    const made = imageOf({ layers, process: { Cmd: ["/x"], Labels: { who: "me" } } });
    const digest = await pushTo(registry, "team/app:1", made);
    const { lines } = await pullWell(engine, `${registry.host}/team/app`, { tag: "1" });
    assert.deepEqual(lines[0], { status: "Pulling from team/app", id: "1" });
    assert.deepEqual(lines.slice(-2), [
      { status: `Digest: ${digest}` },
      { status: `Status: Downloaded newer image for ${registry.host}/team/app:1` },
    ]);
    for (const row of rowsOf(lines).values()) {
      const words = row.filter((word) => word !== "Waiting");
      const steps = ["Pulling fs layer", "Downloading", "Verifying Checksum", "Download complete", "Extracting"];
      assert.deepEqual(words, [...steps, "Pull complete"]);
    }
    assert.equal(rowsOf(lines).size, 2);
    const shown = await image("team/app:1");
    assert.equal(shown.Id, made.config.digest);
    assert.deepEqual(shown.RepoTags, [`${registry.host}/team/app:1`]);
    assert.deepEqual(shown.RepoDigests, [`${registry.host}/team/app@${digest}`]);
    assert.deepEqual(
      shown.RootFS.Layers,
      layers.map(({ diffId }) => diffId),
    );
    assert.deepEqual(shown.Config.Cmd, ["/x"]);
    const byDigest = (await engine.request("GET", `/images/${registry.host}/team/app@${digest}/json`)).json;
    assert.equal(byDigest.Id, shown.Id);
  });

  test("what has not changed costs one HEAD", async () => {
    const digest = await pushTo(registry, "same:1", imageOf());
    await pullWell(engine, `${registry.host}/same`, { tag: "1" });
    registry.forget();
    const { lines } = await pullWell(engine, `${registry.host}/same`, { tag: "1" });
    assert.deepEqual(lines, [
      { status: "Pulling from same", id: "1" },
      { status: `Digest: ${digest}` },
      { status: `Status: Image is up to date for ${registry.host}/same:1` },
    ]);
    assert.deepEqual(
      registry.requests.map(({ method, path }) => `${method} ${path}`),
      ["HEAD /v2/same/manifests/1"],
    );
    registry.forget();
    await pullWell(engine, `${registry.host}/same`, { tag: digest });
    assert.deepEqual(
      registry.requests.map(({ method, path }) => `${method} ${path}`),
      [`HEAD /v2/same/manifests/${digest}`],
      "a digest can't mean something else than before, but a client may have no right to it",
    );
  });

  test("what is here is pulled by nobody whom its registry refuses, by tag or by digest", async () => {
    await using guarded = await startFaultyRegistry({ auth: "bearer" });
    const digest = guarded.add("private:1", randomImage("private", { layers: 1, size: 10_000 }));
    const auth = { username: "joe", password: "secret" };
    await pullWell(engine, `${guarded.host}/private`, { tag: "1", auth });
    for (const tag of ["1", digest]) {
      const { error } = await pull(engine, `${guarded.host}/private`, { tag });
      assert.match(error, /unauthorized: authentication required/);
      await pullWell(engine, `${guarded.host}/private`, { tag, auth });
    }
  });

  test("a pull goes through whose registry is good, though it began as a part of one whose isn't", async () => {
    await using good = await startFaultyRegistry();
    await using bad = await startFaultyRegistry();
    const shared = randomImage("shared by two registries", { layers: 2, size: 2 << 20 });
    for (const each of [good, bad]) each.add("shared:1", shared);
    const { digest } = shared.layers[0]!;
    bad.misbehave(
      { on: "blob", of: digest, act: { kind: "wrong-bytes" } },
      { on: "blob", of: digest, act: { kind: "slow", bytesPerSecond: 2 << 20 } },
    );
    const begun = Promise.withResolvers<void>();
    const first = followPull(engine, `${bad.host}/shared`, "1", ({ status }) => {
      if (status === "Downloading") begun.resolve();
    });
    await begun.promise;
    await pullWell(engine, `${good.host}/shared`, { tag: "1" });
    assert.match((await first.ended).at(-1)?.error ?? "", /^filesystem layer verification failed for digest/);
  });

  test("a tag that moved leaves the old image without a name", async () => {
    const [one, two] = [imageOf({ process: { Cmd: ["/1"] } }), imageOf({ process: { Cmd: ["/2"] } })];
    await pushTo(registry, "moved:1", one);
    await pullWell(engine, `${registry.host}/moved`, { tag: "1" });
    await pushTo(registry, "moved:1", two);
    const { lines } = await pullWell(engine, `${registry.host}/moved`, { tag: "1" });
    assert.equal(lines.at(-1)?.status, `Status: Downloaded newer image for ${registry.host}/moved:1`);
    assert.deepEqual(rowsOf(lines).size, 1, "the layer is told of");
    assert.deepEqual([...rowsOf(lines).values()], [["Already exists"]]);
    assert.equal((await image("moved:1")).Id, two.config.digest);
    const old = (await engine.request("GET", `/images/${one.config.digest}/json`)).json;
    assert.deepEqual(old.RepoTags, []);
    assert.deepEqual(old.RepoDigests, [`${registry.host}/moved@${one.manifest.digest}`]);
    const pruned = (await engine.request("POST", "/images/prune")).json;
    assert.ok(JSON.stringify(pruned).includes(one.config.digest), JSON.stringify(pruned));
  });

  test("a tag that moved keeps the old image's other name", async () => {
    const [one, two] = [imageOf({ process: { Cmd: ["/3"] } }), imageOf({ process: { Cmd: ["/4"] } })];
    await pushTo(registry, "kept:1", one);
    await pullWell(engine, `${registry.host}/kept`, { tag: "1" });
    await engine.request("POST", `/images/${registry.host}/kept:1/tag?repo=mine&tag=old`);
    await pushTo(registry, "kept:1", two);
    await pullWell(engine, `${registry.host}/kept`, { tag: "1" });
    assert.deepEqual((await engine.request("GET", "/images/mine:old/json")).json.RepoTags, ["mine:old"]);
  });

  test("the name may have tag or digest, and `tag` takes its place", async () => {
    const [one, two] = [imageOf({ process: { Cmd: ["/5"] } }), imageOf({ process: { Cmd: ["/6"] } })];
    const digest = await pushTo(registry, "names:1", one);
    await pushTo(registry, "names:2", two);
    const { host } = registry;
    const told = async (from: string, tag?: string): Promise<string> => {
      const { lines } = await pullWell(engine, from, tag === undefined ? {} : { tag });
      return `${lines[0]?.id} ${lines.at(-1)?.status?.replace(/^.* for /, "")}`.replaceAll(`${host}/`, "");
    };
    assert.equal(await told(`${host}/names:1`), "1 names:1");
    assert.equal(await told(`${host}/names:1`, "2"), "2 names:2");
    assert.equal(await told(`${host}/names`, digest), `names@${digest} names@${digest}`);
    assert.equal(await told(`${host}/names@${digest}`), `names@${digest} names@${digest}`);
    assert.equal(await told(`${host}/names:`, "1"), "1 names:1");
    assert.equal(await told(`${host}/names@${digest}`, "2"), `names:2@${digest} names:2@${digest}`);
    assert.equal((await image("names:2")).Id, two.config.digest, "a digest moves no tag");
  });

  test("without a tag all of them are pulled", async () => {
    const shared = layerOf([{ name: "shared", body: "shared" }]);
    for (const tag of ["a", "b", "c"]) {
      const own = layerOf([{ name: "own", body: tag }]);
      await pushTo(registry, `many:${tag}`, imageOf({ layers: [shared, own] }));
    }
    const { lines } = await pullWell(engine, `${registry.host}/many`);
    const beginnings = lines.filter(({ status }) => status === "Pulling from many").map(({ id }) => id);
    assert.deepEqual(beginnings.sort(), ["a", "b", "c"]);
    assert.equal(lines.at(-1)?.status, `Status: Downloaded newer image for ${registry.host}/many`);
    assert.equal(registry.asked("GET", "blobs").filter(({ path }) => path.endsWith(shared.digest)).length, 1);
    const again = await pullWell(engine, `${registry.host}/many`);
    assert.equal(again.lines.at(-1)?.status, `Status: Image is up to date for ${registry.host}/many`);
  });

  test("of an index the image for the platform is taken, by variant, from indexes inside, past attestations", async () => {
    const make = (architecture: string, variant?: string): TestImage =>
      imageOf({ platform: { os: "linux", architecture, ...(variant !== undefined && { variant }) } });
    const [v6, v7, amd, i386, arm64] = [
      make("arm", "v6"),
      make("arm", "v7"),
      make("amd64"),
      make("386"),
      make("arm64"),
    ];
    const inside = indexOf([i386, amd, arm64]);
    const index = indexOf([v6, v7, inside], { attestations: true });
    const digest = await pushTo(registry, "index:1", index);
    const chosen = async (platform: string): Promise<string> => {
      const { lines } = await pullWell(engine, `${registry.host}/index`, { tag: "1", platform });
      assert.equal(lines.at(-2)?.status, `Digest: ${digest}`);
      const [os, architecture, variant] = platform.replace("x86_64", "amd64").split("/");
      return (await image("index:1", { os, architecture, variant })).Id;
    };
    assert.equal(await chosen("linux/arm/v7"), v7.config.digest);
    assert.equal(await chosen("linux/arm/v6"), v6.config.digest);
    assert.equal(await chosen("linux/arm"), v7.config.digest);
    assert.equal(await chosen("linux/x86_64"), amd.config.digest);
    assert.equal(await chosen("linux/386"), i386.config.digest);
    assert.equal(await chosen("linux/arm64/v8"), arm64.config.digest);
    const own = HOST_PLATFORM.architecture === "arm64" ? arm64 : amd;
    assert.equal((await image("index:1")).Id, own.config.digest, "the machine's own is what the name means");
    assert.ok((await image("index:1")).RepoDigests.includes(`${registry.host}/index@${digest}`));
    registry.forget();
    const same = await pullWell(engine, `${registry.host}/index`, { tag: "1", platform: "linux/arm64" });
    assert.match(same.lines.at(-1)?.status ?? "", /^Status: Image is up to date/);
    assert.equal(registry.requests.length, 1);
  });

  test("a platform that an index lacks is refused, and those it has are named", async () => {
    await pushTo(registry, "others:1", indexOfOthers());
    const { error, status } = await pull(engine, `${registry.host}/others`, { tag: "1", platform: "linux/amd64" });
    assert.equal(status, 200, "the beginning was told");
    assert.match(
      error,
      /^no matching manifest for linux\/amd64 in the manifest list entries: there is one for linux\//,
    );
  });

  test("an image of another platform than the wanted one is pulled with a warning", async () => {
    await pushTo(registry, "alone:1", imageOf({ platform: ARM }));
    const wanted = "linux/s390x";
    const { lines } = await pullWell(engine, `${registry.host}/alone`, { tag: "1", platform: wanted });
    assert.equal(
      lines.at(-1)?.status,
      `WARNING: image with reference ${registry.host}/alone:1 was found but its platform (linux/${ARM.architecture}) does not match the specified platform (${wanted})`,
    );
    const name = `${registry.host}/alone:1`;
    const made = await engine.request("POST", "/containers/create", { Image: name, Cmd: ["x"] });
    assert.match(
      made.json.Warnings[0],
      /^The requested image's platform \(linux\/\w+\) does not match the detected host/,
    );
    const refused = await engine.request("POST", `/containers/create?platform=${wanted}`, { Image: name, Cmd: ["x"] });
    assert.equal(refused.status, 404);
    await engine.request("DELETE", `/containers/${made.json.Id}`);
  });

  test("what is no image is refused by its type", async () => {
    await pushTo(registry, "chart:1", artifact());
    const chart = await pull(engine, `${registry.host}/chart`, { tag: "1" });
    assert.match(chart.error, exactly(`${registry.host}/chart:1 is an artifact and not an image`));
    assert.match(chart.error, /^unsupported media type application\//);
    const [row] = imageOf().layers;
    const attestation = imageOf({ layers: [{ ...row!, mediaType: "application/vnd.in-toto+json" }] });
    await pushTo(registry, "attestation:1", attestation);
    const { error } = await pull(engine, `${registry.host}/attestation`, { tag: "1" });
    assert.match(error, /^unsupported media type application\/vnd\.in-toto\+json: /);
  });

  test("an image whose config and layers disagree is refused, and leaves no image", async () => {
    const before = (await engine.request("GET", "/images/json?all=1")).json.length;
    for (const [name, made] of Object.entries({ few: imageOfTooFewDiffIds(), wrong: imageOfWrongDiffId() })) {
      await pushTo(registry, `${name}:1`, made);
      const { error } = await pull(engine, `${registry.host}/${name}`, { tag: "1" });
      assert.match(error, /^layers from manifest don't match image configuration/, name);
    }
    assert.equal((await engine.request("GET", "/images/json?all=1")).json.length, before);
  });

  const hostile: Readonly<Record<string, readonly [Parameters<typeof imageOf>[0], RegExp]>> = {
    "a volume in place of the root": [{ process: { Volumes: { "/": {} } } }, /config\.Volumes.*root folder/],
    "a volume without a path": [{ process: { Volumes: { "": {} } } }, /config\.Volumes.*root folder/],
    "a volume that climbs": [{ process: { Volumes: { "/a/../..": {} } } }, /config\.Volumes.*"\.\."/],
    "NUL in a variable": [{ process: { Env: ["A=b\0c"] } }, /config\.Env\.0: it has a NUL/],
    "NUL in the user": [{ process: { User: "0\0" } }, /config\.User: it has a NUL/],
    "a health check in words": [{ process: { Healthcheck: { Interval: "1s" } } }, /config\.Healthcheck\.Interval/],
    "a time that is none": [{ editConfig: (config) => ({ ...config, created: "soon" }) }, /created: not a time/],
    "a hundred thousand layers": [{ diffIds: Array.from({ length: 100_000 }, () => ZEROS) }, /max depth exceeded/],
    "no JSON": [{ config: Buffer.from("no") }, /it is not JSON/],
    "another system": [{ editConfig: (config) => ({ ...config, os: "windows" }) }, /^image operating system "windows"/],
  };
  for (const [what, [options, message]] of Object.entries(hostile)) {
    test(`a config of ${what} is refused in one sentence`, async () => {
      const name = what.replaceAll(/\W/g, "-").toLowerCase();
      await pushTo(registry, `hostile/${name}:1`, imageOf(options));
      const { error } = await pull(engine, `${registry.host}/hostile/${name}`, { tag: "1" });
      assert.match(error, message);
      assert.doesNotMatch(error, /[\n\0]/);
    });
  }

  test("names and platforms that are none are refused with 400, what isn't there with 404", async () => {
    await pushTo(registry, "there:1", imageOf());
    const { host } = registry;
    const table: readonly (readonly [string, string, string, number, RegExp])[] = [
      [`${host}/there`, "-bad", "", 400, /^invalid tag format$/],
      [`${host}/there`, "sha256:abc", "", 400, /^invalid tag format$/],
      [`${host}/There`, "1", "", 400, /must be lowercase/],
      [`${host}/there`, "1", "nonsense", 400, /unknown operating system or architecture/],
      ["0".repeat(64), "", "", 400, /cannot specify 64-byte hexadecimal strings/],
      [`sha256:${"0".repeat(64)}`, "", "", 404, /^pull access denied for sha256/],
      [`${host}/there`, "2", "", 404, exactly(`manifest for ${host}/there:2 not found: manifest unknown`)],
      [`${host}/there`, ZEROS, "", 404, exactly(`manifest for ${host}/there@${ZEROS} not found: manifest unknown`)],
      [`${host}/nowhere`, "1", "", 404, exactly(`manifest for ${host}/nowhere:1 not found: manifest unknown`)],
      [`${host}/nowhere`, "", "", 404, exactly(`repository ${host}/nowhere not found: name unknown`)],
      ["127.0.0.1:1/x", "1", "", 500, /dial tcp 127\.0\.0\.1:1: connect: connection refused$/],
    ];
    for (const [from, tag, platform, status, message] of table) {
      const answer = await pull(engine, from, { tag, ...(platform !== "" && { platform }) });
      assert.equal(answer.status, status, `${from} ${tag}: ${answer.text}`);
      assert.match(answer.error, message);
    }
  });

  test("three pulls of one image are one download, and all are told of it", async () => {
    await pushTo(registry, "big:1", randomImage("three", { layers: 3, size: 6 << 20 }));
    registry.forget();
    const pulls = await Promise.all([1, 2, 3].map(() => pullWell(engine, `${registry.host}/big`, { tag: "1" })));
    assert.equal(registry.asked("GET", "manifests").length, 1);
    assert.equal(registry.asked("GET", "blobs").length, 4, "three layers and a config");
    for (const { lines } of pulls) {
      assert.deepEqual(lines[0], { status: "Pulling from big", id: "1" });
      assert.deepEqual(
        [...rowsOf(lines).values()].map((row) => row.at(-1)),
        ["Pull complete", "Pull complete", "Pull complete"],
      );
      assert.match(lines.at(-1)?.status ?? "", /^Status: Downloaded newer image/);
    }
  });

  test("the metrics tell what the time of the layers went to, each counted once", async () => {
    const figures = async (): Promise<ReadonlyMap<string, number>> => {
      const { text } = await engine.request("GET", "/metrics");
      const rows = [...text.matchAll(/^(gantry_(?:image_layer|engine_thread)\S+) (\S+)$/gm)];
      return new Map(rows.map(([, name = "", value]) => [name, Number(value)]));
    };
    const made = randomImage("metered", { layers: 2, size: 4 << 20 });
    await pushTo(registry, "metered:1", made);
    const before = await figures();
    const began = performance.now();
    await Promise.all([1, 2].map(() => pullWell(engine, `${registry.host}/metered`, { tag: "1" })));
    const seconds = (performance.now() - began) / 1000;
    const now = await figures();
    const since = (name: string): number => (now.get(name) ?? Number.NaN) - (before.get(name) ?? Number.NaN);
    const received = made.layers.reduce((sum, { bytes }) => sum + bytes.length, 0);
    assert.equal(since('gantry_image_layer_bytes_total{what="received"}'), received);
    assert.ok(since('gantry_image_layer_bytes_total{what="unpacked"}') > 8 << 20);
    for (const part of ["digest", "expand", "tar-digest", "extract", "network", "store", "sync", "commit"]) {
      const spent = since(`gantry_image_layer_seconds_total{part="${part}"}`);
      assert.ok(spent > 0 && spent < made.layers.length * seconds, `${part}: ${spent} of ${seconds} s`);
    }
    assert.ok(since("gantry_image_layer_threads_cpu_seconds_total") > 0);
    assert.ok(since("gantry_engine_thread_cpu_seconds_total") > 0);
  });

  test("names of one repository that are pulled at once share their layers", async () => {
    const made = randomImage("two-names", { layers: 2, size: 16 << 20 });
    await pushTo(registry, "pair:a", made);
    await pushTo(registry, "pair:b", imageOf({ layers: made.layers, process: { Cmd: ["/other"] } }));
    registry.forget();
    await Promise.all(["a", "b"].map((tag) => pullWell(engine, `${registry.host}/pair`, { tag })));
    for (const { digest } of made.layers) {
      assert.equal(registry.asked("GET", "blobs").filter(({ path }) => path.endsWith(digest)).length, 1);
    }
  });

  test("whoever leaves a pull leaves it to the others", async () => {
    await pushTo(registry, "left:1", randomImage("left", { layers: 2, size: 24 << 20 }));
    registry.forget();
    const moving = Promise.withResolvers<void>();
    const onLine = ({ status }: ProgressLine): void => void (status === "Downloading" && moving.resolve());
    const first = followPull(engine, `${registry.host}/left`, "1", onLine);
    await moving.promise;
    const second = followPull(engine, `${registry.host}/left`, "1");
    const third = followPull(engine, `${registry.host}/left`, "1", () => first.leave());
    for (const lines of await Promise.all([second.ended, third.ended])) {
      assert.match(lines.at(-1)?.status ?? "", /^Status: Downloaded newer image/);
    }
    await assert.rejects(first.ended);
    assert.equal(registry.asked("GET", "blobs").length, 3);
  });

  test("the progress of a large layer is told in bounds, with a bar for clients that draw none", async () => {
    await pushTo(registry, "bar:1", randomImage("bar", { layers: 1, size: 40 << 20 }));
    const started = performance.now();
    const { lines } = await pullWell(engine, `${registry.host}/bar`, { tag: "1" });
    const tenths = (performance.now() - started) / 100;
    const moving = lines.filter(({ progress }) => progress !== undefined);
    assert.ok(moving.length <= tenths + 8, `${moving.length} lines in ${tenths} tenths of a second`);
    for (const { progress = "", progressDetail } of moving) {
      assert.match(progress, /^\[=*> *\] +[\d.]+[kM]?B\/[\d.]+MB$/);
      assert.ok((progressDetail?.current ?? -1) <= (progressDetail?.total ?? 0));
    }
  });

  test("a pull is an event under the name, with the image's labels, also where nothing was to do", async () => {
    await pushTo(registry, "event:1", imageOf({ process: { Labels: { colour: "blue" } } }));
    const since = Math.floor(Date.now() / 1000);
    await pullWell(engine, `${registry.host}/event`, { tag: "1" });
    await pullWell(engine, `${registry.host}/event`, { tag: "1" });
    const until = Math.ceil(Date.now() / 1000) + 1;
    const filters = encodeURIComponent(JSON.stringify({ event: ["pull"], image: [`${registry.host}/event:1`] }));
    const { text } = await engine.request("GET", `/events?since=${since}&until=${until}&filters=${filters}`);
    const events = text
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line));
    assert.equal(events.length, 2, text);
    assert.deepEqual(events[0].Actor, {
      ID: `${registry.host}/event:1`,
      Attributes: { colour: "blue", name: `${registry.host}/event` },
    });
  });

  describe("by docker's CLI", { skip: NO_DOCKER }, () => {
    let busybox: string;

    before(async () => {
      // A real program, so that what was pulled can run.
      const layer = layerOf(tarOf([{ name: "bin/sh", body: readFileSync("/bin/busybox"), mode: 0o755 }]));
      const made = imageOf({ layers: [layer], process: { Cmd: ["/bin/sh", "-c", "echo hello"], Env: ["PATH=/bin"] } });
      busybox = `${registry.host}/tools/sh`;
      await pushTo(registry, "tools/sh:latest", made);
      await pushTo(registry, "tools/sh:2", made);
    });

    test("docker run pulls what isn't here", async () => {
      const { code, stderr, stdout } = await engine.docker("run", "--rm", busybox);
      assert.equal(code, 0, stderr);
      assert.equal(stdout, "hello\n");
      assert.match(stderr, exactly(`Unable to find image '${busybox}:latest' locally`));
      assert.match(stderr, exactly(`Status: Downloaded newer image for ${busybox}:latest`));
      const missing = await engine.docker("run", "--rm", `${registry.host}/nothing:1`);
      assert.equal(missing.code, 125);
      assert.match(missing.stderr, exactly(`manifest for ${registry.host}/nothing:1 not found: manifest unknown`));
    });

    test("docker pull by tag, by digest, all tags and quietly", async () => {
      assert.match(await engine.ok("pull", busybox), /Using default tag: latest[\s\S]*Image is up to date/);
      assert.equal(await engine.ok("pull", "-q", busybox), `${busybox}:latest`);
      const [repoDigest] = JSON.parse(await engine.ok("inspect", "-f", "{{json .RepoDigests}}", busybox)) as string[];
      assert.match(await engine.ok("pull", repoDigest!), exactly(`Image is up to date for ${repoDigest}`));
      assert.match(await engine.ok("pull", "-a", busybox), /2: Pulling from tools\/sh[\s\S]*Downloaded newer image/);
      const rows = await engine.ok("images", "--digests", "--format", "{{.Tag}} {{.Digest}}", busybox);
      const digest = repoDigest!.split("@")[1];
      assert.deepEqual(rows.split("\n").sort(), [`2 ${digest}`, `latest ${digest}`]);
    });

    test("docker pull --platform brings another image of the same name, and both can be used", async () => {
      const index = indexOf([imageOf(), imageOf({ platform: ARM })]);
      await pushTo(registry, "both:1", index);
      const name = `${registry.host}/both:1`;
      await engine.ok("pull", "--platform", `linux/${ARM.architecture}`, name);
      assert.equal(await engine.ok("inspect", "-f", "{{.Architecture}}", name), ARM.architecture);
      await engine.ok("pull", name);
      assert.notEqual(await engine.ok("inspect", "-f", "{{.Architecture}}", name), ARM.architecture);
      const platform = `linux/${ARM.architecture}`;
      const { code, stderr, stdout } = await engine.docker("create", "--platform", platform, name, "x");
      assert.equal(code, 0, stderr);
      assert.doesNotMatch(stderr, /Pulling|Downloaded/);
      const id = stdout.trim();
      assert.equal(await engine.ok("inspect", "-f", "{{.Image}}", id), (index.members[1] as TestImage).config.digest);
      await engine.ok("rm", id);
    });
  });

  describe("beside Docker's own engine", { skip: NO_DOCKERD }, () => {
    let docker: TestDockerd;

    before(async () => {
      docker = await TestDockerd.start();
    });

    after(async () => {
      await docker?.[Symbol.asyncDispose]();
    });

    const stream = async (socket: string, query: string): Promise<{ status: string; lines: ProgressLine[] }> => {
      const url = `http://localhost/v1.41/images/create?${query}`;
      const args = ["-sN", "-w", "\n%{http_code}", "--unix-socket", socket, "-X", "POST", url];
      const { stdout } = await finish("curl", args);
      const parts = stdout.trim().split("\n");
      const status = parts.pop() ?? "";
      return { status, lines: parts.filter((part) => part.trim() !== "").map((part) => JSON.parse(part)) };
    };

    /** Without what depends on time: bars, who had to wait, and steps that Docker leaves out when the next has come. */
    const essence = ({ status, lines }: { status: string; lines: ProgressLine[] }): unknown => ({
      status,
      rows: [...rowsOf(lines)].map(([id, row]) => [id, row[0], row.at(-1)]),
      rest: lines.filter(({ id, progressDetail }) => id === undefined || progressDetail === undefined),
      fields: [...new Set(lines.map((line) => Object.keys(line).sort().join()))].sort(),
    });

    /** Whether Docker's steps of each layer are among ours, in the same order. */
    const checkSteps = (own: ProgressLine[], dockers: ProgressLine[]): void => {
      for (const [id, steps] of rowsOf(dockers)) {
        const row = rowsOf(own).get(id) ?? [];
        let at = -1;
        for (const step of steps.filter((word) => word !== "Waiting")) {
          at = row.indexOf(step, at + 1);
          assert.ok(at >= 0, `${steps.join(", ")} of Docker's, ${row.join(", ")} of ours`);
        }
      }
    };

    test("the same requests are answered by the same lines", async () => {
      const layers = [1, 2, 3].map((n) => layerOf([{ name: `file-${n}`, body: String(n).repeat(3000) }]));
      await pushTo(registry, "like/docker:1", imageOf({ layers, mediaTypes: "docker" }));
      await pushTo(
        registry,
        "like/docker:2",
        imageOf({ layers: [...layers.slice(0, 2), layerOf([{ name: "x", body: "y" }])] }),
      );
      const host = `fromImage=${registry.host}/like/docker`;
      const queries = [
        `${host}&tag=1`,
        `${host}&tag=1`,
        `${host}&tag=2`,
        host,
        `${host}&tag=3`,
        `${host}&tag=-`,
        `${host}&tag=1&platform=nonsense`,
        `fromImage=${registry.host}/like/none`,
        `${host}&tag=${ZEROS}`,
      ];
      for (const query of queries) {
        const [own, dockers] = [await stream(engine.socket, query), await stream(docker.socket, query)];
        assert.deepEqual(essence(own), essence(dockers), query);
        checkSteps(own.lines, dockers.lines);
      }
    });
  });
});
