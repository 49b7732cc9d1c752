import { mkdirSync, mkdtempSync } from "node:fs";
import { join } from "node:path";
import { duplexPair } from "node:stream";
import { GantryError } from "../../base/errors.ts";
import { Logger } from "../../base/log.ts";
import { StepsFixture } from "../../containers/steps.fixture.ts";
import { hostPlatform } from "../../oci/platform.ts";
import { openMemory } from "../../state/memory.ts";
import type { BuildRequest } from "../builder.ts";
import type { ExecMount, ExecOperation, Vertex } from "../graph.ts";
import type { Root } from "../root.ts";
import { Roots } from "../roots.ts";
import type { BuildSession } from "../session.ts";
import { openSteps } from "./open-steps.ts";

/** A client of a builder as steps see it. */
export class Client implements Partial<BuildSession> {
  readonly secrets = new Map<string, string>();
  readonly agents = new Set<string>();
  readonly left = new AbortController();
  readonly gone = this.left.signal;

  serves(): boolean {
    return true;
  }

  async secret(id: string): Promise<Uint8Array | undefined> {
    const value = this.secrets.get(id);
    return value === undefined ? undefined : Buffer.from(value);
  }

  async checkAgent(id: string): Promise<void> {
    if (!this.agents.has(id)) throw new GantryError("not-found", `unset ssh forward key ${id}`);
  }

  /** An agent that says again what it hears. */
  async agent(): Promise<import("node:stream").Duplex> {
    const [near, far] = duplexPair();
    far.pipe(far);
    return near;
  }
}

/** Steps of builds over busybox; everything is gone after it. */
export class ExecFixture implements AsyncDisposable {
  readonly steps: StepsFixture;
  readonly roots: Roots;
  readonly client = new Client();
  readonly parts: ReturnType<typeof openSteps>;
  readonly store = openMemory();
  readonly held = new Set<object>();
  request: Partial<BuildRequest> = {};
  /** What the last step printed, also if it failed. */
  printed = "";

  private constructor(steps: StepsFixture) {
    this.steps = steps;
    const { dataRoot, execRoot, snapshots } = steps;
    this.roots = new Roots({ snapshots, folder: join(execRoot, "build/roots") });
    this.parts = openSteps({
      ...{ dataRoot, execRoot, store: this.store, log: new Logger("fatal"), driver: "overlay2", runner: steps.steps },
      digest: async () => ({ digest: "", files: undefined }),
    });
  }

  static async make(): Promise<ExecFixture> {
    const fixture = new ExecFixture(await StepsFixture.make());
    fixture.roots.recover();
    await fixture.parts.recover();
    return fixture;
  }

  /** A folder for an input, on the data root. */
  folder(): { readonly path: string; readonly root: Root } {
    mkdirSync(join(this.steps.dataRoot, "inputs"), { recursive: true });
    const path = mkdtempSync(join(this.steps.dataRoot, "inputs/"));
    return { path, root: this.roots.folder(path) };
  }

  async run(
    script: string,
    change: Partial<ExecOperation> & {
      readonly inputs?: readonly (Root | undefined)[];
      readonly signal?: AbortSignal;
    } = {},
  ): Promise<string> {
    const { inputs = [], signal = new AbortController().signal, ...rest } = change;
    const operation: ExecOperation = {
      kind: "exec",
      root: -1,
      args: ["/bin/sh", "-c", script],
      env: ["PATH=/bin"],
      cwd: "/",
      user: "",
      network: "none",
      security: "sandbox",
      mounts: [],
      secretEnv: [],
      platform: hostPlatform(),
      ...rest,
    };
    this.printed = "";
    const hold = () => {
      const holder = { [Symbol.asyncDispose]: async () => void this.held.delete(holder) };
      this.held.add(holder);
      return holder;
    };
    await this.parts.operator.run!(
      operation,
      { root: this.steps.root, inputs, hold },
      {
        request: this.#request(),
        vertex: { id: "sha256:1", inputs: inputs.map((_, index) => `sha256:in${index}`) } as unknown as Vertex,
        signal,
        onEvent: (event) => {
          if (event.type === "log") this.printed += Buffer.from(event.log.data).toString();
        },
      },
    );
    return this.printed;
  }

  #request(): BuildRequest {
    const { limits } = this.steps.step("");
    const plain: Partial<BuildRequest> = { id: "build", network: "none", extraHosts: [], entitlements: [], limits };
    const session = this.client as unknown as BuildSession;
    return { ...plain, session, origin: "buildkit", keepFailed: false, ...this.request } as BuildRequest;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.parts.close();
    await this.steps[Symbol.asyncDispose]();
  }
}

export function bind(target: string, source = "/", writable = false): ExecMount {
  return { type: "bind", target, input: 0, source, writable };
}

export function cache(target: string, change: Partial<Extract<ExecMount, { type: "cache" }>> = {}): ExecMount {
  const rest = { id: target, sharing: "shared", readonly: false, input: -1, source: "/" } as const;
  return { type: "cache", target, ...rest, mode: 0o755, uid: 0, gid: 0, ...change };
}

export function secret(target: string, id: string, required = true): ExecMount {
  return { type: "secret", target, id, required, mode: 0o400, uid: 0, gid: 0 };
}
