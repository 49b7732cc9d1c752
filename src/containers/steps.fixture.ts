import { randomBytes } from "node:crypto";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EndpointSettings } from "../api/container.ts";
import { Logger } from "../base/log.ts";
import { cgroupAt, removeCgroup } from "../kernel/cgroup.ts";
import { bindMount, MNT, makeShared, unmount } from "../kernel/mount.ts";
import type { NetworkController } from "../networks/network.ts";
import { Sandboxes } from "../networks/sandbox.ts";
import type { Step, StepEnd } from "../runtime/step.ts";
import { SupervisorClient } from "../runtime/supervisor-client.ts";
import { OverlaySnapshotter } from "../snapshots/overlay.ts";
import type { ContainerSettings } from "./ports.ts";
import { Steps } from "./step-runner.ts";

const APPLETS = [
  "sh",
  "cat",
  "echo",
  "ls",
  "sleep",
  "dd",
  "id",
  "env",
  "pwd",
  "mkdir",
  "touch",
  "rm",
  "mv",
  "ln",
  "stat",
];
const MORE = [
  "mount",
  "yes",
  "head",
  "true",
  "false",
  "ip",
  "nc",
  "wc",
  "find",
  "grep",
  "df",
  "kill",
  "setsid",
  "hostname",
];

const NO_LIMITS = {
  ...{ memory: 0, memorySwap: 0, cpuShares: 0, cpuPeriod: 0, cpuQuota: 0, cpusetCpus: "", cpusetMems: "" },
  ...{ shmSize: 0, cgroupParent: "", ulimits: [] },
};

/** Steps over a root filesystem of busybox, with a supervisor of their own; everything is gone after it. */
export class StepsFixture implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "gantry-steps-"));
  readonly dataRoot = join(this.folder, "data");
  readonly execRoot = join(this.folder, "exec");
  readonly root = join(this.folder, "exec/root");
  readonly cgroup = `/gantry-test-${randomBytes(4).toString("hex")}`;
  readonly snapshots: OverlaySnapshotter;
  readonly #sandboxes: Sandboxes;
  #client: SupervisorClient | undefined;
  #steps: Steps | undefined;

  private constructor() {
    for (const path of [this.dataRoot, this.execRoot]) mkdirSync(path);
    for (const path of [this.dataRoot, this.execRoot]) {
      bindMount(path, path);
      makeShared(path);
    }
    this.snapshots = new OverlaySnapshotter({ root: join(this.dataRoot, "snapshots") });
    this.#sandboxes = new Sandboxes(this.execRoot);
  }

  static async make(): Promise<StepsFixture> {
    const fixture = new StepsFixture();
    try {
      fixture.#client = await SupervisorClient.connect({
        execRoot: fixture.execRoot,
        nodePath: process.execPath,
        supervisorScript: join(import.meta.dirname, "../runtime/supervisor/main.ts"),
        log: new Logger("fatal"),
      });
      await fixture.#makeRoot();
      return fixture;
    } catch (error) {
      await fixture[Symbol.asyncDispose]();
      throw error;
    }
  }

  get steps(): Steps {
    this.#steps ??= new Steps({
      networks: this.#networks(),
      runtime: this.#client!,
      log: new Logger("fatal"),
      settings: () => this.settings,
    });
    return this.#steps;
  }

  readonly settings: ContainerSettings = {
    dataRoot: this.dataRoot,
    execRoot: this.execRoot,
    runtimes: new Map([["crun", { name: "crun", path: "/usr/bin/crun", args: [] }]]),
    defaultRuntime: "crun",
    defaultUlimits: [],
    defaultShmSize: 64 << 20,
    dns: { servers: ["192.0.2.53"], search: [], options: [] },
    logDriver: "local",
    logOptions: {},
    initPath: undefined,
    init: false,
    cgroupParent: this.cgroup,
    noNewPrivileges: false,
    seccompProfile: "/usr/share/containers/seccomp.json",
  };

  /** What the upper folder of the root holds: what would become the layer. */
  get upper(): string {
    return this.snapshots.describe("step").UpperDir ?? "";
  }

  step(script: string, change: Partial<Step> = {}): Step {
    return {
      root: this.root,
      args: ["/bin/sh", "-c", script],
      env: ["PATH=/bin"],
      cwd: "/",
      user: "",
      hostname: "builder",
      network: "none",
      extraHosts: [],
      privileged: false,
      limits: NO_LIMITS,
      mounts: [],
      ...change,
    };
  }

  async run(
    script: string,
    change: Partial<Step> = {},
    signal: AbortSignal = new AbortController().signal,
  ): Promise<StepEnd & { readonly stdout: string; readonly stderr: string }> {
    const parts: { readonly stream: number; readonly bytes: Uint8Array }[] = [];
    const take = (stream: 1 | 2, bytes: Uint8Array) => void parts.push({ stream, bytes });
    const end = await this.steps.run(this.step(script, change), { signal, output: { kind: "streams", take } });
    const text = (wanted: number) =>
      Buffer.concat(parts.filter(({ stream }) => stream === wanted).map(({ bytes }) => bytes)).toString();
    return { ...end, stdout: text(1), stderr: text(2) };
  }

  async #makeRoot(): Promise<void> {
    await this.snapshots.prepare("base", undefined, { bare: true });
    const fs = this.snapshots.describe("base").UpperDir!;
    for (const path of ["bin", "etc", "tmp", "run"]) mkdirSync(join(fs, path));
    copyFileSync("/bin/busybox", join(fs, "bin/busybox"));
    for (const name of [...APPLETS, ...MORE]) symlinkSync("busybox", join(fs, "bin", name));
    await this.snapshots.commit("base-layer", "base");
    await this.snapshots.prepare("step", "base-layer");
    mkdirSync(this.root);
    await this.snapshots.mount("step", this.root);
  }

  #networks(): NetworkController {
    const fake: Partial<NetworkController> = {
      createSandbox: (id) => ({ path: this.#sandboxes.create(id) }),
      find: () => ({ id: "", name: "none", driver: "null", isUserDefined: false, isInternal: false }),
      state: () => ({ networks: {}, hasResolver: false }),
      connect: async () => ({}) as EndpointSettings,
      publish: async () => ({}),
      link: () => {},
      hostGateways: () => ["192.0.2.1"],
      release: async (id) => this.#sandboxes.remove(id),
    };
    return fake as NetworkController;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#steps?.quiet();
    await this.snapshots.unmount(this.root);
    await this.#client?.shutdown();
    await removeCgroup(cgroupAt(this.cgroup));
    for (const path of [this.dataRoot, this.execRoot]) unmount(path, MNT.DETACH | MNT.NOFOLLOW);
    rmSync(this.folder, { recursive: true, force: true });
  }
}
