// Written by `npm run protos` of the protos beside this folder.

import { schema, type Schema } from "../message.ts";
import { service } from "../methods.ts";

export interface GetSecretRequest {
  ID: string;
  annotations: Record<string, string>;
}

export const GetSecretRequestSchema: Schema<GetSecretRequest> = schema("moby.buildkit.secrets.v1.GetSecretRequest", [
  { name: "ID", number: 1, kind: "string" },
  { name: "annotations", number: 2, kind: "string", key: "string" },
]);

export interface GetSecretResponse {
  data: Uint8Array;
}

export const GetSecretResponseSchema: Schema<GetSecretResponse> = schema("moby.buildkit.secrets.v1.GetSecretResponse", [
  { name: "data", number: 1, kind: "bytes" },
]);

export const Secrets = service("moby.buildkit.secrets.v1.Secrets", {
  getSecret: ["GetSecret", GetSecretRequestSchema, GetSecretResponseSchema],
});
