// Written by `npm run protos` of the protos beside this folder.

import { schema, type Schema } from "../message.ts";
import { service } from "../methods.ts";

export interface BytesMessage {
  data: Uint8Array;
}

export const BytesMessageSchema: Schema<BytesMessage> = schema("moby.sshforward.v1.BytesMessage", [
  { name: "data", number: 1, kind: "bytes" },
]);

export interface CheckAgentRequest {
  ID: string;
}

export const CheckAgentRequestSchema: Schema<CheckAgentRequest> = schema("moby.sshforward.v1.CheckAgentRequest", [
  { name: "ID", number: 1, kind: "string" },
]);

export type CheckAgentResponse = Record<string, never>;

export const CheckAgentResponseSchema: Schema<CheckAgentResponse> = schema("moby.sshforward.v1.CheckAgentResponse", []);

export const SSH = service("moby.sshforward.v1.SSH", {
  checkAgent: ["CheckAgent", CheckAgentRequestSchema, CheckAgentResponseSchema],
  forwardAgent: ["ForwardAgent", BytesMessageSchema, BytesMessageSchema],
});
