import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Logger } from "../base/log.ts";
import type { RuntimeSpec } from "../oci/runtime-spec.ts";
import type { CreateProcess, ExecProcess, ProcessExit } from "./process.ts";
import { SupervisorClient } from "./supervisor-client.ts";

const APPLETS = ["sh", "cat", "echo", "ls", "sleep", "dd", "kill", "true", "head", "stty", "yes", "wc", "id", "tr"];
const CRUN = { name: "crun", path: "/usr/bin/crun", args: [] };
const CAPS = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"];

/** A supervisor with a root filesystem of busybox; everything is gone after it. */
export class RuntimeFixture implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "gantry-rt-"));
  readonly execRoot = join(this.folder, "run");
  readonly rootfs = join(this.folder, "rootfs");
  readonly cgroup = `/gantry-test-${randomBytes(4).toString("hex")}`;
  readonly exits: ProcessExit[] = [];
  client!: SupervisorClient;
  readonly #waiting = new Map<string, (exit: ProcessExit) => void>();

  static async make(): Promise<RuntimeFixture> {
    const fixture = new RuntimeFixture();
    fixture.#makeRoot();
    fixture.client = await fixture.connect();
    return fixture;
  }

  async connect(): Promise<SupervisorClient> {
    const client = await SupervisorClient.connect({
      execRoot: this.execRoot,
      nodePath: process.execPath,
      supervisorScript: join(import.meta.dirname, "supervisor/main.ts"),
      log: new Logger("fatal"),
    });
    client.onExit((exit) => {
      this.exits.push(exit);
      const key = exit.execId ?? exit.id;
      this.#waiting.get(key)?.(exit);
    });
    return client;
  }

  get supervisorPid(): number {
    const args = ["-t", join(this.execRoot, "supervisor.lock")];
    // The lock's holder by /proc: no other tool tells it without being installed.
    const { ino } = JSON.parse(execFileSync("stat", ["-c", '{"ino":%i}', args[1]!], { encoding: "utf8" }));
    const row = readFileSync("/proc/locks", "utf8")
      .split("\n")
      .find((line) => line.includes("FLOCK") && line.includes(`:${ino} `));
    return Number(row?.trim().split(/\s+/)[4]);
  }

  exitOf(id: string): Promise<ProcessExit> {
    const known = this.exits.find((exit) => (exit.execId ?? exit.id) === id);
    if (known !== undefined) return Promise.resolve(known);
    const { promise, resolve } = Promise.withResolvers<ProcessExit>();
    this.#waiting.set(id, resolve);
    return promise;
  }

  request(args: readonly string[], options: Partial<CreateProcess> & { readonly memory?: number } = {}): CreateProcess {
    const id = newId();
    const bundle = join(this.folder, "bundles", id);
    mkdirSync(bundle, { recursive: true });
    const terminal = options.terminal ?? false;
    const spec: RuntimeSpec = {
      ociVersion: "1.0.2",
      process: processSpec(args, terminal),
      root: { path: this.rootfs },
      hostname: "box",
      mounts: [
        { destination: "/proc", type: "proc", source: "proc" },
        { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755"] },
        { destination: "/dev/pts", type: "devpts", source: "devpts", options: ["newinstance", "ptmxmode=0666"] },
      ],
      linux: {
        namespaces: (["pid", "network", "mount", "ipc", "uts"] as const).map((type) => ({ type })),
        cgroupsPath: `${this.cgroup}/${id}`,
        resources: options.memory === undefined ? {} : { memory: { limit: options.memory, swap: options.memory } },
      },
    };
    writeFileSync(join(bundle, "config.json"), JSON.stringify(spec));
    const { memory: _memory, ...rest } = options;
    return { id, bundle, runtime: CRUN, terminal, openStdin: false, stdinOnce: false, log: undefined, ...rest };
  }

  execRequest(id: string, args: readonly string[], options: Partial<ExecProcess> = {}): ExecProcess {
    const terminal = options.terminal ?? false;
    return { id, execId: newId(), process: processSpec(args, terminal), terminal, openStdin: false, ...options };
  }

  /** Creates, starts and waits; the container is left to be deleted. */
  async run(args: readonly string[], options: Partial<CreateProcess> = {}): Promise<ProcessExit> {
    const request = this.request(args, options);
    await this.client.create(request);
    await this.client.start(request.id);
    const exit = await this.exitOf(request.id);
    await this.client.delete(request.id);
    return exit;
  }

  /** A client's end of a connection, and the engine's. */
  async sockets(): Promise<{ readonly near: net.Socket; readonly far: net.Socket }> {
    const { promise, resolve } = Promise.withResolvers<net.Socket>();
    const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, resolve);
    const path = join(this.folder, `${newId().slice(0, 12)}.sock`);
    await new Promise<void>((done) => server.listen(path, done));
    const near = net.connect({ path, allowHalfOpen: true });
    const far = await promise;
    server.close();
    return { near, far };
  }

  async attach(
    id: string,
    options: {
      execId?: string;
      stdin?: boolean;
      multiplexed?: boolean;
      detachKeys?: Uint8Array;
      preamble?: Uint8Array;
    } = {},
  ) {
    const { near, far } = await this.sockets();
    const session = this.client.attach({
      ...{ id, execId: options.execId, stdin: options.stdin ?? false, stdout: true, stderr: true },
      multiplexed: options.multiplexed ?? false,
      detachKeys: options.detachKeys ?? new Uint8Array(),
      socket: far,
      head: new Uint8Array(),
      preamble: options.preamble,
    });
    await session.ready;
    return { near, done: session.done };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const pid = this.supervisorPid;
    try {
      for (const { id } of await this.client.list()) await this.client.delete(id);
      await this.client.shutdown();
    } catch (error) {
      if (pid > 0) process.kill(pid, "SIGKILL");
      throw error;
    } finally {
      this.client.close();
      for (const name of ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd", ""]) {
        try {
          rmdirSync(`/sys/fs/cgroup/${name}${this.cgroup}`);
        } catch {
          // Not in this hierarchy.
        }
      }
      rmSync(this.folder, { recursive: true, force: true });
    }
  }

  #makeRoot(): void {
    for (const name of ["bin", "proc", "dev", "sys", "tmp", "etc"])
      mkdirSync(join(this.rootfs, name), { recursive: true });
    copyFileSync("/bin/busybox", join(this.rootfs, "bin/busybox"));
    for (const applet of APPLETS) symlinkSync("busybox", join(this.rootfs, "bin", applet));
    // busybox may be linked dynamically: ldd fails if it isn't.
    let listed = "";
    try {
      listed = execFileSync("ldd", ["/bin/busybox"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    } catch {
      return;
    }
    for (const [path] of listed.matchAll(/\/[^\s()]+/g)) {
      if (!existsSync(path)) continue;
      mkdirSync(join(this.rootfs, dirname(path)), { recursive: true });
      copyFileSync(path, join(this.rootfs, path));
    }
  }
}

export function newId(): string {
  return randomBytes(32).toString("hex");
}

function processSpec(args: readonly string[], terminal: boolean): RuntimeSpec["process"] {
  return {
    terminal,
    user: { uid: 0, gid: 0 },
    args: [...args],
    env: ["PATH=/bin"],
    cwd: "/",
    capabilities: { bounding: CAPS, effective: CAPS, permitted: CAPS, inheritable: [], ambient: [] },
  };
}

/** All that a stream gives, to its end. */
export async function readAll(socket: net.Socket): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of socket) parts.push(part as Buffer);
  return Buffer.concat(parts);
}
