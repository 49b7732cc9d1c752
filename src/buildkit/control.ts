import { Control } from "./generated/control_pb.ts";
import { methodsOf } from "./methods.ts";

/** `moby.buildkit.v1.Control`: how a client asks for builds and hears of them. */
export const CONTROL = methodsOf(Control);

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
} from "./generated/control_pb.ts";
export { type Definition, DefinitionSchema, OpSchema, PlatformSchema, SourceInfoSchema } from "./generated/ops_pb.ts";
export { StatusSchema } from "./generated/rpc_pb.ts";
export { type WorkerRecord, WorkerRecordSchema } from "./generated/worker_pb.ts";
