import { Control } from "./generated/control.ts";

export {
  type BuildHistoryEvent,
  BuildHistoryEventSchema,
  type BuildHistoryRecord,
  BuildHistoryRecordSchema,
  type BuildHistoryRequest,
  BuildHistoryRequestSchema,
  BytesMessageSchema as ControlBytesSchema,
  type CacheOptionsEntry,
  DiskUsageRequestSchema,
  DiskUsageResponseSchema,
  type Exporter,
  InfoRequestSchema,
  InfoResponseSchema,
  ListWorkersRequestSchema,
  ListWorkersResponseSchema,
  type PruneRequest,
  PruneRequestSchema,
  type SolveRequest,
  SolveRequestSchema,
  SolveResponseSchema,
  StatusRequestSchema,
  type StatusResponse,
  StatusResponseSchema,
  type UpdateBuildHistoryRequest,
  UpdateBuildHistoryRequestSchema,
  UpdateBuildHistoryResponseSchema,
  type UsageRecord,
  UsageRecordSchema,
  type Vertex,
  VertexLogSchema,
  VertexSchema,
  VertexStatusSchema,
  VertexWarningSchema,
} from "./generated/control.ts";
export { type Definition, DefinitionSchema, OpSchema, PlatformSchema, SourceInfoSchema } from "./generated/ops.ts";
export { StatusSchema } from "./generated/rpc.ts";
export { type WorkerRecord, WorkerRecordSchema } from "./generated/worker.ts";
/** `moby.buildkit.v1.Control`: how a client asks for builds and hears of them. */
export { Control as CONTROL };
