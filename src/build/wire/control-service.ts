import { untilAborted } from "../../base/abort.ts";
import { GantryError } from "../../base/errors.ts";
import { parseBool } from "../../base/parse-bool.ts";
import {
  CONTROL,
  DiskUsageResponseSchema,
  InfoResponseSchema,
  ListWorkersResponseSchema,
  type PruneRequest,
  type SolveRequest,
  SolveResponseSchema,
  type StatusResponse,
  type UpdateBuildHistoryRequest,
  UpdateBuildHistoryResponseSchema,
  type UsageRecord,
  UsageRecordSchema,
  type WorkerRecord,
  WorkerRecordSchema,
} from "../../buildkit/control.ts";
import { create, timestampFromMs } from "../../buildkit/message.ts";
import type { ServerCall } from "../../grpc/answered-call.ts";
import type { GrpcServer } from "../../grpc/server.ts";
import type { Platform } from "../../oci/image.ts";
import type { Builder, BuildResult, CacheUsage } from "../builder.ts";
import type { GcRule } from "../cache/policy.ts";
import { readDefinition } from "../definition/definition.ts";
import type { BuildEvent } from "../progress.ts";
import { answerOf, GatewayBuild, type GatewayPorts } from "./gateway-build.ts";
import type { FrontendRequest } from "./handed-result.ts";
import { HeldFailures } from "./held-failures.ts";
import type { HistoryDocuments } from "./history-documents.ts";
import { listen } from "./history-listening.ts";
import { Job, type Jobs } from "./jobs.ts";
import { isOwnClient } from "./options.ts";
import type { Named } from "./request.ts";
import type { Solves, Spec } from "./solves.ts";
import { statusMessages } from "./status-message.ts";

/** What the engine tells of itself as a worker. */
export interface WorkerFacts {
  readonly id: string;
  readonly version: string;
  readonly platforms: () => readonly Platform[];
  readonly gcRules: () => readonly GcRule[];
  /** The address by which steps reach the host; empty if there is none. */
  readonly hostGateway: () => string;
}

export interface ControlPorts {
  readonly builder: Builder;
  readonly jobs: Jobs;
  readonly solves: Solves;
  readonly worker: WorkerFacts;
  readonly documents: HistoryDocuments;
}

/** Adds the service by which clients ask for builds, follow them, and look after the cache and the history. */
export function addControl(server: GrpcServer, ports: ControlPorts): void {
  const { builder, jobs, solves, worker } = ports;
  server
    .unary(CONTROL.solve, (request, call) => solve(ports, request, call.signal))
    .serverStream(CONTROL.status, async ({ Ref }, call) => {
      for await (const events of await follow(builder, jobs, Ref, call.signal)) await sendStatus(call, events);
    })
    .unary(CONTROL.info, () =>
      create(InfoResponseSchema, { buildkitVersion: { package: "gantry", version: `v${worker.version}` } }),
    )
    .unary(CONTROL.listWorkers, () => create(ListWorkersResponseSchema, { record: [workerRecord(worker)] }))
    .unary(CONTROL.diskUsage, async ({ filter, ageLimit }) => {
      const oldest = Date.now() - Number(ageLimit) / 1e6;
      const rows = await builder.usage(filter);
      const old = ageLimit === 0n ? rows : rows.filter(({ lastUsedAt }) => lastUsedAt <= oldest);
      return create(DiskUsageResponseSchema, { record: old.map(usageRecord) });
    })
    .serverStream(CONTROL.prune, (request, call) => prune(builder, request, call))
    .serverStream(CONTROL.listenBuildHistory, (request, call) => listen(ports, request, call))
    .unary(CONTROL.updateBuildHistory, async (request) => {
      await update(builder, request);
      return create(UpdateBuildHistoryResponseSchema);
    })
    .stream(CONTROL.session, (call) => solves.session(call));
}

/** The worker as clients ask for it; also what a client that takes part in a build is told. */
export function workerRecord({ gcRules, hostGateway, id, platforms, version }: WorkerFacts): WorkerRecord {
  const gateway = hostGateway();
  return create(WorkerRecordSchema, {
    ID: id,
    Labels: {
      "org.mobyproject.buildkit.worker.executor": "gantry",
      // Clients take the name of a snapshotter for the sign that images can be exported, pushed and have attestations.
      "org.mobyproject.buildkit.worker.snapshotter": "overlayfs",
      "org.mobyproject.buildkit.worker.network": "bridge",
      ...(gateway !== "" && { "org.mobyproject.buildkit.worker.moby.host-gateway-ip": gateway }),
    },
    platforms: platforms().map(({ architecture, os, variant = "" }) => ({
      Architecture: architecture,
      OS: os,
      Variant: variant,
    })),
    GCPolicy: gcRules().map(({ all, filters, keepForMs, space }) => ({
      ...{ all, filters: [...filters], keepDuration: BigInt(keepForMs) * 1_000_000n },
      reservedSpace: BigInt(space.reservedSpace),
      maxUsedSpace: BigInt(space.maxUsedSpace),
      minFreeSpace: BigInt(space.minFreeSpace),
    })),
    BuildkitVersion: { package: "gantry", version: `v${version}` },
  });
}

async function solve({ jobs, solves }: ControlPorts, request: SolveRequest, signal: AbortSignal) {
  refuseUnknown(request);
  const exporters = exportersOf(request);
  const base = {
    id: request.Ref,
    sessionId: request.Session,
    entitlements: request.Entitlements,
    cacheExports: (request.Cache?.Exports ?? []).map(named),
    cacheImports: importsOf(request),
    origin: "buildkit" as const,
    isInternal: request.Internal,
  };
  const job = new Job(request.Ref);
  const isDefined = request.Definition !== undefined && request.Definition.def.length > 0;
  const definition = isDefined ? await readDefinition(request.Definition!) : undefined;
  if (request.Frontend === "" && definition === undefined) {
    job.gateway = new GatewayBuild(gatewayPorts(solves, { ...base, exporters, job, signal }));
  }
  jobs.start(job);
  try {
    const { gateway } = job;
    const handed = gateway === undefined ? undefined : await untilAborted(gateway.returned, signal);
    const options = gateway === undefined ? request.FrontendAttrs : (handed?.asked.options ?? {});
    const result =
      gateway === undefined
        ? await solves.run({
            ...{ ...base, frontend: request.Frontend, options, inputs: new Map() },
            ...(definition !== undefined && { definition }),
            ...{ exporters, job, signal },
          })
        : await handed?.finish();
    // Nothing to build, or a question that was answered on the way.
    if (result === undefined) return create(SolveResponseSchema);
    const metadata = isOwnClient(options) ? Object.fromEntries(result.metadata) : metadataForOthers(result, exporters);
    return create(SolveResponseSchema, {
      ExporterResponse: { ...metadata, ...answerOf(result) },
    });
  } finally {
    await job.gateway?.[Symbol.asyncDispose]();
    jobs.end(job);
  }
}

/**
 * What clients of BuildKit's are told. They take the provenance from the history, as much of it as they were asked for;
 * and they know an image that went to the store and nowhere else by its id, as `docker inspect` tells it.
 */
function metadataForOthers({ imageId, metadata }: BuildResult, exporters: readonly Named[]): Record<string, string> {
  const rows = [...metadata].filter(([name]) => !name.startsWith("buildx.build.provenance"));
  const isStored = exporters.every(({ attributes, type }) => type === "moby" && !parseBool(attributes.push ?? ""));
  return {
    ...Object.fromEntries(rows),
    ...(isStored && imageId !== undefined && { "containerimage.digest": imageId }),
  };
}

const INPUT = { cacheExports: [], exporters: [], isInternal: true };
const NO_FRONTEND = {
  ...{ frontend: "", options: {}, inputs: new Map(), exporters: [] },
  definition: { operations: new Map(), result: undefined },
};

/** What a client asks for while its build runs, with all that it had said before. */
function gatewayPorts(
  solves: Solves,
  base: Omit<Spec, "frontend" | "options" | "inputs" | "cacheExports"> & Pick<Spec, "cacheExports">,
): GatewayPorts {
  const importsWith = (asked: FrontendRequest) => [...base.cacheImports, ...asked.cacheImports];
  // Clients ask one question, or look at one result and return that: it goes by the build's own name.
  let isTaken = false;
  const failures = new HeldFailures();
  const takeId = () => {
    const id = isTaken ? `${base.id}-${crypto.randomUUID().slice(0, 8)}` : base.id;
    isTaken = true;
    return id;
  };
  return {
    definitions: solves.definitions,
    failures,
    describe: (asked, signal) => solves.describe({ ...base, ...NO_FRONTEND }, asked, signal),
    openContainer: (parts, signal) => solves.openContainer(parts, base, signal),
    answer: (asked) =>
      solves.run({
        ...{ ...base, ...asked, cacheImports: importsWith(asked) },
        ...{ id: takeId(), cacheExports: [], exporters: [] },
      }),
    run: (asked, onMade, signal) => {
      const either = AbortSignal.any([base.signal, signal]);
      const own = { id: takeId(), cacheImports: importsWith(asked), onMade, signal: either, failures };
      if (asked.isInput) return solves.run({ ...base, ...asked, ...own, ...INPUT });
      return solves.run({ ...base, ...asked, ...own });
    },
  };
}

function refuseUnknown(request: SolveRequest): void {
  const refuse = (what: string) => {
    throw new GantryError("unsupported", `${what} here`);
  };
  if (request.Frontend !== "" && (request.Definition?.def.length ?? 0) > 0) {
    refuse("a build is of a frontend or of a definition, not of both,");
  }
  if (Object.keys(request.FrontendInputs).length > 0) {
    refuse("results of other builds are contexts only of builds that the client takes part in,");
  }
  if (request.SourcePolicy.length > 0 || request.SourcePolicySession !== "") refuse("source policies are not followed");
  if (request.ProxyNetwork) refuse("there is no proxy network");
}

function exportersOf(request: SolveRequest): readonly Named[] {
  if (request.Exporters.length > 0) return request.Exporters.map(named);
  if (request.ExporterDeprecated === "") return [];
  return [{ type: request.ExporterDeprecated, attributes: request.ExporterAttrsDeprecated }];
}

function importsOf({ Cache }: SolveRequest): readonly Named[] {
  const old = (Cache?.ImportRefsDeprecated ?? []).map((ref) => ({ type: "registry", attributes: { ref } }));
  return [...(Cache?.Imports ?? []).map(named), ...old];
}

function named({ Attrs, Type }: { readonly Type: string; readonly Attrs: Named["attributes"] }): Named {
  return { type: Type, attributes: Attrs };
}

/** What a build that runs tells, or what one told that has ended. */
async function follow(
  builder: Builder,
  jobs: Jobs,
  id: string,
  signal: AbortSignal,
): Promise<AsyncIterable<readonly BuildEvent[]>> {
  if (jobs.find(id) === undefined && builder.history.get(id) !== undefined)
    return grouped(builder.history.events(id, signal));
  return (await jobs.get(id, signal)).told.listen(signal);
}

const GROUP = 256;

async function* grouped(events: AsyncIterable<BuildEvent>): AsyncIterable<readonly BuildEvent[]> {
  let group: BuildEvent[] = [];
  for await (const event of events) {
    group.push(event);
    if (group.length < GROUP && event.type !== "log") continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}

async function sendStatus(call: ServerCall<unknown, StatusResponse>, events: readonly BuildEvent[]): Promise<void> {
  for (const message of statusMessages(events)) await call.send(message);
}

function usageRecord(row: CacheUsage): UsageRecord {
  return create(UsageRecordSchema, {
    ID: row.id,
    Mutable: row.type === "exec.cachemount" || row.type === "source.local",
    InUse: row.inUse,
    Size: BigInt(row.size),
    Parents: [...row.parents],
    Parent: row.parents[0] ?? "",
    CreatedAt: timestampFromMs(Math.floor(row.createdAt)),
    LastUsedAt: timestampFromMs(Math.floor(row.lastUsedAt)),
    UsageCount: BigInt(row.usageCount),
    Description: row.description,
    RecordType: row.type,
    Shared: row.shared,
  });
}

async function prune(
  builder: Builder,
  request: PruneRequest,
  call: ServerCall<PruneRequest, UsageRecord>,
): Promise<void> {
  const before = new Map((await builder.usage([])).map((row) => [row.id, row]));
  const { deleted } = await builder.prune({
    all: request.all,
    reservedSpace: Number(request.reservedSpace),
    maxUsedSpace: Number(request.maxUsedSpace),
    minFreeSpace: Number(request.minFreeSpace),
    ...(request.keepDuration > 0n && { keepForMs: Number(request.keepDuration) / 1e6 }),
    filters: request.filter,
  });
  for (const id of deleted) {
    const row = before.get(id);
    await call.send(row === undefined ? create(UsageRecordSchema, { ID: id }) : usageRecord(row));
  }
}

async function update({ history }: Builder, request: UpdateBuildHistoryRequest): Promise<void> {
  if (request.Delete) {
    await history.remove(request.Ref);
    return;
  }
  if (history.get(request.Ref) === undefined) {
    throw new GantryError("not-found", `no build ${JSON.stringify(request.Ref.slice(0, 200))} in the history`);
  }
  // A record is whole as soon as the build has ended: there is nothing to finalize.
  if (request.Finalize) return;
  if (request.Pinned) throw new GantryError("unsupported", "records of the history can't be pinned");
}
