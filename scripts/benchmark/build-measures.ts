import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { padding } from "../../src/oci/tar/entry.ts";
import { encodeHeader } from "../../src/oci/tar/writer.ts";
import { findProgram } from "../../test/command.ts";
import { IMAGE, type Measure } from "./measure.ts";
import type { Peer } from "./peer.ts";

/** Docker's client of before buildx, which has BuildKit's in it. */
const OLD_CLIENT = oldClient();
const SMALL_FILES = 50_000;
const MANY_FILES = 100_000;
const BULK = 10_000;

const STEPS = `FROM ${IMAGE}
WORKDIR /app
COPY package /app/
RUN echo installed > /app/installed
COPY src /app/src
RUN cat /app/src/* > /app/built
CMD cat /app/built
`;
const STAGES = ["a", "b", "c", "d"];

/** Folders that are built, made once for all peers. */
const folders = new Map<string, string>();

function folder(name: string, fill: (path: string) => void): string {
  const known = folders.get(name);
  if (known !== undefined) return known;
  const path = mkdtempSync(`/tmp/gantry-bench-context-`);
  folders.set(name, path);
  process.once("exit", () => rmSync(path, { recursive: true, force: true }));
  fill(path);
  return path;
}

const service = (): string =>
  folder("service", (path) => {
    mkdirSync(join(path, "src"));
    writeFileSync(join(path, "Dockerfile"), STEPS);
    writeFileSync(join(path, "package"), "{}\n");
    for (let n = 0; n < 200; n++) writeFileSync(join(path, "src", `file-${n}`), `${"line\n".repeat(200)}${n}\n`);
  });

/** A file is what it never was before: time and a count. */
let edits = 0;
const edit = (file: string): void => writeFileSync(file, `${Date.now()} ${++edits}\n`);

const build = (peer: Peer, path: string, ...more: readonly string[]): number =>
  peer.time(["build", "-q", "-t", "built", ...more, path], 1, { env: { DOCKER_BUILDKIT: "0" } });

/** The same engine's BuildKit, where Docker is the peer. */
const buildKit = (peer: Peer, path: string, ...more: readonly string[]): number =>
  peer.name === "docker"
    ? peer.time(["build", "-q", "-t", "built", ...more, path], 1, { cli: OLD_CLIENT!, env: { DOCKER_BUILDKIT: "1" } })
    : build(peer, path, ...more);

const archiveOf = (path: string): Buffer => execFileSync("tar", ["-C", path, "-c", "."], { maxBuffer: 64 << 20 });

/** Milliseconds of a classic build of an archive, without a client. */
async function posted(peer: Peer, archive: Buffer): Promise<number> {
  const began = performance.now();
  const { text } = await peer.call("POST", "/build?t=built&q=1&rm=1", archive);
  if (text.includes('"error"')) throw new Error(`${peer.name}: ${text}`);
  return performance.now() - began;
}

const cleaned = (peer: Peer): Promise<string> => peer.output("builder", "prune", "-af");

const noBuildKit = OLD_CLIENT === undefined ? "no docker client with BuildKit in it is installed" : false;

function pair(
  measure: Omit<Measure, "once"> & { once(peer: Peer, how: typeof build): Promise<number> },
): readonly Measure[] {
  const { name, once, ...rest } = measure;
  return [
    { ...rest, group: "builds", name: `${name}, beside Docker's classic builder`, once: (peer) => once(peer, build) },
    {
      ...rest,
      group: "builds",
      name: `${name}, beside BuildKit`,
      skip: noBuildKit,
      once: (peer) => once(peer, buildKit),
    },
  ];
}

/** Commands that need a processor: as steps that are not cached, and all of them in one container. */
function coldBuild(work: { readonly steps: number; readonly turns: number; readonly length: string }) {
  const command = `i=0; while [ $i -lt ${work.turns} ]; do i=$((i+1)); done; echo $i`;
  return pair({
    name: `\`build\` of ${work.steps} RUN steps of ${work.length}, none cached: times what the commands take in one container`,
    unit: "×",
    rounds: 5,
    warmUp: 1,
    once: async (peer, how) => {
      const path = folder(`work-${work.turns}`, (made) => {
        writeFileSync(join(made, "Dockerfile"), `FROM ${IMAGE}\n${`RUN ${command}\n`.repeat(work.steps)}`);
      });
      const bare = peer.time(["run", "--rm", IMAGE, "sh", "-c", Array(work.steps).fill(command).join("; ")]);
      return how(peer, path, "--no-cache") / bare;
    },
    after: cleaned,
  });
}

/** Builds of Dockerfiles by the command. */
export const BUILD_MEASURES: readonly Measure[] = [
  ...pair({
    name: "`build` of five steps, all of them cached",
    unit: "ms",
    rounds: 15,
    warmUp: 3,
    once: async (peer, how) => how(peer, service()),
    after: cleaned,
  }),
  ...pair({
    name: "`build` of five steps, one source file changed",
    unit: "ms",
    rounds: 9,
    warmUp: 2,
    once: async (peer, how) => {
      edit(join(service(), "src/file-7"));
      return how(peer, service());
    },
    after: cleaned,
  }),
  {
    name: "`POST /build` of five steps, all of them cached",
    unit: "ms",
    group: "builds",
    rounds: 15,
    warmUp: 3,
    once: async (peer) => posted(peer, archiveOf(service())),
    after: cleaned,
  },
  {
    name: "`POST /build` of five steps, one source file changed",
    unit: "ms",
    group: "builds",
    rounds: 9,
    warmUp: 2,
    once: async (peer) => {
      edit(join(service(), "src/file-7"));
      return posted(peer, archiveOf(service()));
    },
    after: cleaned,
  },
  ...coldBuild({ steps: 8, turns: 150_000, length: "0.17 s" }),
  ...coldBuild({ steps: 4, turns: 1_000_000, length: "1.1 s" }),
  ...pair({
    name: "`build` of four stages that need nothing of each other, each of 2 s",
    unit: "ms",
    rounds: 3,
    warmUp: 0,
    once: async (peer, how) => {
      const path = folder("stages", (made) => {
        const stages = STAGES.map((name) => `FROM ${IMAGE} AS ${name}\nRUN sleep 2; echo ${name} > /${name}\n`);
        const copies = STAGES.map((name) => `COPY --from=${name} /${name} /${name}\n`);
        writeFileSync(join(made, "Dockerfile"), `${stages.join("")}FROM ${IMAGE}\n${copies.join("")}`);
      });
      return how(peer, path, "--no-cache");
    },
    after: cleaned,
  }),
  ...pair({
    name: `\`build\` with a context of 1 GB in ${MANY_FILES.toLocaleString("en")} files of which one changed`,
    unit: "ms",
    rounds: 2,
    warmUp: 1,
    once: async (peer, how) => {
      const path = manyFiles();
      edit(join(path, "d7/f7"));
      // The classic builder can't mount, so its Dockerfile needs one file; the other has all of the context in its key.
      return how(peer, path, "-f", join(path, how === build ? "Dockerfile" : "all.Dockerfile"));
    },
    after: cleaned,
  }),
  {
    group: "builds",
    name: `\`commit\` of a layer of ${SMALL_FILES.toLocaleString("en")} small files`,
    unit: "ms",
    rounds: 3,
    warmUp: 0,
    before: async (peer) => {
      const path = folder("archive", (made) => {
        writeFileSync(join(made, "files.tar"), smallFiles());
        writeFileSync(join(made, "Dockerfile"), `FROM ${IMAGE}\nCOPY files.tar /\n`);
      });
      peer.time(["build", "-q", "-t", "archive", path], 1, { env: { DOCKER_BUILDKIT: "0" } });
      await peer.output("run", "--name", "small", "archive", "sh", "-c", "mkdir /out && tar -xf /files.tar -C /out");
    },
    once: async (peer) => peer.time(["commit", "small", "built"]),
    after: async (peer) => {
      await peer.output("rm", "-f", "small");
      await peer.output("rmi", "-f", "built", "archive");
      await cleaned(peer);
    },
  },
];

/**
 * An archive of them. Files that are made for it and removed again would slow down whoever makes files next: an ext4
 * without a journal looks for inodes that nobody had in the last half a minute.
 */
function smallFiles(): Buffer {
  const mtime = { seconds: 1_700_000_000, nanoseconds: 0 };
  const parts: Buffer[] = [encodeHeader({ name: "files/", type: "directory", mtime })];
  for (let n = 0; n < SMALL_FILES; n++) {
    const folder = `files/d${Math.floor(n / 500)}/`;
    if (n % 500 === 0) parts.push(encodeHeader({ name: folder, type: "directory", mtime }));
    const bytes = Buffer.from(`${n}\n`.repeat(20));
    const header = encodeHeader({ name: `${folder}f${n}`, type: "file", size: bytes.length, mtime });
    parts.push(header, bytes, Buffer.alloc(padding(bytes.length)));
  }
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

function manyFiles(): string {
  return folder("many", (path) => {
    const bytes = Buffer.alloc(BULK, "context ");
    for (let n = 0; n < MANY_FILES; n++) {
      if (n % 1000 === 0) mkdirSync(join(path, `d${n / 1000}`));
      writeFileSync(join(path, `d${Math.floor(n / 1000)}/f${n % 1000}`), bytes);
    }
    writeFileSync(join(path, "Dockerfile"), `FROM ${IMAGE}\nCOPY d7/f7 /\n`);
    const all = "RUN --mount=type=bind,target=/context cat /context/d7/f7";
    writeFileSync(join(path, "all.Dockerfile"), `FROM ${IMAGE}\n${all}\n`);
  });
}

function oldClient(): string | undefined {
  for (const path of ["/usr/bin/docker", findProgram("docker") ?? ""]) {
    try {
      if (/ 20\.10\./.test(execFileSync(path, ["--version"], { encoding: "utf8" }))) return path;
    } catch {
      // It isn't there.
    }
  }
  return undefined;
}
