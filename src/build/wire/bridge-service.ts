import { throwIfAborted } from "../../base/abort.ts";
import { GantryError } from "../../base/errors.ts";
import {
  APICapSchema,
  BRIDGE,
  EvaluateResponseSchema,
  InputsResponseSchema,
  NewContainerResponseSchema,
  PongResponseSchema,
  ReadDirResponseSchema,
  ReadFileResponseSchema,
  ReleaseContainerResponseSchema,
  type Result,
  ReturnResponseSchema,
  SolveResponseSchema,
  StatFileResponseSchema,
  WarnResponseSchema,
} from "../../buildkit/gateway.ts";
import { create } from "../../buildkit/message.ts";
import { BUILD_ID } from "../../buildkit/session.ts";
import type { ServerCall } from "../../grpc/answered-call.ts";
import type { GrpcServer } from "../../grpc/server.ts";
import { FRONTEND_CAPABILITIES, RESULT_CAPABILITIES } from "./capabilities.ts";
import { type WorkerFacts, workerRecord } from "./control-service.ts";
import { execProcesses } from "./exec-process.ts";
import type { GatewayBuild } from "./gateway-build.ts";
import type { GatewayContainers } from "./gateway-containers.ts";
import type { Job, Jobs } from "./jobs.ts";
import {
  type Looked,
  type ReadFolderRequest,
  type ReadRequest,
  readFile,
  readFolder,
  statFile,
} from "./result-files.ts";
import { imageConfig, sourceMeta } from "./source-questions.ts";

type Call = ServerCall<unknown, unknown>;

/** The build that a call is a part of. */
type BuildOf = (call: Call) => Promise<{ readonly job: Job; readonly gateway: GatewayBuild }>;

/** Adds the service by which a client takes part in a build that it has asked for, named in the calls' metadata. */
export function addBridge(server: GrpcServer, jobs: Jobs, worker: WorkerFacts): void {
  const buildOf: BuildOf = async (call) => {
    const id = call.metadata.get(BUILD_ID)?.[0] ?? "";
    // The request for the build itself is on its way, on another stream.
    const job = await jobs.get(id, call.signal);
    if (job.gateway === undefined) throw new GantryError("not-found", `no such job ${id.slice(0, 512)}`);
    return { job, gateway: job.gateway };
  };
  addSolving(server, buildOf, worker);
  addQuestions(server, buildOf);
  addLooks(server, buildOf);
  addContainers(server, buildOf);
}

/** What is to be built, what is told of it meanwhile, and what of it is wanted. */
function addSolving(server: GrpcServer, buildOf: BuildOf, worker: WorkerFacts): void {
  server
    .unary(BRIDGE.ping, async (_request, call) => {
      await buildOf(call);
      return create(PongResponseSchema, {
        FrontendAPICaps: FRONTEND_CAPABILITIES.map(capability),
        LLBCaps: RESULT_CAPABILITIES.map(capability),
        Workers: [workerRecord(worker)],
      });
    })
    .unary(BRIDGE.solve, async (request, call) => {
      const { gateway } = await buildOf(call);
      const result = await gateway.solve(request);
      return request.allowResultReturn
        ? create(SolveResponseSchema, { result: inForm(result, request.allowResultArrayRef) })
        : create(SolveResponseSchema, { ref: refOf(result) });
    })
    .unary(BRIDGE.evaluate, async ({ Ref }, call) => {
      await (await buildOf(call)).gateway.evaluate(Ref);
      return create(EvaluateResponseSchema);
    })
    .unary(BRIDGE.inputs, async (_request, call) => {
      await buildOf(call);
      return create(InputsResponseSchema);
    })
    .unary(BRIDGE.warn, async ({ detail, digest, info, level, ranges, short, url }, call) => {
      const { job } = await buildOf(call);
      const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("utf8");
      const [range] = ranges;
      await job.told.add({
        type: "warning",
        warning: {
          vertex: digest,
          level: Number(level),
          short: text(short),
          detail: detail.map(text),
          url,
          ...(info && { text: text(info.data) }),
          ...(info &&
            range && {
              source: { file: info.filename, start: range.start?.line ?? 0, end: range.end?.line ?? 0 },
            }),
        },
      });
      return create(WarnResponseSchema);
    })
    .unary(BRIDGE.return, async (request, call) => {
      (await buildOf(call)).gateway.return(request);
      return create(ReturnResponseSchema);
    });
}

/** What sources are. */
function addQuestions(server: GrpcServer, buildOf: BuildOf): void {
  server
    .unary(BRIDGE.resolveImageConfig, async (request, call) => {
      const { gateway } = await buildOf(call);
      return imageConfig(request, (asked) => gateway.describe(asked, call.signal));
    })
    .unary(BRIDGE.resolveSourceMeta, async (request, call) => {
      const { gateway } = await buildOf(call);
      return sourceMeta(request, (asked) => gateway.describe(asked, call.signal));
    });
}

/** Files of results and of containers. */
function addLooks(server: GrpcServer, buildOf: BuildOf): void {
  const inResult: LookIn<Named> = (gateway, { Ref }) => gateway.look(Ref);
  const inContainer: LookIn<Mounted> = (gateway, { MountIndex, Ref }) => gateway.containers.look(Ref, MountIndex);
  const told = async <I, O>(
    request: I,
    call: ServerCall<I, O>,
    look: LookIn<I>,
    read: (looked: Looked) => Promise<O>,
  ) => {
    const { gateway } = await buildOf(call);
    const looked = await look(gateway, request);
    await gateway.reads.run(async () => {
      throwIfAborted(call.signal);
      await call.send(await read(looked));
    });
  };
  const file = (request: ReadRequest) => async (looked: Looked) =>
    create(ReadFileResponseSchema, { Data: await readFile(looked, request) });
  const folder = (request: ReadFolderRequest) => async (looked: Looked) =>
    create(ReadDirResponseSchema, { entries: await readFolder(looked, request) });
  server
    .serverStream(BRIDGE.readFile, (request, call) => told(request, call, inResult, file(request)))
    .serverStream(BRIDGE.readDir, (request, call) => told(request, call, inResult, folder(request)))
    .unary(BRIDGE.statFile, async (request, call) => {
      const { gateway } = await buildOf(call);
      return create(StatFileResponseSchema, { stat: statFile(await inResult(gateway, request), request) });
    })
    .serverStream(BRIDGE.readFileContainer, (request, call) => told(request, call, inContainer, file(request)))
    .serverStream(BRIDGE.readDirContainer, (request, call) => told(request, call, inContainer, folder(request)))
    .unary(BRIDGE.statFileContainer, async (request, call) => {
      const { gateway } = await buildOf(call);
      return create(StatFileResponseSchema, { stat: statFile(await inContainer(gateway, request), request) });
    });
}

type LookIn<I> = (gateway: GatewayBuild, request: I) => Promise<Looked>;

interface Named {
  readonly Ref: string;
}

interface Mounted extends Named {
  readonly MountIndex: number;
}

/** Containers in results, and processes in these. */
function addContainers(server: GrpcServer, buildOf: BuildOf): void {
  const containersOf = async (call: Call): Promise<GatewayContainers> => (await buildOf(call)).gateway.containers;
  server
    .unary(BRIDGE.newContainer, async (request, call) => {
      await (await containersOf(call)).create(request, call.signal);
      return create(NewContainerResponseSchema);
    })
    .unary(BRIDGE.releaseContainer, async ({ ContainerID }, call) => {
      await (await containersOf(call)).release(ContainerID);
      return create(ReleaseContainerResponseSchema);
    })
    .stream(BRIDGE.execProcess, async (call) => execProcesses(await containersOf(call), call));
}

function capability(id: string) {
  return create(APICapSchema, { ID: id, Enabled: true });
}

function refOf({ result }: Result): string {
  return result.case === "ref" ? result.value.id : "";
}

/** Clients of old know results by their names alone. */
function inForm(result: Result, isNew: boolean): Result {
  if (!isNew && result.result.case === "ref") result.result = { case: "refDeprecated", value: result.result.value.id };
  return result;
}
