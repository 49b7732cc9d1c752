import { cancelled } from "../../base/abort.ts";
import { sentenceOf } from "../../base/errno-words.ts";
import { GantryError, isKind } from "../../base/errors.ts";
import type { BuildRequest } from "../builder.ts";
import type { Ingredients, InputIngredients } from "../cache/record.ts";
import { explain } from "../explain.ts";
import type { Graph, Operation, Vertex, VertexId } from "../graph.ts";
import type { Operator, OperatorContext, ResolvedSource, SelectionDigest } from "../operator.ts";
import type { CachedStep, CacheImport, UsedSource } from "../parts.ts";
import type { BuildEvent, Explanation, OnBuildEvent, VertexState } from "../progress.ts";
import type { Root } from "../root.ts";
import { StepError } from "../step-error.ts";
import { counted, definitionKey, type Ingredient, sourceKey, stepKey } from "./keys.ts";
import type { Solver } from "./solver.ts";

export interface SolvingOptions {
  readonly graph: Graph;
  readonly request: BuildRequest;
  readonly signal: AbortSignal;
  readonly onEvent: OnBuildEvent;
  /** Caches from elsewhere: asked for when the first step is not here. */
  readonly imports: () => Promise<readonly CacheImport[]>;
}

/** A vertex and what is known of it by now; each is asked for once. */
interface Node {
  readonly vertex: Vertex;
  readonly index: number;
  readonly inputs: readonly Node[];
  /** What it makes may differ from what was made of the same before. */
  readonly isAnew: boolean;
  /** The same of anything that it is made of. */
  readonly hasAnew: boolean;
  source?: Promise<ResolvedSource>;
  resolved?: ResolvedSource;
  definition?: Promise<string | undefined>;
  key?: Promise<string>;
  root?: Promise<Root | undefined>;
  ingredients?: Ingredients;
  knownKey?: string;
  started?: number;
  explanation?: Explanation;
  isTold?: boolean;
  /** Its own run did, whatever came of the others meanwhile. */
  hasFailed?: boolean;
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
  readonly #controller = new AbortController();
  readonly #roots: Root[] = [];
  readonly #underWay = new Set<Promise<unknown>>();
  readonly #failures = new Map<Node, unknown>();
  #imports: Promise<readonly CacheImport[]> | undefined;
  #cached = 0;

  constructor(solver: Solver, options: SolvingOptions) {
    this.#solver = solver;
    this.#options = options;
    for (const [index, vertex] of options.graph.vertices.entries()) {
      const inputs = vertex.inputs.map((id) => this.#node(id));
      const { operation } = vertex;
      const isSource = !("root" in operation) && operation.kind !== "merge";
      const ignored = !isSource && (vertex.ignoreCache === true || options.request.noCache);
      // Of an input that is only read the contents count, whatever made it.
      const read = isSource ? new Set<number>() : this.#readOnly(operation);
      const isAnew = ignored || inputs.some((input, at) => input.isAnew && !read.has(at));
      const hasAnew = isAnew || inputs.some((input) => input.hasAnew);
      this.#nodes.set(vertex.id, { vertex, index, inputs, isAnew, hasAnew });
    }
    const stop = () => this.#controller.abort();
    options.signal.addEventListener("abort", stop, { once: true });
    if (options.signal.aborted) stop();
  }

  /** How many steps there are, and how many of them were found instead of being run. */
  get counts(): { readonly steps: number; readonly cached: number } {
    const steps = [...this.#nodes.values()].filter(({ vertex }) => !isSource(vertex.operation));
    return { steps: steps.length, cached: this.#cached };
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
    return node.knownKey ?? this.#keyOf(node);
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
      for (const id of ids) if (id !== undefined) this.#tellCached(this.#node(id));
      return solved.map((each) => (each as PromiseFulfilledResult<Root | undefined>).value);
    }
    await this.#end();
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
    const add = (key: string): void => {
      if (seen.has(key)) return;
      seen.add(key);
      const record = cache.get(key);
      if (record === undefined) return;
      for (const input of record.inputs) add(input);
      const { createdAt, definitions, description, inputs, snapshot } = record;
      steps.set(key, { key, inputs, definitions, snapshot, description, createdAt });
    };
    for (const id of ids) {
      const key = id === undefined ? undefined : this.#node(id).knownKey;
      if (key !== undefined) add(key);
    }
    return [...steps.values()];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
    await Promise.all(this.#roots.splice(0).map((root) => root[Symbol.asyncDispose]()));
    const imports = (await this.#imports?.catch(() => [])) ?? [];
    await Promise.all(imports.map((cache) => cache[Symbol.asyncDispose]()));
  }

  /** Ends all that goes on for this build. */
  async #end(): Promise<void> {
    this.#controller.abort();
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay);
  }

  #node(id: VertexId): Node {
    const node = this.#nodes.get(id);
    if (node === undefined) throw new GantryError("internal", `the plan has no vertex ${id}`);
    return node;
  }

  /** Notes work, so that its end is waited for whoever still wants its result. */
  #note<T>(work: Promise<T>): Promise<T> {
    const noted = work.then(
      () => {},
      () => {},
    );
    this.#underWay.add(noted);
    void noted.then(() => this.#underWay.delete(noted));
    return work;
  }

  /** All of several, ended when all are: none goes on unwatched. */
  async #all<T>(works: readonly Promise<T>[]): Promise<T[]> {
    return Promise.all(works.map((work) => this.#note(work)));
  }

  #rootOf(node: Node): Promise<Root | undefined> {
    node.root ??= this.#note(this.#solve(node));
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
    const isEnded = this.#controller.signal.aborted;
    const isOwn = !isEnded || (node.hasFailed === true && !isKind(error, "cancelled"));
    if (!isOwn) {
      const isRunning = node.started !== undefined && node.isTold !== true;
      if (isRunning) this.#tell(node, { completed: Date.now(), error: cancelled().message });
      return;
    }
    // It may be the failure of what it is made of.
    const isOther = [...this.#failures.values()].includes(error);
    if (!isOther) {
      this.#failures.set(node, error);
      this.#tell(node, { completed: Date.now(), error: sentenceOf(error) });
    }
    // Those that fail in the same turn are heard.
    setImmediate(() => this.#controller.abort());
  }

  // ---- sources

  #sourceOf(node: Node): Promise<ResolvedSource> {
    node.source ??= this.#note(this.#resolve(node));
    return node.source;
  }

  async #resolve(node: Node): Promise<ResolvedSource> {
    const { operation } = node.vertex;
    if (operation.kind === "merge" || operation.kind === "exec" || operation.kind === "files")
      throw new Error("a step");
    this.#begin(node);
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
    this.#tell(node, { completed: Date.now() });
    return root;
  }

  // ---- keys

  /** A key of how it is made, all the way down; undefined where only what is read says what it is. */
  #definitionOf(node: Node): Promise<string | undefined> {
    node.definition ??= this.#note(this.#define(node));
    return node.definition;
  }

  async #define(node: Node): Promise<string | undefined> {
    const { operation } = node.vertex;
    if (isSource(operation)) {
      const { key } = await this.#sourceOf(node);
      return key === undefined ? undefined : sourceKey(operation.kind, key);
    }
    const inputs = await this.#all(node.inputs.map((input) => this.#definitionOf(input)));
    const known = inputs.filter((key) => key !== undefined);
    return known.length < inputs.length ? undefined : definitionKey(operation, known, this.#options.request);
  }

  #keyOf(node: Node): Promise<string> {
    node.key ??= this.#note(this.#makeKey(node)).then((key) => {
      node.knownKey = key;
      return key;
    });
    return node.key;
  }

  async #makeKey(node: Node): Promise<string> {
    const { operation } = node.vertex;
    if (isSource(operation)) {
      const { key } = await this.#sourceOf(node);
      if (key === undefined) throw new Error("only what is read of a folder has a key");
      return sourceKey(operation.kind, key);
    }
    const known = await this.#knownKeyOf(node);
    if (known !== undefined) return known;
    const inputs = await this.#all(node.inputs.map((_, at) => this.#ingredientsOf(node, at))).catch(
      (error: unknown) => {
        this.#fail(node, error);
        throw error;
      },
    );
    // Passwords of proxies must not be kept, nor do they count.
    node.ingredients = { operation: counted(operation), inputs: inputs.flatMap(({ told }) => told) };
    return stepKey(
      operation,
      inputs.map(({ counted }) => counted),
      this.#options.request,
    );
  }

  /** The key of a result that is here and was made in the same way. */
  async #knownKeyOf(node: Node): Promise<string | undefined> {
    if (node.hasAnew) return undefined;
    const definition = await this.#definitionOf(node);
    if (definition === undefined) return undefined;
    const { cache } = this.#solver.ports;
    const key = cache.keyOf(definition);
    return key !== undefined && cache.get(key) !== undefined ? key : undefined;
  }

  async #ingredientsOf(
    node: Node,
    at: number,
  ): Promise<{ readonly counted: readonly Ingredient[]; readonly told: readonly InputIngredients[] }> {
    const input = node.inputs[at]!;
    const { name } = input.vertex;
    const digests = await this.#selectionsOf(node, at);
    if (digests === undefined) {
      const key = await this.#keyOf(input);
      return { counted: [{ key }], told: [{ name, key }] };
    }
    return {
      counted: digests.map(({ digest }) => ({ digest })),
      told: digests.map(({ digest, files }) => ({
        name,
        digest,
        ...(files !== undefined && { files: shortened(files) }),
      })),
    };
  }

  /** Digests of what is read of an input; undefined where it counts how that was made. */
  async #selectionsOf(node: Node, at: number): Promise<readonly SelectionDigest[] | undefined> {
    const { operation } = node.vertex;
    const input = node.inputs[at]!;
    const selections = this.#selections(operation).filter(({ input: wanted }) => wanted === at);
    const context = this.#contextOf(node);
    if (selections.length > 0) {
      const root = await this.#rootOf(input);
      return this.#all(selections.map((selection) => selection.digest(root, context)));
    }
    if (!isSource(input.vertex.operation) || (await this.#sourceOf(input)).key !== undefined) return undefined;
    const root = await this.#rootOf(input);
    return [await this.#solver.ports.digest(root, context.signal)];
  }

  #selections(operation: Operation) {
    if (operation.kind !== "exec" && operation.kind !== "files") return [];
    const operator = this.#solver.ports.operators[operation.kind] as Operator<typeof operation>;
    return operator.selections?.(operation) ?? [];
  }

  #readOnly(operation: Operation): ReadonlySet<number> {
    return new Set(this.#selections(operation).map(({ input }) => input));
  }

  // ---- finding and running

  async #find(node: Node): Promise<Root | undefined> {
    const { cache } = this.#solver.ports;
    const known = await this.#knownKeyOf(node);
    const byDefinition = known === undefined ? undefined : this.#hit(node, known, cache.take(known, node.vertex.site));
    if (byDefinition !== undefined) return byDefinition;
    // What was known by its definition turned out to be damaged: the key stays what it is.
    const key = await this.#keyOf(node);
    if (node.isAnew) return undefined;
    return this.#hit(node, key, cache.take(key, node.vertex.site)) ?? (await this.#import(node, key));
  }

  #hit(node: Node, key: string, root: Root | undefined): Root | undefined {
    if (root === undefined) return undefined;
    this.#roots.push(root);
    node.knownKey = key;
    // All that it is made of has been asked for what it is now.
    void this.#definitionOf(node).then(
      (definition) => {
        if (definition !== undefined) this.#solver.ports.cache.define(key, definition);
      },
      () => {},
    );
    this.#tellCached(node);
    return root;
  }

  /** Takes it from a cache elsewhere; what is damaged there is not there. */
  async #import(node: Node, key: string): Promise<Root | undefined> {
    if (this.#options.request.cacheFrom.length === 0) return undefined;
    this.#imports ??= this.#note(this.#options.imports());
    const context = this.#contextOf(node);
    const definition = node.hasAnew ? undefined : await this.#definitionOf(node);
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
      inputs.push(await this.#keyOf(input));
    }
    const { name, site } = node.vertex;
    return {
      inputs,
      definition: await this.#definitionOf(node),
      site,
      description: name,
      ingredients: node.ingredients,
    };
  }

  async #run(node: Node): Promise<Root | undefined> {
    const key = await this.#keyOf(node);
    const inputs = await this.#all(node.inputs.map((input) => this.#rootOf(input)));
    const keep = await this.#keep(node);
    if (this.#options.request.explain) node.explanation = this.#explain(node, key);
    this.#begin(node);
    const run = this.#solver.run({
      vertex: node.vertex,
      request: this.#options.request,
      key,
      inputs,
      isAlone: node.isAnew,
      keep,
      signal: this.#controller.signal,
      onEvent: (event) => this.#forward(node, event),
    });
    const root = await run.catch((error: unknown) => {
      node.hasFailed = true;
      throw error;
    });
    this.#roots.push(root);
    this.#tell(node, { completed: Date.now() });
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

  // ---- telling

  #contextOf(node: Node): OperatorContext {
    return {
      request: this.#options.request,
      vertex: node.vertex,
      signal: this.#controller.signal,
      onEvent: (event) => this.#forward(node, event),
    };
  }

  /** What another build's run tells is told of this build's vertex. */
  #forward(node: Node, event: BuildEvent): void | Promise<void> {
    const { onEvent } = this.#options;
    const vertex = node.vertex.id;
    switch (event.type) {
      case "status":
        return onEvent({ type: "status", status: { ...event.status, vertex } });
      case "log":
        return onEvent({ type: "log", log: { ...event.log, vertex } });
      case "warning":
        return onEvent({ type: "warning", warning: { ...event.warning, vertex } });
      case "vertex":
        return onEvent(event);
    }
  }

  #begin(node: Node): void {
    if (node.started !== undefined) return;
    node.started = Date.now();
    this.#tell(node, {});
  }

  #tell(node: Node, state: Partial<VertexState>): void {
    const { id, inputs, name } = node.vertex;
    const started = node.started ?? (state.completed === undefined ? undefined : state.completed);
    if (state.completed !== undefined) node.isTold = true;
    const { explanation } = node;
    const vertex: VertexState = {
      ...{ digest: id, inputs, name, cached: false },
      ...(started !== undefined && { started }),
      ...(explanation !== undefined && { explanation }),
      ...state,
    };
    void this.#options.onEvent({ type: "vertex", vertex });
  }

  /** Says of a step that was found, and of all that it was made of, that nothing was done. */
  #tellCached(node: Node): void {
    if (node.isTold === true) return;
    for (const input of node.inputs) this.#tellCached(input);
    if (!isSource(node.vertex.operation)) this.#cached++;
    this.#tell(node, { cached: true, completed: Date.now() });
  }
}

function isSource(operation: Operation): boolean {
  return operation.kind !== "exec" && operation.kind !== "files" && operation.kind !== "merge";
}

/** Enough of each digest to tell two files apart. */
function shortened(files: ReadonlyMap<string, string>): Record<string, string> {
  return Object.fromEntries([...files].map(([path, digest]) => [path, digest.replace(/^sha256:/, "").slice(0, 16)]));
}
