import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Logger } from "../../base/log.ts";
import { listMounts, MNT, unmount } from "../../kernel/mount.ts";
import { OverlaySnapshotter } from "../../snapshots/overlay.ts";
import type { Snapshotter } from "../../snapshots/snapshotter.ts";
import { openMemory } from "../../state/memory.ts";
import type { Store } from "../../state/store.ts";
import type { BuildRequest } from "../builder.ts";
import { StepCache } from "../cache/step-cache.ts";
import type { ExecOperation, FilesOperation, Graph, Operation, Vertex } from "../graph.ts";
import type { Operators } from "../operator.ts";
import type { CacheImport } from "../parts.ts";
import type { BuildEvent, OnBuildEvent, VertexState } from "../progress.ts";
import { plainRequest } from "../request.fixture.ts";
import type { Root } from "../root.ts";
import { Roots } from "../roots.ts";
import { Solver } from "./solver.ts";
import { Solving } from "./solving.ts";

const PLATFORM = { os: "linux", architecture: "amd64" };

/** What a command of the tests does: it is given the root it changes, and may wait. */
export type Command = (root: string, tools: CommandTools) => Promise<void> | void;

export interface CommandTools {
  readonly signal: AbortSignal;
  readonly print: (text: string) => void | Promise<void>;
  readonly inputs: readonly (Root | undefined)[];
}

/**
 * A solver over a real snapshotter, with a client's folder and commands that are functions. Its operations are those of
 * real builds; what runs them is the tests'.
 */
export class TestSolver implements AsyncDisposable {
  readonly root: string;
  readonly store: Store;
  /** What `RUN name` does; each call is noted in `ran`. */
  readonly commands = new Map<string, Command>();
  readonly ran: string[] = [];
  readonly folder: string;
  readonly maxParallelism: number;
  snapshots!: Snapshotter;
  roots!: Roots;
  cache!: StepCache;
  solver!: Solver;

  /** In a folder of its own, which its disposal removes, or in one that a test has. */
  constructor(maxParallelism = 8, root = mkdtempSync(join(tmpdir(), "gantry-solver-")), store = openMemory()) {
    this.maxParallelism = maxParallelism;
    this.root = root;
    this.store = store;
    this.folder = join(root, "context");
    mkdirSync(this.folder, { recursive: true });
    this.open();
  }

  /** As an engine that starts: on what is on the disk. */
  open(): void {
    this.snapshots = new OverlaySnapshotter({ root: join(this.root, "snapshots") });
    this.roots = new Roots({ snapshots: this.snapshots, folder: join(this.root, "places") });
    this.roots.recover();
    this.cache = new StepCache({
      store: this.store,
      snapshots: this.snapshots,
      roots: this.roots,
      log: new Logger("error", () => {}),
    });
    this.solver = new Solver({
      snapshots: this.snapshots,
      roots: this.roots,
      cache: this.cache,
      operators: this.#operators(),
      digest: async (root) => ({ digest: `folder ${root?.folder}`, files: undefined }),
      maxParallelism: this.maxParallelism,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cache.settle();
    for (const { target } of listMounts(this.root).toReversed()) unmount(target, MNT.DETACH | MNT.NOFOLLOW);
    rmSync(this.root, { recursive: true, force: true });
  }

  /** Begins to solve. */
  begin(graph: Graph, options: BeginOptions = {}): Begun {
    return new Begun(this.solver, graph, options);
  }

  /** Solves the last vertex; resolves with what was told of each and the files of the root. */
  async solve(graph: Graph, options: Partial<BuildRequest> = {}): Promise<Solved> {
    await using begun = this.begin(graph, options);
    const root = await begun.done;
    await using open = await root!.open();
    return { ...begun.told(), files: listFiles(open.path) };
  }

  #operators(): Operators {
    const none = {
      resolve: () => {
        throw new Error("the tests have no such source");
      },
    };
    const folderRoot = this.roots.folder(this.folder);
    return {
      image: {
        resolve: async ({ id }) => ({ key: id, root: async () => undefined }),
      },
      layout: none,
      result: none,
      git: none,
      http: none,
      local: { resolve: async () => ({ key: undefined, root: async () => folderRoot.share() }) },
      files: {
        selections: (operation) =>
          operation.actions.flatMap((action) =>
            action.type === "copy" && action.input >= 0
              ? [{ input: action.input, digest: async (root) => this.#digest(root, action.sources[0]!) }]
              : [],
          ),
        run: async (operation, work) => {
          for (const action of operation.actions) {
            if (action.type !== "copy") throw new Error("the tests only copy");
            await using open = await work.inputs[action.input]!.open();
            for (const path of action.sources) {
              writeFileSync(join(work.root, action.target), readFileSync(join(open.path, path)));
            }
          }
        },
      },
      exec: {
        run: async ({ args: [name = ""] }, work, { onEvent, signal, vertex }) => {
          this.ran.push(name);
          const command = this.commands.get(name) ?? ((root) => writeFileSync(join(root, name), name));
          const print = (text: string) =>
            onEvent({
              type: "log",
              log: { vertex: vertex.id, stream: 1, data: Buffer.from(text), timestamp: Date.now() },
            });
          await command(work.root, { signal, print, inputs: work.inputs });
        },
      },
    };
  }

  async #digest(root: Root | undefined, path: string) {
    await using open = await root!.open();
    const digest = createHash("sha256")
      .update(readFileSync(join(open.path, path)))
      .digest("hex");
    return { digest, files: new Map([[path, digest]]) };
  }
}

export interface Solved {
  /** Names of the steps that were found, and of those that were run. */
  readonly cached: readonly string[];
  readonly done: readonly string[];
  readonly vertices: ReadonlyMap<string, VertexState>;
  readonly files: readonly string[];
}

export type BeginOptions = Partial<BuildRequest> & {
  readonly imports?: readonly CacheImport[];
  readonly onEvent?: OnBuildEvent;
};

/** One build of the tests. */
export class Begun implements AsyncDisposable {
  readonly events: BuildEvent[] = [];
  readonly done: Promise<Root | undefined>;
  readonly controller = new AbortController();
  readonly solving: Solving;

  constructor(solver: Solver, graph: Graph, options: BeginOptions) {
    const { imports = [], onEvent, ...rest } = options;
    this.solving = new Solving(solver, {
      graph,
      request: requestOf(rest),
      signal: this.controller.signal,
      onEvent: (event) => {
        this.events.push(event);
        return onEvent?.(event);
      },
      imports: async () => imports,
    });
    this.done = this.solving.roots([graph.vertices.at(-1)!.id]).then(([root]) => root);
    this.done.catch(() => {});
  }

  get log(): string {
    return this.events.map((event) => (event.type === "log" ? Buffer.from(event.log.data).toString() : "")).join("");
  }

  told(): Omit<Solved, "files"> {
    const vertices = new Map<string, VertexState>();
    for (const event of this.events) if (event.type === "vertex") vertices.set(event.vertex.name, event.vertex);
    const ended = [...vertices.values()].filter(({ completed, name }) => completed !== undefined && !/^\(/.test(name));
    return {
      vertices,
      cached: ended.filter(({ cached }) => cached).map(({ name }) => name),
      done: ended.filter(({ cached }) => !cached).map(({ name }) => name),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.solving[Symbol.asyncDispose]();
  }
}

let builds = 0;

export function requestOf(options: Partial<BuildRequest>): BuildRequest {
  return plainRequest({ id: `build${++builds}`, ...options });
}

/** Makes graphs in few words. Names of sources are in brackets. */
export class GraphMaker {
  readonly vertices: Vertex[] = [];

  image(id: string): Vertex {
    return this.#add({ kind: "image", reference: id, id, platform: PLATFORM }, [], `(image ${id})`);
  }

  local(): Vertex {
    return this.#add({ kind: "local", name: "context", exclude: [], followPaths: undefined }, [], "(context)");
  }

  run(
    on: Vertex,
    name: string,
    options: Partial<ExecOperation> & { readonly ignoreCache?: boolean; site?: string } = {},
  ): Vertex {
    const { ignoreCache, site, ...rest } = options;
    const operation: ExecOperation = {
      ...{ kind: "exec", root: 0, args: [name], env: [], cwd: "/", user: "", network: "default", security: "sandbox" },
      ...{ mounts: [], secretEnv: [], platform: PLATFORM },
      ...rest,
    } as ExecOperation;
    return this.#add(operation, [on], `RUN ${name}`, { ignoreCache, site });
  }

  copy(on: Vertex, from: Vertex, path: string): Vertex {
    const action = {
      type: "copy" as const,
      ...{ input: 1, sources: [path], target: `/${path.split("/").at(-1)}`, wildcard: false },
      ...{ allowEmpty: false, followLinks: true, contentsOnly: false, createTarget: true, parents: false, exclude: [] },
      unpack: "never" as const,
      ...{ owner: undefined, mode: undefined },
    };
    const operation: FilesOperation = { kind: "files", root: 0, actions: [action], platform: PLATFORM };
    return this.#add(operation, [on, from], `COPY ${path}`);
  }

  merge(on: Vertex, layer: Vertex): Vertex {
    return this.#add({ kind: "merge" }, [on, layer], `LINK ${layer.name}`);
  }

  /** Needs all of these; they are its inputs to read. */
  join(on: Vertex, others: readonly Vertex[]): Vertex {
    const operation: ExecOperation = {
      ...{
        kind: "exec",
        root: 0,
        args: ["join"],
        env: [],
        cwd: "/",
        user: "",
        network: "default",
        security: "sandbox",
      },
      ...{ mounts: [], secretEnv: [], platform: PLATFORM },
    } as ExecOperation;
    return this.#add(operation, [on, ...others], "RUN join");
  }

  graph(): Graph {
    return { vertices: this.vertices };
  }

  #add(
    operation: Operation,
    inputs: readonly Vertex[],
    name: string,
    { ignoreCache, site }: { readonly ignoreCache?: boolean | undefined; readonly site?: string | undefined } = {},
  ): Vertex {
    const ids = inputs.map((input) => input.id);
    const id = `sha256:${createHash("sha256")
      .update(JSON.stringify([operation, ids]))
      .digest("hex")}`;
    const known = this.vertices.find((vertex) => vertex.id === id);
    if (known !== undefined) return known;
    const vertex: Vertex = {
      ...{ id, operation, inputs: ids, name, stage: "stage" },
      site: site ?? `stage/${this.vertices.length}`,
      ...(ignoreCache === true && { ignoreCache }),
    };
    this.vertices.push(vertex);
    return vertex;
  }
}

function listFiles(root: string): string[] {
  return (readdirSync(root, { recursive: true }) as string[]).sort();
}
