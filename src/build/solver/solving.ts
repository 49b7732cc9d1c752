import { cancelled } from "../../base/abort.ts";
import { sentenceOf } from "../../base/errno-words.ts";
import { GantryError, isKind } from "../../base/errors.ts";
import type { BuildRequest } from "../builder.ts";
import { explain } from "../explain.ts";
import type { Graph, VertexId } from "../graph.ts";
import type { Operator, OperatorContext, ResolvedSource } from "../operator.ts";
import type { CachedStep, CacheImport, UsedSource } from "../parts.ts";
import type { Explanation, OnBuildEvent } from "../progress.ts";
import type { Root } from "../root.ts";
import { StepError } from "../step-error.ts";
import { isSource, type Node, nodeOf } from "./node.ts";
import { NodeKeys } from "./node-keys.ts";
import type { Solver } from "./solver.ts";
import { Telling } from "./telling.ts";
import { UnderWay } from "./under-way.ts";

export interface SolvingOptions {
  readonly graph: Graph;
  readonly request: BuildRequest;
  readonly signal: AbortSignal;
  readonly onEvent: OnBuildEvent;
  /** Caches from elsewhere: asked for when the first step is not here. */
  readonly imports: () => Promise<readonly CacheImport[]>;
  /** A step has run; the root is held until the end of this. */
  readonly onRun?: (vertex: VertexId, root: Root) => void;
}

/**
 * One build's way through its graph. What is asked for is found by a key of how it was made, then by a key of the
 * contents that it reads, else it is run; nothing is solved that nobody asks for. Disposal ends what runs for it alone
 * and lets go of all roots.
 */
export class Solving implements AsyncDisposable {
  readonly #solver: Solver;
  readonly #options: SolvingOptions;
  readonly #nodes = new Map<VertexId, Node>();
  readonly #underWay = new UnderWay();
  readonly #telling: Telling;
  readonly #keys: NodeKeys;
  readonly #roots: Root[] = [];
  readonly #failures = new Map<Node, unknown>();
  #imports: Promise<readonly CacheImport[]> | undefined;

  constructor(solver: Solver, options: SolvingOptions) {
    this.#solver = solver;
    this.#options = options;
    this.#telling = new Telling(options.onEvent);
    this.#keys = new NodeKeys({
      cache: solver.ports.cache,
      operators: solver.ports.operators,
      digest: solver.ports.digest,
      request: options.request,
      underWay: this.#underWay,
      sourceOf: (node) => this.#sourceOf(node),
      rootOf: (node) => this.#rootOf(node),
      contextOf: (node) => this.#contextOf(node),
      fail: (node, error) => this.#fail(node, error),
    });
    const known = { operators: solver.ports.operators, noCache: options.request.noCache };
    for (const [index, vertex] of options.graph.vertices.entries()) {
      const inputs = vertex.inputs.map((id) => this.#node(id));
      this.#nodes.set(vertex.id, nodeOf(vertex, index, inputs, known));
    }
    const stop = () => this.#underWay.abort();
    options.signal.addEventListener("abort", stop, { once: true });
    if (options.signal.aborted) stop();
  }

  /** How many steps there are, and how many of them were found instead of being run. */
  get counts(): { readonly steps: number; readonly cached: number } {
    const steps = [...this.#nodes.values()].filter(({ vertex }) => !isSource(vertex.operation));
    return { steps: steps.length, cached: this.#telling.found };
  }

  /** The sources that were asked what they are, by now. */
  get sources(): readonly UsedSource[] {
    return [...this.#nodes.values()].flatMap(({ resolved, vertex }) =>
      resolved === undefined ? [] : [{ vertex, digest: resolved.digest }, ...(resolved.sources ?? [])],
    );
  }

  /** Equal keys are equal roots. Undefined of an empty one, and of a folder of which only what is read counts. */
  async keyOf(id: VertexId | undefined): Promise<string | undefined> {
    if (id === undefined) return undefined;
    const node = this.#node(id);
    if (isSource(node.vertex.operation) && (await this.#sourceOf(node)).key === undefined) return undefined;
    return node.knownKey ?? this.#keys.keyOf(node);
  }

  /**
   * Solves these vertices, side by side. The first failure in the graph's order is told, when all that ran has ended.
   * The roots are held until the end of this.
   */
  async roots(ids: readonly (VertexId | undefined)[]): Promise<readonly (Root | undefined)[]> {
    const solved = await Promise.allSettled(
      ids.map((id) => (id === undefined ? Promise.resolve(undefined) : this.#rootOf(this.#node(id)))),
    );
    const failed = solved.find((each) => each.status === "rejected");
    if (failed === undefined) {
      for (const id of ids) if (id !== undefined) this.#telling.tellCached(this.#node(id));
      return solved.map((each) => (each as PromiseFulfilledResult<Root | undefined>).value);
    }
    await this.#underWay.end();
    if (this.#options.signal.aborted) throw cancelled();
    const [first] = [...this.#failures].sort(([a], [b]) => a.index - b.index);
    if (first === undefined) throw failed.reason;
    throw new StepError(first[0].vertex, first[1]);
  }

  /** The steps that these vertices were made of and that are cached, inputs first. */
  steps(ids: readonly (VertexId | undefined)[]): readonly CachedStep[] {
    const { cache } = this.#solver.ports;
    const steps = new Map<string, CachedStep>();
    const seen = new Set<string>();
    const pending = ids.flatMap((id) => (id === undefined ? [] : (this.#node(id).knownKey ?? []))).toReversed();
    for (let key = pending.at(-1); key !== undefined; key = pending.at(-1)) {
      const record = steps.has(key) ? undefined : cache.get(key);
      if (record !== undefined && !seen.has(key)) {
        seen.add(key);
        pending.push(...record.inputs.filter((input) => !seen.has(input)).toReversed());
        continue;
      }
      pending.pop();
      if (record === undefined) continue;
      const { createdAt, definitions, description, inputs, snapshot } = record;
      steps.set(key, { key, inputs, definitions, snapshot, description, createdAt });
    }
    return [...steps.values()];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#underWay.end();
    await Promise.all(this.#roots.splice(0).map((root) => root[Symbol.asyncDispose]()));
    const imports = (await this.#imports?.catch(() => [])) ?? [];
    await Promise.all(imports.map((cache) => cache[Symbol.asyncDispose]()));
  }

  #node(id: VertexId): Node {
    const node = this.#nodes.get(id);
    if (node === undefined) throw new GantryError("internal", `the plan has no vertex ${id}`);
    return node;
  }

  #rootOf(node: Node): Promise<Root | undefined> {
    node.root ??= this.#underWay.note(this.#solve(node));
    return node.root;
  }

  async #solve(node: Node): Promise<Root | undefined> {
    try {
      if (isSource(node.vertex.operation)) return await this.#fetch(node);
      const found = await this.#find(node);
      return found ?? (await this.#run(node));
    } catch (error) {
      this.#fail(node, error);
      throw error;
    }
  }

  /** The first step that fails ends the others; what they say then is no failure of their own. */
  #fail(node: Node, error: unknown): void {
    const isEnded = this.#underWay.signal.aborted;
    const isOwn = !isEnded || (node.hasFailed === true && !isKind(error, "cancelled"));
    if (!isOwn) {
      const isRunning = node.started !== undefined && node.isTold !== true;
      if (isRunning) this.#telling.tell(node, { completed: Date.now(), error: cancelled().message });
      return;
    }
    // It may be the failure of what it is made of.
    const isOther = [...this.#failures.values()].includes(error);
    if (!isOther) {
      this.#failures.set(node, error);
      this.#telling.tell(node, { completed: Date.now(), error: sentenceOf(error) });
    }
    // Those that fail in the same turn are heard.
    setImmediate(() => this.#underWay.abort());
  }

  #sourceOf(node: Node): Promise<ResolvedSource> {
    node.source ??= this.#underWay.note(this.#resolve(node));
    return node.source;
  }

  async #resolve(node: Node): Promise<ResolvedSource> {
    const { operation } = node.vertex;
    if (operation.kind === "merge" || operation.kind === "exec" || operation.kind === "files")
      throw new Error("a step");
    this.#telling.begin(node);
    try {
      const operator = this.#solver.ports.operators[operation.kind] as Operator<typeof operation>;
      node.resolved = await operator.resolve!(operation, this.#contextOf(node));
      return node.resolved;
    } catch (error) {
      this.#fail(node, error);
      throw error;
    }
  }

  async #fetch(node: Node): Promise<Root | undefined> {
    const source = await this.#sourceOf(node);
    const root = await source.root();
    if (root !== undefined) this.#roots.push(root);
    this.#telling.tell(node, { completed: Date.now() });
    return root;
  }

  async #find(node: Node): Promise<Root | undefined> {
    const { cache } = this.#solver.ports;
    const known = await this.#keys.knownKeyOf(node);
    const byDefinition = known === undefined ? undefined : this.#hit(node, known, cache.take(known, node.vertex.site));
    if (byDefinition !== undefined) return byDefinition;
    // What was known by its definition turned out to be damaged: the key stays what it is.
    const key = await this.#keys.keyOf(node);
    if (node.isAnew) return undefined;
    return this.#hit(node, key, cache.take(key, node.vertex.site)) ?? (await this.#import(node, key));
  }

  #hit(node: Node, key: string, root: Root | undefined): Root | undefined {
    if (root === undefined) return undefined;
    this.#roots.push(root);
    node.knownKey = key;
    // All that it is made of has been asked for what it is now.
    void this.#keys.definitionOf(node).then(
      (definition) => {
        if (definition !== undefined) this.#solver.ports.cache.define(key, definition);
      },
      () => {},
    );
    this.#telling.tellCached(node);
    return root;
  }

  /** Takes it from a cache elsewhere; what is damaged there is not there. */
  async #import(node: Node, key: string): Promise<Root | undefined> {
    if (this.#options.request.cacheFrom.length === 0) return undefined;
    this.#imports ??= this.#underWay.note(this.#options.imports());
    const context = this.#contextOf(node);
    const definition = node.hasAnew ? undefined : await this.#keys.definitionOf(node);
    for (const cache of await this.#imports) {
      const root =
        (await cache.lookup(key, context)) ??
        (definition === undefined ? undefined : await cache.lookup(definition, context));
      if (root === undefined) continue;
      if (root.snapshot === undefined) {
        await root[Symbol.asyncDispose]();
        continue;
      }
      this.#solver.ports.cache.add(key, { ...(await this.#keep(node)), snapshot: root.snapshot });
      return this.#hit(node, key, root);
    }
    return undefined;
  }

  async #keep(node: Node) {
    const inputs: string[] = [];
    // What has no key of its own is in the ingredients.
    for (const input of node.inputs) {
      if (isSource(input.vertex.operation) && (await this.#sourceOf(input)).key === undefined) continue;
      inputs.push(await this.#keys.keyOf(input));
    }
    const { name, site } = node.vertex;
    return {
      inputs,
      definition: await this.#keys.definitionOf(node),
      site,
      description: name,
      ingredients: node.ingredients,
    };
  }

  async #run(node: Node): Promise<Root | undefined> {
    const key = await this.#keys.keyOf(node);
    const inputs = await this.#underWay.all(node.inputs.map((input) => this.#rootOf(input)));
    const keep = await this.#keep(node);
    if (this.#options.request.explain) node.explanation = this.#explain(node, key);
    this.#telling.begin(node);
    const run = this.#solver.run({
      vertex: node.vertex,
      request: this.#options.request,
      key,
      inputs,
      isAlone: node.isAnew,
      keep,
      signal: this.#underWay.signal,
      onEvent: (event) => this.#telling.forward(node, event),
    });
    const root = await run.catch((error: unknown) => {
      node.hasFailed = true;
      throw error;
    });
    this.#roots.push(root);
    this.#telling.tell(node, { completed: Date.now() });
    this.#options.onRun?.(node.vertex.id, root);
    return root;
  }

  #explain(node: Node, key: string): Explanation {
    const ran = node.inputs.filter((input) => input.started !== undefined && !isSource(input.vertex.operation));
    return explain(this.#solver.ports.cache, {
      vertex: node.vertex,
      key,
      ingredients: node.ingredients,
      isIgnored: node.isAnew,
      ranInputs: ran.map(({ vertex }) => vertex.name),
    });
  }

  #contextOf(node: Node): OperatorContext {
    return {
      request: this.#options.request,
      vertex: node.vertex,
      signal: this.#underWay.signal,
      onEvent: (event) => this.#telling.forward(node, event),
    };
  }
}
