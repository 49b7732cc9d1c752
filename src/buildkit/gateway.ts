import { LLBBridge } from "./generated/gateway.ts";

export type { Stat } from "./generated/fsutil.ts";
export {
  APICapSchema,
  EvaluateRequestSchema,
  EvaluateResponseSchema,
  type ExecMessage,
  ExecMessageSchema,
  type InitMessage,
  InputsRequestSchema,
  InputsResponseSchema,
  type NewContainerRequest,
  NewContainerRequestSchema,
  NewContainerResponseSchema,
  PingRequestSchema,
  PongResponseSchema,
  ReadDirRequestSchema,
  ReadDirResponseSchema,
  ReadFileRequestSchema,
  ReadFileResponseSchema,
  ReleaseContainerRequestSchema,
  ReleaseContainerResponseSchema,
  type Result,
  ResultSchema,
  type ReturnRequest,
  ReturnRequestSchema,
  ReturnResponseSchema,
  type SolveRequest,
  SolveRequestSchema,
  SolveResponseSchema,
  StatFileRequestSchema,
  StatFileResponseSchema,
  WarnResponseSchema,
} from "./generated/gateway.ts";
/** `moby.buildkit.v1.frontend.LLBBridge`: how a client takes part in a build that it has asked for. */
export { LLBBridge as BRIDGE };
