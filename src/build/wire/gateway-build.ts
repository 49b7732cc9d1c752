import { GantryError } from "../../base/errors.ts";
import { type Result, ResultSchema, type ReturnRequest, type SolveRequest } from "../../buildkit/gateway.ts";
import { create } from "../../buildkit/message.ts";
import { GrpcError, STATUS, statusCode } from "../../grpc/status.ts";
import type { BuildResult } from "../builder.ts";
import { type FrontendOptions, QUESTIONS } from "./options.ts";
import type { Named } from "./request.ts";

/** What a frontend is asked for: the options of a build. */
export interface FrontendRequest {
  readonly frontend: string;
  readonly options: FrontendOptions;
  readonly cacheImports: readonly Named[];
}

export interface GatewayPorts {
  /** Builds, without a result that leaves the cache; or answers a question. */
  build(request: FrontendRequest): Promise<BuildResult>;
}

/** More than any client of one build keeps. */
const MOST_RESULTS = 1000;
const DESCRIBE = "frontend.subrequests.describe";

/**
 * A build of which the client says what is to be built while it runs: it asks for results, looks at them if it likes,
 * and returns one, which is then exported. A result is built when it is looked at or returned.
 */
export class GatewayBuild {
  readonly #ports: GatewayPorts;
  readonly #results = new Map<string, FrontendRequest>();
  readonly #evaluated = new Map<string, Promise<BuildResult>>();
  readonly #returned = Promise.withResolvers<FrontendRequest | undefined>();
  #count = 0;

  constructor(ports: GatewayPorts) {
    this.#ports = ports;
    // Nobody may be waiting for it.
    this.#returned.promise.catch(() => {});
  }

  /** What the client returned; undefined is nothing to build. Rejects with the error it returned. */
  get returned(): Promise<FrontendRequest | undefined> {
    return this.#returned.promise;
  }

  async solve(request: SolveRequest): Promise<Result> {
    if (request.Frontend === "") {
      // An empty definition is an empty root.
      if ((request.Definition?.def.length ?? 0) === 0) return create(ResultSchema, { result: ref("") });
      throw new GantryError("unsupported", "low-level definitions (LLB) are not built here: only Dockerfiles are");
    }
    if (Object.keys(request.FrontendInputs).length > 0) {
      throw new GantryError("unsupported", "results of other builds are no contexts here");
    }
    if (request.SourcePolicies.length > 0) throw new GantryError("unsupported", "source policies are not supported");
    const asked: FrontendRequest = {
      frontend: request.Frontend,
      options: request.FrontendOpt,
      cacheImports: request.CacheImports.map(({ Type, Attrs }) => ({ type: Type, attributes: Attrs })),
    };
    const question = asked.options.requestid ?? "";
    if (question === DESCRIBE) return described();
    if (question !== "") return answered(await this.#ports.build(asked));
    if (this.#results.size >= MOST_RESULTS) throw new GantryError("invalid", "the build has too many results");
    const id = `result-${++this.#count}`;
    this.#results.set(id, asked);
    if (request.Evaluate) await this.evaluate(id);
    return create(ResultSchema, { result: ref(id) });
  }

  /** Builds it, once. */
  async evaluate(id: string): Promise<void> {
    if (id === "") return;
    const asked = this.#find(id);
    let result = this.#evaluated.get(id);
    if (result === undefined) {
      result = this.#ports.build(asked);
      this.#evaluated.set(id, result);
    }
    await result;
  }

  return({ result, error }: ReturnRequest): void {
    if (error !== undefined) {
      const details = error.details.map(({ typeUrl, value }) => ({ typeUrl, value }));
      const code = statusCode(error.code);
      this.#returned.reject(new GrpcError(code === STATUS.ok ? STATUS.unknown : code, error.message, { details }));
      return;
    }
    const ids = new Set(idsOf(result));
    ids.delete("");
    if (ids.size > 1) {
      throw new GantryError("unsupported", "a build that returns several results at once is not supported");
    }
    const [id] = ids;
    this.#returned.resolve(id === undefined ? undefined : this.#find(id));
  }

  #find(id: string): FrontendRequest {
    const found = this.#results.get(id);
    if (found === undefined) throw new GantryError("not-found", `no such ref: ${id.slice(0, 200)}`);
    return found;
  }
}

function ref(id: string) {
  return { case: "ref", value: { id } } as const;
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
