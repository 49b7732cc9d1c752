import {
  type BuildHistoryEvent,
  BuildHistoryEventSchema,
  type BuildHistoryRecord,
  BuildHistoryRecordSchema,
  type BuildHistoryRequest,
} from "../../buildkit/control.ts";
import { create, timestampFromMs } from "../../buildkit/message.ts";
import type { ServerCall } from "../../grpc/answered-call.ts";
import { STATUS } from "../../grpc/status.ts";
import type { Builder, BuildRecord } from "../builder.ts";
import type { DocumentDescriptor, HistoryDocuments } from "./history-documents.ts";
import { historyFilter, statusOf } from "./history-filter.ts";

export interface ListeningPorts {
  readonly builder: Pick<Builder, "history">;
  readonly documents: HistoryDocuments;
}

const EVENT = { started: 0, complete: 1, deleted: 2 } as const;
/** By this header clients know the engine's clock, by which they tell how long a build has been running. */
const CLOCK = "buildkit-current-timestamp";
/** Events of builds that are read for one list, so that it can say where their output is; those of later ones aren't. */
const MOST_READ = 20_000;

/** Tells of builds that are known, the latest first where only some are wanted, and of what becomes of them. */
export async function listen(
  { builder, documents }: ListeningPorts,
  request: BuildHistoryRequest,
  call: ServerCall<BuildHistoryRequest, BuildHistoryEvent>,
): Promise<void> {
  const { history } = builder;
  const { ActiveOnly, EarlyExit, Filter, Limit, Ref } = request;
  const matches = historyFilter(Filter, Date.now());
  const isAsked = (record: BuildRecord) => (Ref === "" || record.id === Ref) && matches(record);
  call.headers.set(CLOCK, new Date().toISOString());
  const queue: (readonly [BuildRecord, keyof typeof EVENT])[] = [];
  let wake: (() => void) | undefined;
  using _watched = history.watch((record, kind) => {
    if (!isAsked(record) || (ActiveOnly && kind !== "started")) return;
    queue.push([record, kind]);
    wake?.();
  });
  let room = MOST_READ;
  const send = async (record: BuildRecord, kind: keyof typeof EVENT) => {
    const isWhole = kind === "complete" && (Ref !== "" || room > 0);
    const told = isWhole ? await documents.told(record.id) : undefined;
    room -= told?.logs.events ?? 0;
    await call.send(create(BuildHistoryEventSchema, { type: EVENT[kind], record: historyRecord(record, told) }));
  };
  const known = history.list().filter((record) => isAsked(record) && !(ActiveOnly && record.completedAt !== undefined));
  known.sort((one, other) => other.createdAt - one.createdAt);
  for (const record of Limit > 0 ? known.slice(0, Limit) : known) {
    await send(record, record.completedAt === undefined ? "started" : "complete");
  }
  if (EarlyExit) return;
  const stop = () => wake?.();
  call.signal.addEventListener("abort", stop, { once: true });
  while (!call.signal.aborted) {
    room = MOST_READ;
    for (let event = queue.shift(); event !== undefined; event = queue.shift()) await send(...event);
    const { promise, resolve } = Promise.withResolvers<void>();
    wake = resolve;
    if (queue.length === 0 && !call.signal.aborted) await promise;
  }
}

function historyRecord(
  record: BuildRecord,
  told: { readonly logs: DocumentDescriptor; readonly trace: DocumentDescriptor } | undefined,
): BuildHistoryRecord {
  const { completedAt, createdAt, error, options, outputs = [] } = record;
  const platforms = record.platforms.join(",");
  const status = statusOf(record);
  const failure = record.attachments?.find(({ kind }) => kind === "error");
  return create(BuildHistoryRecordSchema, {
    Ref: record.id,
    Frontend: "dockerfile.v0",
    FrontendAttrs: options ?? { ...record.attributes, ...(platforms !== "" && { platform: platforms }) },
    Exporters: outputs.map(({ attributes, type }) => ({ Type: type, Attrs: attributes })),
    ...(error !== undefined && {
      error: { code: status === "canceled" ? STATUS.cancelled : STATUS.unknown, message: error },
    }),
    CreatedAt: timestampFromMs(Math.floor(createdAt)),
    ...(completedAt !== undefined && { CompletedAt: timestampFromMs(Math.floor(completedAt)) }),
    ...(told !== undefined && { logs: descriptorMessage(told.logs), trace: descriptorMessage(told.trace) }),
    ...(failure !== undefined && { externalError: descriptorMessage(failure) }),
    ...resultsOf(record),
    ExporterResponse: { ...record.metadata },
    Generation: completedAt === undefined ? 1 : 2,
    numCachedSteps: record.cachedSteps,
    numTotalSteps: record.steps,
    numCompletedSteps: completedAt === undefined ? 0 : record.steps,
    numWarnings: record.warnings,
  });
}

/** What is attached: of all, and of each platform. */
function resultsOf({ attachments = [] }: BuildRecord) {
  const infoOf = (wanted: string) => {
    const own = attachments.filter(({ platform }) => platform === wanted);
    const results = own.filter(({ kind }) => kind === "result").map(descriptorMessage);
    return {
      Attestations: own.filter(({ kind }) => kind === "provenance").map(descriptorMessage),
      Results: Object.fromEntries(results.map((one, index) => [String(index), one])),
      ...(results[0] !== undefined && { ResultDeprecated: results[0] }),
    };
  };
  const told = attachments.filter(({ kind }) => kind !== "error");
  const platforms = new Set(told.map(({ platform }) => platform));
  const others = [...platforms].filter((platform) => platform !== "");
  return {
    ...(platforms.has("") && { Result: infoOf("") }),
    Results: Object.fromEntries(others.map((platform) => [platform, infoOf(platform)])),
  };
}

function descriptorMessage({ annotations, digest, mediaType, size }: DocumentDescriptor) {
  return { mediaType, digest, size: BigInt(size), annotations: { ...annotations } };
}
