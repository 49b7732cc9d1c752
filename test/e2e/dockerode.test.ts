import assert from "node:assert/strict";
import { once } from "node:events";
import { createRequire } from "node:module";
import { PassThrough, type Readable } from "node:stream";
import { buffer, text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { tarOf } from "../archive.ts";
import { finish } from "../command.ts";
import { startEngine, type TestEngine } from "../engine.ts";
import { freePort } from "../free-port.ts";
import { imageOf, indexOf, pushTo } from "../oci-image.ts";
import { registryMissing, startRegistry } from "../registry.ts";

const Docker = createRequire(import.meta.url)("dockerode");
const FOREVER = ["sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 600 & wait; done"];

/** The JSON values of a stream of lines, one by one. */
async function* values(stream: AsyncIterable<Uint8Array>) {
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + Buffer.from(chunk).toString()).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.trim() !== "") yield JSON.parse(line);
  }
}

describe("dockerode against the engine", () => {
  let engine: TestEngine;
  // biome-ignore lint/suspicious/noExplicitAny: dockerode brings no types
  let docker: any;
  let port = 0;
  before(async () => {
    port = await freePort();
    engine = await startEngine({ args: ["-H", `tcp://127.0.0.1:${port}`] });
    docker = new Docker({ socketPath: engine.socket });
  });
  after(() => engine?.[Symbol.asyncDispose]());

  async function started(options: object = {}) {
    const container = await docker.createContainer({ Image: "busybox", Cmd: FOREVER, ...options });
    await container.start();
    return container;
  }

  /** The two outputs of a multiplexed stream, each to its end. */
  async function split(stream: Readable): Promise<[string, string]> {
    const outputs = [new PassThrough(), new PassThrough()] as const;
    docker.modem.demuxStream(stream, ...outputs);
    stream.once("end", () => {
      for (const output of outputs) output.end();
    });
    return Promise.all([text(outputs[0]), text(outputs[1])]);
  }

  test("run passes the outputs apart and tells the status", async () => {
    const out = new PassThrough();
    const err = new PassThrough();
    const script = "echo out; echo err >&2; exit 3";
    const [result, container] = await docker.run("busybox", ["sh", "-c", script], [out, err], { Tty: false });
    assert.equal(result.StatusCode, 3);
    assert.deepEqual([out.read()?.toString(), err.read()?.toString()], ["out\n", "err\n"]);
    await container.remove();
  });

  test("logs come whole as a buffer, and as a stream that follows to the end", async () => {
    const script = "for n in 1 2 3; do echo o$n; echo e$n >&2; sleep 0.1; done";
    const container = await started({ Cmd: ["sh", "-c", script] });
    const stream = await container.logs({ follow: true, stdout: true, stderr: true });
    assert.deepEqual(await split(stream), ["o1\no2\no3\n", "e1\ne2\ne3\n"]);
    const whole = await container.logs({ follow: false, stdout: true, stderr: false, tail: 100 });
    assert.equal(whole.toString().replaceAll(/[\0-\x08]/g, ""), "o1\no2\no3\n");
    await container.remove();
  });

  test("attach over an upgrade: input, its end, and output, on both transports", async () => {
    for (const client of [docker, new Docker({ host: "127.0.0.1", port, protocol: "http" })]) {
      const container = await client.createContainer({
        ...{ Image: "busybox", Cmd: ["sh", "-c", "cat; echo end >&2"], OpenStdin: true, StdinOnce: true },
        ...{ AttachStdin: true, AttachStdout: true, AttachStderr: true },
      });
      const stream = await container.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true });
      const outputs = split(stream);
      await container.start();
      const typed = "0123456789abcde\n".repeat(20_000);
      stream.end(typed);
      const [out, err] = await outputs;
      assert.ok(out === typed);
      assert.equal(err, "end\n");
      assert.equal((await container.wait()).StatusCode, 0);
      await container.remove();
    }
  });

  test("exec with a terminal: input, resize, and the exit code", async () => {
    const container = await started();
    const options = { Cmd: ["sh"], AttachStdin: true, AttachStdout: true, AttachStderr: true, Tty: true };
    const exec = await container.exec(options);
    const stream = await exec.start({ hijack: true, stdin: true, Tty: true });
    await exec.resize({ h: 21, w: 87 });
    stream.write("stty size; exit 9\n");
    assert.match(await text(stream), /21 87\r\n/);
    assert.equal((await exec.inspect()).ExitCode, 9);
    const plain = await container.exec({
      Cmd: ["sh", "-c", "echo o; echo e >&2"],
      AttachStdout: true,
      AttachStderr: true,
    });
    assert.deepEqual(await split(await plain.start({ hijack: true })), ["o\n", "e\n"]);
    await container.remove({ force: true });
  });

  test("archives go in and come out, and info tells of a path in a header", async () => {
    const container = await started();
    const big = Buffer.alloc(5 << 20, "0123456789");
    await container.putArchive(tarOf([{ name: "d/big", body: big }]), { path: "/tmp" });
    const archive = await buffer(await container.getArchive({ path: "/tmp/d/big" }));
    const { bytes } = await finish("tar", ["-xO"], { input: archive });
    assert.ok(bytes.equals(big));
    const info = await container.infoArchive({ path: "/tmp/d" });
    const header = info.headers["x-docker-container-path-stat"];
    assert.equal(JSON.parse(Buffer.from(header, "base64").toString()).name, "d");
    await assert.rejects(container.getArchive({ path: "/nope" }), { statusCode: 404 });
    const exported = await finish("tar", ["-t"], { input: await buffer(await container.export()) });
    assert.match(exported.stdout, /^tmp\/d\/big$/m);
    assert.ok(
      (await container.changes()).some(
        ({ Path, Kind }: { Path: string; Kind: number }) => Path === "/tmp/d" && Kind === 1,
      ),
    );
    await container.remove({ force: true });
  });

  test("commit makes an image; tag, history, save, load and remove go on from there", async () => {
    const container = await started();
    const { Id } = await container.commit({ repo: "ode/made", tag: "1", comment: "why", Cmd: ["echo", "made"] });
    const image = docker.getImage("ode/made:1");
    assert.equal((await image.inspect()).Id, Id);
    assert.equal((await image.history())[0].Comment, "why");
    await image.tag({ repo: "ode/other", tag: "2" });
    const saved = await buffer(await docker.getImage("ode/other:2").get());
    await docker.getImage("ode/other:2").remove();
    const loading = await docker.loadImage(PassThrough.from([saved]) as unknown as Readable);
    const progress = await new Promise<{ stream?: string }[]>((resolve, reject) =>
      docker.modem.followProgress(loading, (error: Error | null, rows: { stream?: string }[]) =>
        error === null ? resolve(rows) : reject(error),
      ),
    );
    assert.ok(
      progress.some(({ stream }) => stream?.includes("ode/other:2")),
      JSON.stringify(progress),
    );
    for (const name of ["ode/other:2", "ode/made:1"]) await docker.getImage(name).remove();
    await assert.rejects(image.inspect(), { statusCode: 404 });
    await container.remove({ force: true });
  });

  test("stats and events are streams that can be left, and the engine lets go of them", async () => {
    const container = await started({ Labels: { ode: "1" } });
    const stats = await container.stats({ stream: true });
    const samples = values(stats);
    const first = (await samples.next()).value;
    const second = (await samples.next()).value;
    assert.equal(second.preread, first.read);
    stats.destroy();
    assert.equal((await container.stats({ stream: false })).id, container.id);
    const events = await docker.getEvents({ filters: { label: ["ode=1"], event: ["pause", "unpause", "die"] } });
    await container.pause();
    await container.unpause();
    await container.kill();
    const seen: string[] = [];
    for await (const { Action } of values(events)) if (seen.push(Action) === 3) break;
    assert.deepEqual(seen, ["pause", "unpause", "die"]);
    events.destroy();
    await container.remove();
  });

  test("an AbortSignal ends waits, streams and logs under way", async () => {
    const container = await started();
    for (const act of [
      (abortSignal: AbortSignal) => container.wait({ abortSignal }),
      (abortSignal: AbortSignal) => container.stop({ t: 600, signal: "SIGWINCH", abortSignal }),
    ]) {
      const control = new AbortController();
      const pending = act(control.signal);
      setTimeout(() => control.abort(), 100);
      await assert.rejects(pending, /abort/i);
    }
    const control = new AbortController();
    const logs: Readable = await container.logs({ follow: true, stdout: true, abortSignal: control.signal });
    const [line] = await once(logs, "data");
    assert.match(line.toString(), /ready/);
    const closed = once(logs, "close").catch(() => {});
    logs.on("error", () => {});
    control.abort();
    await closed;
    // All it was sent is SIGWINCH.
    assert.equal((await container.inspect()).State.Running, true);
    await container.remove({ force: true });
  });

  test("networks and volumes: create, connect, inspect, prune", async () => {
    const network = await docker.createNetwork({ Name: "ode-net", CheckDuplicate: true, Labels: { ode: "n" } });
    const container = await started();
    await network.connect({ Container: container.id, EndpointConfig: { Aliases: ["ode"] } });
    assert.deepEqual(Object.keys((await network.inspect()).Containers), [container.id]);
    await assert.rejects(network.remove(), { statusCode: 403 });
    await network.disconnect({ Container: container.id, Force: true });
    const pruned = await docker.pruneNetworks({ filters: { label: ["ode=n"] } });
    assert.deepEqual(pruned.NetworksDeleted, ["ode-net"]);
    const volume = await docker.createVolume({ Name: "ode-vol", Labels: { ode: "v" } });
    assert.equal((await docker.getVolume("ode-vol").inspect()).Labels.ode, "v");
    assert.equal((await docker.listVolumes({ filters: { label: ["ode=v"] } })).Volumes.length, 1);
    assert.deepEqual((await docker.pruneVolumes({ filters: { label: ["ode=v"], all: ["1"] } })).VolumesDeleted, [
      "ode-vol",
    ]);
    await assert.rejects(docker.getVolume(volume.name ?? "ode-vol").inspect(), { statusCode: 404 });
    await container.remove({ force: true });
  });

  test("pull and push with an authconfig, followed to their end, and what a name points to", {
    skip: registryMissing(),
  }, async () => {
    await using registry = await startRegistry({ htpasswd: { joe: "secret" } });
    const other = { os: "linux", architecture: process.arch === "arm64" ? "amd64" : "arm64" };
    const digest = await pushTo(registry, "ode/app:1", indexOf([imageOf(), imageOf({ platform: other })]));
    const name = `${registry.host}/ode/app`;
    const authconfig = { username: "joe", password: "secret", serveraddress: registry.host };
    type Line = { status?: string; error?: string; aux?: { Digest: string } };
    const followed = (stream: Readable): Promise<readonly [readonly Line[], readonly Line[]]> =>
      new Promise((resolve, reject) => {
        const seen: Line[] = [];
        docker.modem.followProgress(
          stream,
          (error: Error | null, lines: Line[]) => (error === null ? resolve([lines, seen]) : reject(error)),
          (line: Line) => seen.push(line),
        );
      });
    assert.equal((await docker.checkAuth(authconfig)).Status, "Login Succeeded");
    await assert.rejects(docker.pull(`${name}:1`), { statusCode: 500, message: /no basic auth credentials/ });
    const [lines, seen] = await followed(await docker.pull(`${name}:1`, { authconfig }));
    assert.deepEqual(seen, lines);
    assert.equal(lines.at(-1)?.status, `Status: Downloaded newer image for ${name}:1`);
    assert.deepEqual((await docker.getImage(`${name}:1`).inspect()).RepoDigests, [`${name}@${digest}`]);
    // By callback, as programs of before promises do.
    const again = await new Promise<Readable>((resolve, reject) =>
      docker.pull(`${name}:1`, { authconfig }, (error: Error | null, stream: Readable) =>
        error === null ? resolve(stream) : reject(error),
      ),
    );
    assert.equal((await followed(again))[0].at(-1)?.status, `Status: Image is up to date for ${name}:1`);
    const platform = `${other.os}/${other.architecture}`;
    await followed(await docker.pull(`${name}:1`, { authconfig, platform }));
    // Both are under the name, which goes on to mean this machine's.
    assert.notEqual((await docker.getImage(`${name}:1`).inspect()).Architecture, other.architecture);
    const shown = await engine.request(
      "GET",
      `/images/${name}:1/json?platform=${encodeURIComponent(JSON.stringify(other))}`,
    );
    assert.equal(shown.json.Architecture, other.architecture);
    // It takes an error in the stream for a line as any other.
    const [none] = await followed(await docker.pull(`${name}:1`, { authconfig, platform: "linux/s390x" }));
    assert.match(none.at(-1)?.error ?? "", /^no matching manifest for linux\/s390x in the manifest list entries/);
    await assert.rejects(docker.pull(`${name}:none`, { authconfig }), { statusCode: 404 });
    await docker.getImage("busybox").tag({ repo: name, tag: "pushed" });
    const pushed = docker.getImage(`${name}:pushed`);
    const wrong = { ...authconfig, password: "wrong" };
    const [refused] = await followed(await pushed.push({ tag: "pushed", authconfig: wrong }));
    assert.equal(refused.at(-1)?.error, "unauthorized: authentication required");
    const [told] = await followed(await pushed.push({ tag: "pushed", authconfig }));
    const there = await pushed.distribution({ authconfig });
    assert.equal(there.Descriptor.digest, told.at(-1)?.aux?.Digest);
    assert.deepEqual((await docker.getImage(`${name}:1`).distribution({ authconfig })).Platforms.at(-1), other);
    for (const tag of ["1", "pushed"]) await docker.getImage(`${name}:${tag}`).remove();
  });

  test("update, rename, restart, top, df, info and version", async () => {
    const container = await started({ HostConfig: { Memory: 64 << 20, MemorySwap: 64 << 20 } });
    await container.update({ Memory: 80 << 20, MemorySwap: 80 << 20 });
    await container.rename({ name: "ode-renamed" });
    await container.restart({ t: 5 });
    const { Name, HostConfig } = await docker.getContainer("ode-renamed").inspect();
    assert.deepEqual([Name, HostConfig.Memory], ["/ode-renamed", 80 << 20]);
    const { Processes } = await container.top({ ps_args: "-o pid,args" });
    assert.ok(Processes.length > 0);
    assert.ok((await docker.df()).Images.length > 0);
    assert.equal((await docker.info()).Containers, 1);
    assert.equal((await docker.version()).Os, "linux");
    assert.equal((await docker.ping()).toString(), "OK");
    await assert.rejects(
      docker.checkAuth({ username: "a", password: "b", serveraddress: "127.0.0.1:1" }),
      /127\.0\.0\.1:1/,
    );
    await container.remove({ force: true });
    assert.equal((await docker.listContainers({ all: true })).length, 0);
  });
});
