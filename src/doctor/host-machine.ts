import { execFile } from "node:child_process";
import { closeSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { mkdtemp, open, rm, statfs } from "node:fs/promises";
import { createServer, connect as dial } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { hasCode, messageOf } from "../base/errors.ts";
import { clockSynchronization } from "../kernel/clock.ts";
import { forwardObstacles } from "../kernel/foreign-forward.ts";
import { listMounts, MNT, mountOverlay, unmount } from "../kernel/mount.ts";
import { createNetns, inNetns, removeNetns } from "../kernel/namespace.ts";
import { Netlink } from "../kernel/netlink.ts";
import { Nftables } from "../kernel/nftables.ts";
import { O_PATH, openInRoot } from "../kernel/path.ts";
import { pidfdOpen } from "../kernel/process.ts";
import type { HostRoute, KernelCall, Machine, SandboxRefusals } from "./machine.ts";

/** Begins the names of what checks make; what follows is the maker's process id. */
const TRIAL = ".doctor-";
const SYNCED_WRITES = 9;
const MAIN_TABLE = 254;
/** The kernel's own. Programs like VPNs have tables of their own, too. */
const LOCAL_TABLE = 255;
const REACH_MS = 2_000;
const PROGRAM_MS = 8_000;

/** The machine that this process runs on. One instance a report: what is tried is tried once. */
export function hostMachine(): Machine {
  let sandbox: SandboxRefusals | undefined;
  return {
    files: { read: readText, list: listFolder, resolve: resolveLinks },
    programs: { run: runProgram },
    kernel: { refusal: kernelRefusal },
    disk: { space, overlayRefusal, syncTimes },
    network: {
      sandboxRefusals: (folder) => (sandbox ??= sandboxRefusals(folder)),
      forwardObstacles: (bridge) => forwardObstacles(bridge),
      routes,
      defaultMtu,
      loopbackRefusal,
    },
    clock: { synchronization: clockSynchronization, now: () => Date.now() },
    records: { integrity },
  };
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

function listFolder(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function resolveLinks(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

async function runProgram(name: string, args: readonly string[]): Promise<string | undefined> {
  try {
    const { stdout, stderr } = await promisify(execFile)(name, args, { timeout: PROGRAM_MS, maxBuffer: 1 << 20 });
    return stdout + stderr;
  } catch {
    return undefined;
  }
}

const CALLS: Readonly<Record<KernelCall, () => void>> = {
  openat2: () => closeSync(openInRoot("/", "proc", O_PATH)),
  pidfd: () => closeSync(pidfdOpen(process.pid)),
  // An overlay without layers is refused by the file system, which only the calls themselves lead to.
  "mount-api": () => {
    try {
      mountOverlay("/proc/self/nowhere", { lower: ["/proc/self/nowhere", "/proc/self/nowhere"] });
    } catch (error) {
      if (hasCode(error, "ENOSYS", "EPERM")) throw error;
    }
  },
};

function kernelRefusal(call: KernelCall): string | undefined {
  return refusalOf(CALLS[call]);
}

function refusalOf(act: () => void): string | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

async function space(path: string) {
  const { bsize, blocks, bavail, files, ffree } = await statfs(path);
  const mounts = listMounts().filter(
    ({ target }) => target === "/" || path === target || path.startsWith(`${target}/`),
  );
  const nearest = mounts.toSorted((a, b) => a.target.length - b.target.length).at(-1);
  return {
    bytes: blocks * bsize,
    freeBytes: bavail * bsize,
    inodes: files,
    freeInodes: ffree,
    fileSystem: nearest?.fstype ?? "unknown",
  };
}

async function overlayRefusal(folder: string): Promise<string | undefined> {
  sweepTrials(folder);
  let trial: string;
  try {
    trial = await mkdtemp(join(folder, `${TRIAL}${process.pid}-`));
  } catch (error) {
    return messageOf(error);
  }
  const at = (name: string) => join(trial, name);
  try {
    for (const name of ["lower", "upper", "work", "merged"]) mkdirSync(at(name));
    writeFileSync(at("lower/hidden"), "below");
    writeFileSync(at("lower/shown"), "below");
    mountOverlay(at("merged"), { lower: [at("lower")], upper: at("upper"), work: at("work") });
    try {
      rmSync(at("merged/hidden"));
      writeFileSync(at("merged/shown"), "above");
      if (readText(at("merged/shown")) !== "above") return "what is written into it is not read back";
      // Without d_type the kernel hides nothing.
      if (listFolder(at("merged")).includes("hidden"))
        return "what is removed from it stays: the file system lacks d_type";
      return undefined;
    } finally {
      unmount(at("merged"), MNT.DETACH | MNT.NOFOLLOW);
    }
  } catch (error) {
    return messageOf(error);
  } finally {
    await rm(trial, { recursive: true, force: true });
  }
}

/** What a crash left of a trial: mounts first, nothing is removed beneath one. */
function sweepTrials(folder: string): void {
  for (const name of listFolder(folder)) {
    if (!name.startsWith(TRIAL) || isAlive(Number(name.slice(TRIAL.length).split("-")[0]))) continue;
    const path = join(folder, name);
    for (const { target } of listMounts(path).toReversed()) unmount(target, MNT.DETACH | MNT.NOFOLLOW);
    rmSync(path, { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return hasCode(error, "EPERM");
  }
}

async function syncTimes(folder: string): Promise<readonly number[]> {
  const trial = await mkdtemp(join(folder, `${TRIAL}${process.pid}-`));
  try {
    await using file = await open(join(trial, "sync"), "w");
    const times: number[] = [];
    for (let turn = 0; turn < SYNCED_WRITES; turn++) {
      const began = performance.now();
      await file.write(Buffer.alloc(4096, turn), 0, 4096, 0);
      await file.datasync();
      times.push(performance.now() - began);
    }
    return times.sort((a, b) => a - b);
  } finally {
    await rm(trial, { recursive: true, force: true });
  }
}

function sandboxRefusals(folder: string): SandboxRefusals {
  mkdirSync(folder, { recursive: true, mode: 0o711 });
  sweepTrials(folder);
  const path = join(folder, `${TRIAL}${process.pid}-${Math.random().toString(36).slice(2)}`);
  try {
    createNetns(path);
  } catch (error) {
    return { namespace: messageOf(error) };
  }
  try {
    // All of it goes with the namespace.
    return inNetns(path, () => {
      const tries: Record<string, () => void> = {
        bridge: () => using(new Netlink(), (netlink) => netlink.createBridge("doctor0")),
        veth: () =>
          using(new Netlink(), (netlink) => netlink.createVeth({ name: "doctor1", peer: { name: "doctor2" } })),
        nftables: () => using(new Nftables(), (nft) => nft.run("add table inet doctor")),
      };
      const refusals: Record<string, string> = {};
      for (const [what, act] of Object.entries(tries)) {
        const why = refusalOf(act);
        if (why !== undefined) refusals[what] = why;
      }
      return refusals;
    });
  } finally {
    removeNetns(path);
  }
}

function using<T extends { close(): void }>(resource: T, act: (resource: T) => void): void {
  try {
    act(resource);
  } finally {
    resource.close();
  }
}

function routes(): readonly HostRoute[] {
  using netlink = new Netlink();
  const links = new Map(netlink.links().map(({ index, name }) => [index, name]));
  return netlink
    .routes()
    .filter(({ table, destination, index }) => table !== LOCAL_TABLE && isSomebodys(destination) && index !== 0)
    .map(({ destination, index }) => ({
      destination,
      device: links.get(index) ?? "",
    }));
}

/** A default route, or half of one as VPNs have them, is for what nobody else has; every link has its own fe80::. */
function isSomebodys(destination: string): boolean {
  return (
    destination !== "default" && !/^(fe80:|ff00::|(0\.0\.0\.0|128\.0\.0\.0|::|8000::)\/1$|2000::\/3$)/.test(destination)
  );
}

function defaultMtu(): number | undefined {
  using netlink = new Netlink();
  const way = netlink
    .routes()
    .find(({ table, destination, family }) => table === MAIN_TABLE && destination === "default" && family === 4);
  return netlink.links().find(({ index }) => index === way?.index)?.mtu;
}

function loopbackRefusal(): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  const server = createServer((socket) => socket.destroy());
  const timer = setTimeout(() => resolve("nothing came through in time"), REACH_MS);
  server.once("error", (error) => resolve(messageOf(error)));
  server.listen(0, "127.0.0.1", () => {
    const address = server.address();
    const socket = dial({ host: "127.0.0.1", port: typeof address === "object" ? (address?.port ?? 0) : 0 });
    socket.once("connect", () => resolve(undefined));
    socket.once("error", (error) => resolve(messageOf(error)));
    void promise.then(() => socket.destroy());
  });
  return promise.finally(() => {
    clearTimeout(timer);
    server.close();
  });
}

const LOOK_THROUGH = `
const { DatabaseSync } = require("node:sqlite");
const db = new DatabaseSync(process.argv[1], { readOnly: true });
console.log(Object.values(db.prepare("PRAGMA quick_check(1)").get())[0]);
`;

/** In a process of its own: a large database takes seconds, and what serves it must not wait. */
async function integrity(path: string): Promise<string> {
  const args = ["--disable-warning=ExperimentalWarning", "-e", LOOK_THROUGH, "--", path];
  try {
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: PROGRAM_MS });
    return stdout.trim();
  } catch (error) {
    const { stderr = "" } = error as { stderr?: string };
    throw new Error(/^(?:\w*Error): (.*)$/m.exec(stderr)?.[1] ?? "it could not be looked through in time");
  }
}
