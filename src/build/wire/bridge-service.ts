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
import { type WorkerFacts, workerRecord } from "./control-service.ts";
import { execProcesses } from "./exec-process.ts";
import type { GatewayBuild } from "./gateway-build.ts";
import type { Job, Jobs } from "./jobs.ts";
import { readFile, readFolder, statFile } from "./result-files.ts";
import { imageConfig, sourceMeta } from "./source-questions.ts";

/** What a client may ask of the build it takes part in. What isn't here it can't. */
const FRONTEND_CAPABILITIES = [
  "solve.base",
  "solve.inlinereturn",
  "return",
  "returnmap",
  "importcaches",
  "proto.refarray",
  "reference.output",
  "frontend.inputs",
  "gateway.solve.metadata",
  "frontend.caps",
  "gateway.solve.evaluate",
  "gateway.evaluate",
  "gateway.warnings",
  "resolveimage",
  "resolveimage.resolvemode",
  "source.metaresolver",
  "readfile",
  "readdir",
  "statfile",
  "gateway.exec",
  "gateway.exec.extrahosts",
  "gateway.exec.secretenv",
  "gateway.exec.signals",
  "gateway.exec.filesystem",
];
/** What definitions may have: clients look before they send one. */
const DEFINED = [
  "source.image",
  "source.image.resolvemode",
  "source.local",
  "source.local.unique",
  "source.local.sessionid",
  "source.local.followpaths",
  "source.local.excludepatterns",
  "source.local.sharedkeyhint",
  "source.local.differ",
  "source.git",
  "source.git.keepgitdir",
  "source.git.fullurl",
  "source.git.httpauth",
  "source.git.knownsshhosts",
  "source.git.mountsshsock",
  "source.git.subdir",
  "source.git.checksum",
  "source.http",
  "source.http.checksum",
  "source.http.perm",
  // As it is written in BuildKit.
  "soruce.http.uidgid",
  "source.ocilayout",
  "exec.meta.base",
  "exec.meta.network",
  "exec.meta.proxyenv",
  "exec.meta.security",
  "exec.meta.setsdefaultpath",
  "exec.mount.bind",
  "exec.mount.bind.readwrite-nooutput",
  "exec.mount.cache",
  "exec.mount.cache.sharing",
  "exec.mount.selector",
  "exec.mount.tmpfs",
  "exec.mount.tmpfs.size",
  "exec.mount.secret",
  "exec.mount.ssh",
  "exec.secretenv",
  "file.base",
  "file.rm.wildcard",
  "file.rm.nofollowsymlink",
  "file.copy.modestring",
  "file.symlink.create",
  "meta.ignorecache",
  "meta.description",
  "meta.exportcache",
];
/** Of results: what clients look for before they ask for it. */
const RESULT_CAPABILITIES = [
  "exporter.image.annotations",
  "exporter.image.attestations",
  "exporter.sourcedateepoch",
  "exporter.multiple",
  "gc.freespacefilter",
  "platform",
  "constraints",
  ...DEFINED,
];

/** Adds the service by which a client takes part in a build that it has asked for, named in the calls' metadata. */
export function addBridge(server: GrpcServer, jobs: Jobs, worker: WorkerFacts): void {
  const gatewayOf = async (call: ServerCall<unknown, unknown>): Promise<{ job: Job; gateway: GatewayBuild }> => {
    const id = call.metadata.get(BUILD_ID)?.[0] ?? "";
    // The request for the build itself is on its way, on another stream.
    const job = await jobs.get(id, call.signal);
    if (job.gateway === undefined) throw new GantryError("not-found", `no such job ${id.slice(0, 512)}`);
    return { job, gateway: job.gateway };
  };
  server
    .unary(BRIDGE.ping, async (_request, call) => {
      await gatewayOf(call);
      return create(PongResponseSchema, {
        FrontendAPICaps: FRONTEND_CAPABILITIES.map(capability),
        LLBCaps: RESULT_CAPABILITIES.map(capability),
        Workers: [workerRecord(worker)],
      });
    })
    .unary(BRIDGE.solve, async (request, call) => {
      const { gateway } = await gatewayOf(call);
      const result = await gateway.solve(request);
      return request.allowResultReturn
        ? create(SolveResponseSchema, { result: inForm(result, request.allowResultArrayRef) })
        : create(SolveResponseSchema, { ref: refOf(result) });
    })
    .unary(BRIDGE.evaluate, async ({ Ref }, call) => {
      await (await gatewayOf(call)).gateway.evaluate(Ref);
      return create(EvaluateResponseSchema);
    })
    .unary(BRIDGE.inputs, async (_request, call) => {
      await gatewayOf(call);
      return create(InputsResponseSchema);
    })
    .unary(BRIDGE.warn, async ({ detail, digest, info, level, ranges, short, url }, call) => {
      const { job } = await gatewayOf(call);
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
      (await gatewayOf(call)).gateway.return(request);
      return create(ReturnResponseSchema);
    });
  server
    .unary(BRIDGE.resolveImageConfig, async (request, call) => {
      const { gateway } = await gatewayOf(call);
      return imageConfig(request, (asked) => gateway.describe(asked, call.signal));
    })
    .unary(BRIDGE.resolveSourceMeta, async (request, call) => {
      const { gateway } = await gatewayOf(call);
      return sourceMeta(request, (asked) => gateway.describe(asked, call.signal));
    })
    .unary(BRIDGE.readFile, async (request, call) => {
      const { gateway } = await gatewayOf(call);
      return create(ReadFileResponseSchema, { Data: await readFile(await gateway.look(request.Ref), request) });
    })
    .unary(BRIDGE.readDir, async (request, call) => {
      const { gateway } = await gatewayOf(call);
      return create(ReadDirResponseSchema, { entries: await readFolder(await gateway.look(request.Ref), request) });
    })
    .unary(BRIDGE.statFile, async (request, call) => {
      const { gateway } = await gatewayOf(call);
      return create(StatFileResponseSchema, { stat: statFile(await gateway.look(request.Ref), request) });
    })
    .unary(BRIDGE.newContainer, async (request, call) => {
      await (await gatewayOf(call)).gateway.containers.create(request, call.signal);
      return create(NewContainerResponseSchema);
    })
    .unary(BRIDGE.releaseContainer, async ({ ContainerID }, call) => {
      await (await gatewayOf(call)).gateway.containers.release(ContainerID);
      return create(ReleaseContainerResponseSchema);
    })
    .stream(BRIDGE.execProcess, async (call) => {
      await execProcesses((await gatewayOf(call)).gateway.containers, call);
    })
    .unary(BRIDGE.readFileContainer, async (request, call) => {
      const { containers } = (await gatewayOf(call)).gateway;
      const looked = await containers.look(request.Ref, request.MountIndex);
      return create(ReadFileResponseSchema, { Data: await readFile(looked, request) });
    })
    .unary(BRIDGE.readDirContainer, async (request, call) => {
      const { containers } = (await gatewayOf(call)).gateway;
      const looked = await containers.look(request.Ref, request.MountIndex);
      return create(ReadDirResponseSchema, { entries: await readFolder(looked, request) });
    })
    .unary(BRIDGE.statFileContainer, async (request, call) => {
      const { containers } = (await gatewayOf(call)).gateway;
      const looked = await containers.look(request.Ref, request.MountIndex);
      return create(StatFileResponseSchema, { stat: statFile(looked, request) });
    });
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
