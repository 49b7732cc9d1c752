import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ask, bytesOf } from "../both-engines.ts";
import { findProgram, finish } from "../command.ts";
import { NO_DOCKERD, TestDockerd } from "../dockerd.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";

/**
 * Flags of mounts, as the docker CLI takes them, given to Gantry and to Docker's own engine: what inspect then shows of
 * the mounts, or the words of the refusal, must be the same. `HOST` is a folder of the host.
 */
type Row = readonly string[];

const row = (...flags: readonly string[]): Row => flags;
const v = (...values: readonly string[]): Row => row(...values.flatMap((value) => ["-v", value]));
const mount = (...values: readonly string[]): Row => row(...values.flatMap((value) => ["--mount", value]));

const ROWS: readonly Row[] = [
  // -v of the host's paths.
  v("HOST:/a"),
  v("HOST:/a:ro"),
  v("HOST:/a:rw"),
  v("HOST:/a:z"),
  v("HOST:/a:ro,Z"),
  v("HOST:/a:rslave"),
  v("HOST:/a:ro,rslave"),
  v("HOST:/a:private"),
  v("HOST:/a:shared,rw,z"),
  v("HOST:/a:cached"),
  v("HOST:/a:consistent,ro"),
  v("HOST/made:/a"),
  v("HOST/file:/a/file"),
  v("HOST/../HOST/./:/a//b/../c/"),
  v("HOST:/a", "HOST:/a/b", "HOST:/a/b/c"),
  v("HOST:/a:"),
  // -v of volumes.
  v("named:/a"),
  v("named:/a:ro"),
  v("named:/a:nocopy"),
  v("named:/a:ro,nocopy,z"),
  v("named:/a:Z"),
  v("/anonymous"),
  v("/anonymous", "/anonymous/below", "named:/anonymous/b"),
  v("named:/bin"),
  v("one:/a", "two:/b:ro", "/c"),
  // Refusals of -v.
  v("HOST:/a", "HOST:/a"),
  v("HOST:/a", "named:/a/"),
  row("-v", "HOST:/a", "--tmpfs", "/a"),
  row("-v", "HOST:/a", "--mount", "type=bind,src=HOST,dst=/a/"),
  v("HOST:/"),
  v("HOST:/a/.."),
  v("HOST:relative"),
  v("HOST:/a:nocopy"),
  v("HOST:/a:bogus"),
  v("HOST:/a:ro,rw"),
  v("HOST:/a:ro,ro"),
  v("HOST:/a:z,Z"),
  v("HOST:/a:rslave,shared"),
  v("HOST:/a:default"),
  v("named:/a:rslave"),
  v("named:/a:ro:rw"),
  v("bad/name:/a"),
  v("/anonymous:ro"),
  v("named:"),
  v("named:relative"),
  // --mount.
  mount("type=bind,src=HOST,dst=/a"),
  mount("type=bind,src=HOST,dst=/a,readonly"),
  mount("type=bind,src=HOST,dst=/a,bind-propagation=rslave"),
  mount("type=bind,src=HOST,dst=/a,bind-nonrecursive"),
  mount("type=bind,src=HOST/,dst=/a/,consistency=delegated"),
  mount("type=bind,src=HOST/nowhere,dst=/a"),
  mount("type=bind,src=HOST,dst=/a,bind-propagation=bogus"),
  mount("type=bind,src=HOST,dst=/"),
  mount("type=volume,src=named,dst=/a"),
  mount("src=named,dst=/a,readonly"),
  mount("src=named,dst=/a,volume-nocopy"),
  mount("src=labelled,dst=/a,volume-label=a=b,volume-label=c=d"),
  mount("src=opted,dst=/a,volume-driver=local,volume-opt=type=tmpfs,volume-opt=device=tmpfs"),
  mount("dst=/a"),
  mount("dst=/a", "dst=/b", "dst=/a/c"),
  mount("dst=/a,readonly"),
  mount("src=HOST,dst=/a"),
  mount("src=opted2,dst=/a,volume-opt=bogus=1"),
  mount("type=tmpfs,dst=/a"),
  mount("type=tmpfs,dst=/a,readonly,tmpfs-size=1m,tmpfs-mode=700"),
  mount("type=tmpfs,dst=relative"),
  mount("src=named,dst=relative"),
  mount("dst=/a", "type=tmpfs,dst=/a"),
  // The rest.
  row("--tmpfs", "/a:size=1m", "--tmpfs", "/b"),
  row("--tmpfs", "relative"),
  row("--tmpfs", "/"),
  row("--volumes-from", "source"),
  row("--volumes-from", "source:ro"),
  row("--volumes-from", "source:ro", "-v", "other:/both"),
  row("--volumes-from", "source:bogus"),
  row("--volumes-from", "source:ro:rw"),
  row("--volumes-from", "source:nocopy"),
  row("--volumes-from", "source:rslave"),
  row("--volumes-from", "nobody"),
  row("--volumes-from", ""),
  row("--volume-driver", "local", "-v", "named:/a", "-v", "/b"),
];

const VERSION = "1.41";
const DOCKER = findProgram("docker") ?? "docker";

describe("what inspect shows of the same mounts by Gantry and by Docker", { skip: NO_DOCKER || NO_DOCKERD }, () => {
  let engine: TestEngine;
  let docker: TestDockerd;
  let host = "";

  before(async () => {
    engine = await startEngine();
    docker = await TestDockerd.start();
    await bytesOf(
      docker.socket,
      "POST",
      "/images/load",
      await bytesOf(engine.socket, "GET", "/images/get?names=busybox"),
    );
    host = join(engine.root, "host");
    mkdirSync(host);
    writeFileSync(join(host, "file"), "");
    for (const socket of [engine.socket, docker.socket]) {
      const made = await create(socket, [
        "--name",
        "source",
        "-v",
        `${host}:/bound:ro`,
        "-v",
        "shared:/both",
        "-v",
        "/own",
      ]);
      assert.equal(made.code, 0, made.stderr);
    }
  });
  after(async () => {
    await docker?.[Symbol.asyncDispose]();
    await engine?.[Symbol.asyncDispose]();
  });

  const create = (socket: string, flags: readonly string[]) =>
    finish(DOCKER, ["-H", `unix://${socket}`, "create", ...flags, "busybox", "true"], {
      env: { ...process.env, DOCKER_API_VERSION: VERSION, DOCKER_HOST: "", DOCKER_CONTEXT: "" },
    });

  /** The rows of Mounts, or the refusal; without what no two engines have in common. */
  async function told(socket: string, data: string, flags: readonly string[]): Promise<unknown> {
    const { code, stdout, stderr } = await create(
      socket,
      flags.map((flag) => flag.replaceAll("HOST", host)),
    );
    const id = stdout.trim();
    if (code !== 0) return wordsOf(stderr, data);
    const { value } = await ask(socket, { line: `GET /containers/${id}/json` }, VERSION);
    await ask(socket, { line: `DELETE /containers/${id}?v=1` }, VERSION);
    const { Mounts } = value as { Mounts: { Destination: string }[] };
    Mounts.sort((a, b) => (a.Destination < b.Destination ? -1 : 1));
    return JSON.parse(common(JSON.stringify(Mounts), data));
  }

  for (const flags of ROWS) {
    test(flags.join(" "), async () => {
      const [ours, theirs] = await Promise.all([
        told(engine.socket, engine.dataRoot, flags),
        told(docker.socket, join(docker.root, "data"), flags),
      ]);
      assert.deepEqual(ours, theirs);
    });
  }
});

function common(text: string, data: string): string {
  return text.replaceAll(data, "DATA").replaceAll(/[0-9a-f]{64}/g, "ID");
}

function wordsOf(stderr: string, data: string): string {
  return common(stderr, data)
    .replace(/^Error response from daemon: /, "")
    .replace(/\n+Run 'docker create --help' for more information\s*$/, "")
    .trim();
}
