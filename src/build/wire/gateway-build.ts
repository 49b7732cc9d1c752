import { GantryError } from "../../base/errors.ts";
import { Gate } from "../../base/gate.ts";
import type { Definition } from "../../buildkit/control.ts";
import { type Result, ResultSchema, type ReturnRequest, type SolveRequest } from "../../buildkit/gateway.ts";
import { create } from "../../buildkit/message.ts";
import { GrpcError, STATUS, statusCode } from "../../grpc/status.ts";
import type { ImageProcess } from "../../oci/image.ts";
import type { AskedSource, DescribedSource } from "../asked-source.ts";
import type { BuildResult } from "../builder.ts";
import { readDefinition } from "../definition/definition.ts";
import type { BuildInput } from "../made.ts";
import type { OpenRoot } from "../root.ts";
import { type Definitions, definitionOf } from "./definitions.ts";
import { type ContainersPorts, GatewayContainers } from "./gateway-containers.ts";
import { type FrontendRequest, HandedResult, type RunPaused } from "./handed-result.ts";
import type { HeldFailures } from "./held-failures.ts";
import { LookedResults, platformIn } from "./looked-results.ts";
import { QUESTIONS } from "./options.ts";
import { refusePolicies } from "./source-questions.ts";

export interface GatewayPorts {
  /** Answers a question about what is to be built. */
  answer(request: FrontendRequest): Promise<BuildResult>;
  readonly run: RunPaused;
  readonly definitions: Definitions;
  /** Commands that failed. */
  readonly failures: HeldFailures;
  readonly openContainer: ContainersPorts["open"];
  /** What a source is now. */
  describe(asked: AskedSource, signal: AbortSignal): Promise<DescribedSource>;
}

/** More than any client of one build keeps. */
const MOST_RESULTS = 1000;
/** Of which each may have as much as a message. */
const READS_AT_ONCE = 2;
const DESCRIBE = "frontend.subrequests.describe";

/**
 * A build of which the client says what is to be built while it runs: it asks for results, looks at them if it likes,
 * passes them on to others of its builds, and returns one, which is then exported. A result is built when it is looked
 * at or returned.
 */
export class GatewayBuild implements AsyncDisposable {
  readonly #ports: GatewayPorts;
  readonly #results = new Map<string, HandedResult>();
  readonly #returned = Promise.withResolvers<HandedResult | undefined>();
  readonly #used = new DisposableStack();
  readonly #looked = new LookedResults();
  readonly containers: GatewayContainers;
  /** What is read of files is held until the client has taken it: it waits for its turn. */
  readonly reads: Gate = new Gate(READS_AT_ONCE);
  #count = 0;
  /** The client has returned what it wanted. */
  #isDone = false;
  #isEnded = false;

  constructor(ports: GatewayPorts) {
    this.#ports = ports;
    this.containers = new GatewayContainers({
      look: (id) => this.look(id),
      processOf: (id) => this.#processOf(id),
      open: ports.openContainer,
    });
    // Nobody may be waiting for it.
    this.#returned.promise.catch(() => {});
  }

  /** What the client returned; undefined is nothing to build. Rejects with the error it returned. */
  get returned(): Promise<HandedResult | undefined> {
    return this.#returned.promise;
  }

  /** The client has no results any more: those that nobody else uses end. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isEnded = true;
    await this.containers[Symbol.asyncDispose]();
    for (const result of this.#results.values()) {
      this.#ports.definitions.remove(result);
      result.end(this.#isDone);
    }
    this.#results.clear();
    this.#used.dispose();
    await this.#looked[Symbol.asyncDispose]();
    await this.#ports.failures[Symbol.asyncDispose]();
  }

  async solve(request: SolveRequest): Promise<Result> {
    if (request.Frontend === "") {
      // An empty definition is an empty root.
      if ((request.Definition?.def.length ?? 0) === 0) return create(ResultSchema, { result: ref("") });
    }
    refusePolicies(request);
    const asked: FrontendRequest = {
      frontend: request.Frontend,
      options: request.FrontendOpt,
      cacheImports: request.CacheImports.map(({ Type, Attrs }) => ({ type: Type, attributes: Attrs })),
      inputs: await this.#inputs(request.FrontendInputs),
      ...(request.Frontend === "" && (await this.#defined(request.Definition!))),
    };
    const question = asked.options.requestid ?? "";
    if (question === DESCRIBE) return described();
    if (question !== "") return answered(await this.#ports.answer(asked));
    const { id, result } = this.#hand(asked);
    if (request.Evaluate) await result.evaluate();
    return resultOf(id, result);
  }

  /** Builds it, once. */
  async evaluate(id: string): Promise<void> {
    if (id !== "") await this.find(id).evaluate();
  }

  describe(asked: AskedSource, signal: AbortSignal): Promise<DescribedSource> {
    return this.#ports.describe(asked, signal);
  }

  /** Where a result can be read, from now on until the build ends. */
  look(id: string): Promise<OpenRoot> {
    if (id === "") throw new GantryError("not-found", "an empty result has no files");
    return this.#ports.failures.look(id) ?? this.#looked.look(id, this.find(id));
  }

  async #processOf(id: string): Promise<ImageProcess | undefined> {
    const result = this.#results.get(id.split("/", 1)[0]!);
    return result === undefined ? undefined : (await result.madeFor(platformIn(id))).target.config.config;
  }

  return({ result, error }: ReturnRequest): void {
    if (error !== undefined) {
      const details = error.details.map(({ typeUrl, value }) => ({ typeUrl, value }));
      const code = statusCode(error.code);
      this.#returned.reject(new GrpcError(code === STATUS.ok ? STATUS.unknown : code, error.message, { details }));
      return;
    }
    const found = new Set(idsOf(result).flatMap((id) => (id === "" ? [] : [this.find(id)])));
    if (found.size > 1) {
      throw new GantryError("unsupported", "a build that returns several results at once is not supported");
    }
    const [one] = found;
    this.#isDone = true;
    this.#returned.resolve(one);
  }

  /** A result by what the client calls it: of several platforms each has a name of its own. */
  find(id: string): HandedResult {
    const found = this.#results.get(id.split("/", 1)[0]!);
    const isNamed = !id.includes("/") || platformsOf(found).includes(platformIn(id));
    if (found === undefined || !isNamed) throw new GantryError("not-found", `no such ref: ${id.slice(0, 200)}`);
    return found;
  }

  /** Kept for as long as this build goes on, whatever becomes of theirs. */
  async #inputs(definitions: SolveRequest["FrontendInputs"]): Promise<ReadonlyMap<string, BuildInput>> {
    const inputs = new Map<string, BuildInput>();
    for (const [name, definition] of Object.entries(definitions)) {
      inputs.set(name, definition.def.length === 0 ? NOTHING : await this.#input(definition));
    }
    return inputs;
  }

  /** Another build's result, or one that is built by what the client says of it. */
  async #input(definition: Definition): Promise<BuildInput> {
    const known = this.#ports.definitions.find(definition);
    if (known !== undefined) {
      this.#use(known);
      return known;
    }
    const nothing = { frontend: "", options: {}, cacheImports: [] };
    return this.#hand({ ...nothing, ...(await this.#defined(definition)), isInput: true }).result;
  }

  /** What a definition says, with what it stands on of other builds. */
  async #defined(definition: Definition): Promise<Pick<FrontendRequest, "definition" | "inputs">> {
    const read = await readDefinition(definition);
    const inputs = this.#ports.definitions.usedBy(read);
    for (const result of inputs.values()) this.#use(result);
    return { definition: read, inputs };
  }

  /** Another's result is kept until this build ends. */
  #use(result: HandedResult): void {
    this.#refuseEnded();
    this.#used.use(result.use());
  }

  /** What takes its time, as long definitions do, may come to its end after the build did: nobody would end it. */
  #refuseEnded(): void {
    if (this.#isEnded) throw new GantryError("not-found", "the build has ended");
  }

  #hand(asked: FrontendRequest): { readonly id: string; readonly result: HandedResult } {
    this.#refuseEnded();
    if (this.#results.size >= MOST_RESULTS) throw new GantryError("invalid", "the build has too many results");
    const id = `result-${++this.#count}`;
    const result = new HandedResult(asked, this.#ports.run);
    this.#results.set(id, result);
    this.#ports.definitions.add(result);
    return { id, result };
  }
}

/** An empty definition is an empty root. */
const NOTHING: BuildInput = {
  made: async (platform) => ({
    target: {
      platform,
      root: undefined,
      config: { ...platform, rootfs: { type: "layers", diff_ids: [] } },
      history: [],
    },
    root: undefined,
    key: undefined,
    sources: [],
  }),
};

/** One result, or one for each platform that was asked for where it may be several. */
function resultOf(id: string, result: HandedResult): Result {
  const def = definitionOf(result);
  const platforms = platformsOf(result);
  if (platforms.length < 2) return create(ResultSchema, { result: ref(id, def) });
  const refs = Object.fromEntries(platforms.map((name) => [name, { id: `${id}/${name}`, def }]));
  return create(ResultSchema, { result: { case: "refs", value: { refs } } });
}

/** That it was asked for, by the names that the client has for them. */
function platformsOf(result: HandedResult | undefined): readonly string[] {
  const names = result?.asked.options.platform ?? "";
  return [...new Set(names.split(",").filter((name) => name !== ""))];
}

function ref(id: string, def?: Definition) {
  return { case: "ref", value: { id, ...(def !== undefined && { def }) } } as const;
}

function idsOf(result: Result | undefined): string[] {
  switch (result?.result.case) {
    case "refDeprecated":
      return [result.result.value];
    case "refsDeprecated":
      return Object.values(result.result.value.refs);
    case "ref":
      return [result.result.value.id];
    case "refs":
      return Object.values(result.result.value.refs).map(({ id }) => id);
    default:
      return [];
  }
}

function answered(result: BuildResult): Result {
  if (result.answer === undefined) throw new GantryError("internal", "the question was not answered");
  const rows = Object.entries({ ...answerOf(result), version: VERSION });
  return create(ResultSchema, { metadata: Object.fromEntries(rows.map(([name, text]) => [name, Buffer.from(text)])) });
}

/** The answer to a question, by the names that BuildKit's clients know; empty for a build. */
export function answerOf({ answer }: BuildResult): Record<string, string> {
  if (answer === undefined) return {};
  return { "result.json": answer.json, "result.txt": answer.text, "result.statuscode": String(answer.code) };
}

const VERSION = "1.0.0";
const DESCRIPTIONS: Readonly<Record<string, string>> = {
  "frontend.outline": "What a target takes: arguments, secrets, agents",
  "frontend.targets": "The targets that can be built",
  "frontend.lint": "What is to be warned about",
  [DESCRIBE]: "The questions that are answered",
};

/** The questions, as BuildKit's clients read them. */
function described(): Result {
  const requests = [...Object.keys(QUESTIONS), DESCRIBE].map((name) => ({
    name,
    version: VERSION,
    type: "rpc",
    description: DESCRIPTIONS[name],
    opts: null,
    inputs: null,
    metadata: [{ name: "result.json" }, { name: "result.txt" }],
    refs: null,
  }));
  const rows = [{ name: "NAME", version: "VERSION", description: "DESCRIPTION" }, ...requests];
  const text = rows.map(({ name, version, description }) => `${name.padEnd(30)} ${version.padEnd(8)} ${description}\n`);
  return create(ResultSchema, {
    metadata: {
      "result.json": Buffer.from(JSON.stringify(requests, null, 2)),
      "result.txt": Buffer.from(text.join("")),
      version: Buffer.from(VERSION),
    },
  });
}
