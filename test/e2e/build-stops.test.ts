import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { createNetns, removeNetns } from "../../src/kernel/namespace.ts";
import type { Finished } from "../command.ts";
import { startEngine, type TestEngine } from "../engine.ts";
import { makeTestRoot, mountsBelow, processesOf, removeTestRoot, subfolders } from "../leftovers.ts";

/** GANTRY_STOPS=100 for a long run. */
const ROUNDS = Number(process.env.GANTRY_STOPS ?? 4);
const SEED = Number(process.env.GANTRY_STOPS_SEED ?? Math.floor(Math.random() * 1e9));
const AT_ONCE = 4;
const SETTLED_MS = 20_000;

let root: string;
let host: string;
let engine: TestEngine;
let context: string;

before(async () => {
  root = makeTestRoot();
  // A network namespace plays the host, for all lives of the engine: what is in it is the engine's alone.
  host = join(root, "host");
  createNetns(host);
  onHost("ip", "link", "set", "lo", "up");
  engine = await startEngine({ wrap: ["nsenter", `--net=${host}`] });
  context = join(engine.root, "context");
  mkdirSync(context);
  for (let file = 0; file < 20; file++) writeFileSync(join(context, `file-${file}`), `${file}\n`.repeat(5000));
});
after(async () => {
  await engine?.[Symbol.asyncDispose]();
  removeNetns(host);
  removeTestRoot(root);
});

function onHost(...command: string[]): string {
  return execFileSync("nsenter", [`--net=${host}`, ...command], { encoding: "utf8" });
}

/** Numbers that are the same in every run of one seed. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** What an engine has of the kernel and below its exec root, as lines. */
function inventory(): readonly string[] {
  const { execRoot } = engine;
  const links = JSON.parse(onHost("ip", "-j", "link")) as { ifname: string }[];
  return [
    ...links.map(({ ifname }) => `link ${ifname}`),
    ...onHost("nft", "list", "tables").split("\n"),
    ...mountsBelow(engine.root).map((path) => `mount ${path}`),
    ...processesOf(engine.root).map(() => "process"),
    ...["bundles", "netns", "sources", "views", "build/roots", "build/outputs", "fifos", "attach"].flatMap((folder) =>
      entriesOf(join(execRoot, folder)),
    ),
    ...entriesOf(join(engine.dataRoot, "build/writable")),
    ...entriesOf(join(engine.dataRoot, "build/sources/temporary")),
    ...cgroupsOf().map((path) => `cgroup ${path}`),
  ].sort();
}

function entriesOf(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : [];
}

/** Of this engine, by the name that its table has, too. */
let name = "";
function cgroupsOf(): string[] {
  const found: string[] = [];
  for (const hierarchy of subfolders("/sys/fs/cgroup")) {
    const own = join("/sys/fs/cgroup", hierarchy, name);
    if (existsSync(own)) found.push(...subfolders(own).map((child) => join(own, child)));
  }
  return found;
}

async function settles(wanted: readonly string[], what: string): Promise<void> {
  let now = inventory();
  for (const deadline = Date.now() + SETTLED_MS; !isDeepStrictEqual(now, wanted) && Date.now() < deadline; ) {
    await pause(30);
    now = inventory();
  }
  assert.deepEqual(now, wanted, `${what}; seed ${SEED}\n${engine.log.slice(-3000)}`);
}

/** Targets that stand on each other: the next begins on a connection that is there when the one before is ended. */
function bake(): Promise<Finished> {
  const id = ++made;
  const names = ["a", "b", "c"].map((letter) => `${letter}${id}`);
  const target = (at: number) => ({
    context,
    "dockerfile-inline": `FROM ${at === 0 ? "busybox" : "before"}\nRUN sleep 0.2; : ${id}\n`,
    ...(at > 0 && { contexts: { before: `target:${names[at - 1]}` } }),
    output: ["type=cacheonly"],
  });
  const file = join(context, `bake-${id}.json`);
  const targets = Object.fromEntries(names.map((name, at) => [name, target(at)]));
  writeFileSync(file, JSON.stringify({ group: { default: { targets: names } }, target: targets }));
  return engine.gantry("bake", "--progress=quiet", "-f", file);
}

let made = 0;
/** Stages side by side, of steps of each kind, to each output. */
function build(number: (below: number) => number): Promise<Finished> {
  const id = ++made;
  const sleep = () => `sleep 0.${number(10)}`;
  const steps = [
    () => `RUN ${sleep()}; echo ${++made} > /made-${made}`,
    () => `RUN --mount=type=cache,target=/cache echo ${++made} > /cache/${made}; ${sleep()}`,
    () =>
      `RUN --mount=type=bind,target=/context,rw --mount=type=tmpfs,target=/t ${sleep()}; cp -r /context /t/${++made}`,
    () => `RUN --network=none ${sleep()}; (sleep 1000 &) ; echo ${++made}`,
    () => `RUN --mount=type=secret,id=s ${sleep()}; cat /run/secrets/s; : ${++made}`,
    () => `COPY file-* /files-${++made}/`,
    () => `RUN dd if=/dev/urandom of=/noise-${++made} bs=1M count=8 2>/dev/null`,
    () => `RUN sleep 1${number(10)}; : ${++made}`,
  ];
  const stage = (at: number) =>
    [`FROM busybox AS s${at}`, ...Array.from({ length: 1 + number(4) }, () => steps[number(steps.length)]!())].join(
      "\n",
    );
  const stages = Array.from({ length: 1 + number(3) }, (_, at) => stage(at));
  const gathered = stages.map((_, at) => `COPY --from=s${at} /etc /of-${at}`).join("\n");
  const file = join(context, `Dockerfile-${id}`);
  writeFileSync(file, `${stages.join("\n")}\nFROM busybox\n${gathered}\nRUN : ${id}\n`);
  writeFileSync(join(context, "secret"), "s\n");
  const outputs = [
    ["-t", `made-${id}`],
    ["-o", `type=local,dest=${engine.root}/out-${id}`],
    ["-o", `type=tar,dest=${engine.root}/out-${id}.tar`],
    ["-o", `type=oci,dest=${engine.root}/oci-${id}.tar`],
    ["-o", "type=cacheonly", "--cache-to", `type=local,dest=${engine.root}/cache-${id},mode=max`],
    ["-t", `made-${id}`, "--squash"],
    ["-t", `made-${id}`, "--sbom=true", "--provenance=mode=max"],
  ];
  const args = ["build", "-q", "-f", file, "--secret", `id=s,src=${join(context, "secret")}`];
  return engine.gantry(...args, ...outputs[number(outputs.length)]!, context);
}

test("an engine that is stopped or killed in the middle of builds leaves nothing", { timeout: 300_000 }, async (t) => {
  const number = numbers(SEED);
  t.diagnostic(`seed ${SEED}`);
  // What is made at the first need is there.
  assert.equal((await engine.gantry("run", "--rm", "busybox", "true")).code, 0);
  name = /gantry-[0-9a-f]{8}/.exec(onHost("nft", "list", "tables"))?.[0] ?? "";
  assert.notEqual(name, "");
  await engine.restart();
  const idle = inventory();
  await engine.stop();
  const stopped = inventory();
  assert.deepEqual(
    stopped.filter((line) => !/^$|^link lo$/.test(line)),
    [],
  );
  await engine.start();
  let whole = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const builds = Array.from({ length: AT_ONCE }, () => (number(4) === 0 ? bake() : build(number)));
    await pause(100 + number(2500));
    const isKill = number(2) === 0;
    const from = Date.now();
    if (isKill) await engine.kill();
    else await engine.stop();
    const took = Date.now() - from;
    const restartsAtOnce = number(2) === 0;
    if (!isKill && !restartsAtOnce) await settles(stopped, `round ${round}: stopped within ${took} ms`);
    if (number(4) === 0) {
      // It may fail before anybody waits for it.
      const starting = engine.start().catch(() => {});
      await pause(20 + number(500));
      await engine.kill();
      await starting;
    }
    await engine.start();
    for (const { code } of await Promise.all(builds)) if (code === 0) whole++;
    await settles(idle, `round ${round}: ${isKill ? "killed" : `stopped within ${took} ms`} and started`);
    assert.ok(took < 15_000, `round ${round}: the engine took ${took} ms to stop; seed ${SEED}`);
  }
  t.diagnostic(`${whole} of ${ROUNDS * AT_ONCE} builds came to their end`);
  await engine.stop();
  await settles(stopped, "stopped at last");
  await engine.start();
});

test("an engine that is killed while it brings its cache to the disk has left nothing in the kernel", async () => {
  await engine.restart({ GANTRY_FAILPOINTS: "build.close.ended=kill" });
  writeFileSync(join(context, "Dockerfile"), "FROM busybox\nRUN echo settled > /settled\n");
  assert.equal((await engine.gantry("build", "-q", context)).code, 0);
  await engine.stop();
  const kept = inventory().filter((line) => !/^$|^link lo$/.test(line));
  // What makes its roots shared goes with the engine itself.
  assert.deepEqual(kept, [engine.dataRoot, engine.execRoot].map((path) => `mount ${path}`).sort());
  await engine.start();
});
