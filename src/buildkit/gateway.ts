import { LLBBridge } from "./generated/gateway.ts";

export {
  APICapSchema,
  EvaluateRequestSchema,
  EvaluateResponseSchema,
  InputsRequestSchema,
  InputsResponseSchema,
  PingRequestSchema,
  PongResponseSchema,
  type Result,
  ResultSchema,
  type ReturnRequest,
  ReturnRequestSchema,
  ReturnResponseSchema,
  type SolveRequest,
  SolveRequestSchema,
  SolveResponseSchema,
  WarnResponseSchema,
} from "./generated/gateway.ts";
/** `moby.buildkit.v1.frontend.LLBBridge`: how a client takes part in a build that it has asked for. */
export { LLBBridge as BRIDGE };
