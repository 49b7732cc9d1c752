// Written by `npm run protos` of the protos beside this folder.

import { EmptySchema, TimestampSchema, schema, type Empty, type Schema, type Timestamp } from "../message.ts";
import { service } from "../methods.ts";

export interface Info {
  digest: string;
  size: bigint;
  createdAt?: Timestamp | undefined;
  updatedAt?: Timestamp | undefined;
  labels: Record<string, string>;
}

export const InfoSchema: Schema<Info> = schema("containerd.services.content.v1.Info", [
  { name: "digest", number: 1, kind: "string" },
  { name: "size", number: 2, kind: "int64" },
  { name: "createdAt", number: 3, kind: () => TimestampSchema },
  { name: "updatedAt", number: 4, kind: () => TimestampSchema },
  { name: "labels", number: 5, kind: "string", key: "string" },
]);

export interface InfoRequest {
  digest: string;
}

export const InfoRequestSchema: Schema<InfoRequest> = schema("containerd.services.content.v1.InfoRequest", [
  { name: "digest", number: 1, kind: "string" },
]);

export interface InfoResponse {
  info?: Info | undefined;
}

export const InfoResponseSchema: Schema<InfoResponse> = schema("containerd.services.content.v1.InfoResponse", [
  { name: "info", number: 1, kind: () => InfoSchema },
]);

export interface ListContentRequest {
  filters: string[];
}

export const ListContentRequestSchema: Schema<ListContentRequest> = schema("containerd.services.content.v1.ListContentRequest", [
  { name: "filters", number: 1, kind: "string", repeated: true },
]);

export interface ListContentResponse {
  info: Info[];
}

export const ListContentResponseSchema: Schema<ListContentResponse> = schema("containerd.services.content.v1.ListContentResponse", [
  { name: "info", number: 1, kind: () => InfoSchema, repeated: true },
]);

export interface DeleteContentRequest {
  digest: string;
}

export const DeleteContentRequestSchema: Schema<DeleteContentRequest> = schema("containerd.services.content.v1.DeleteContentRequest", [
  { name: "digest", number: 1, kind: "string" },
]);

export interface ReadContentRequest {
  digest: string;
  offset: bigint;
  size: bigint;
}

export const ReadContentRequestSchema: Schema<ReadContentRequest> = schema("containerd.services.content.v1.ReadContentRequest", [
  { name: "digest", number: 1, kind: "string" },
  { name: "offset", number: 2, kind: "int64" },
  { name: "size", number: 3, kind: "int64" },
]);

export interface ReadContentResponse {
  offset: bigint;
  data: Uint8Array;
}

export const ReadContentResponseSchema: Schema<ReadContentResponse> = schema("containerd.services.content.v1.ReadContentResponse", [
  { name: "offset", number: 1, kind: "int64" },
  { name: "data", number: 2, kind: "bytes" },
]);

export interface Status {
  startedAt?: Timestamp | undefined;
  updatedAt?: Timestamp | undefined;
  ref: string;
  offset: bigint;
  total: bigint;
  expected: string;
}

export const StatusSchema: Schema<Status> = schema("containerd.services.content.v1.Status", [
  { name: "startedAt", number: 1, kind: () => TimestampSchema },
  { name: "updatedAt", number: 2, kind: () => TimestampSchema },
  { name: "ref", number: 3, kind: "string" },
  { name: "offset", number: 4, kind: "int64" },
  { name: "total", number: 5, kind: "int64" },
  { name: "expected", number: 6, kind: "string" },
]);

export interface StatusRequest {
  ref: string;
}

export const StatusRequestSchema: Schema<StatusRequest> = schema("containerd.services.content.v1.StatusRequest", [
  { name: "ref", number: 1, kind: "string" },
]);

export interface StatusResponse {
  status?: Status | undefined;
}

export const StatusResponseSchema: Schema<StatusResponse> = schema("containerd.services.content.v1.StatusResponse", [
  { name: "status", number: 1, kind: () => StatusSchema },
]);

export interface WriteContentRequest {
  action: number;
  ref: string;
  total: bigint;
  expected: string;
  offset: bigint;
  data: Uint8Array;
  labels: Record<string, string>;
}

export const WriteContentRequestSchema: Schema<WriteContentRequest> = schema("containerd.services.content.v1.WriteContentRequest", [
  { name: "action", number: 1, kind: "int32" },
  { name: "ref", number: 2, kind: "string" },
  { name: "total", number: 3, kind: "int64" },
  { name: "expected", number: 4, kind: "string" },
  { name: "offset", number: 5, kind: "int64" },
  { name: "data", number: 6, kind: "bytes" },
  { name: "labels", number: 7, kind: "string", key: "string" },
]);

export interface WriteContentResponse {
  action: number;
  startedAt?: Timestamp | undefined;
  updatedAt?: Timestamp | undefined;
  offset: bigint;
  total: bigint;
  digest: string;
}

export const WriteContentResponseSchema: Schema<WriteContentResponse> = schema("containerd.services.content.v1.WriteContentResponse", [
  { name: "action", number: 1, kind: "int32" },
  { name: "startedAt", number: 2, kind: () => TimestampSchema },
  { name: "updatedAt", number: 3, kind: () => TimestampSchema },
  { name: "offset", number: 4, kind: "int64" },
  { name: "total", number: 5, kind: "int64" },
  { name: "digest", number: 6, kind: "string" },
]);

export interface AbortRequest {
  ref: string;
}

export const AbortRequestSchema: Schema<AbortRequest> = schema("containerd.services.content.v1.AbortRequest", [
  { name: "ref", number: 1, kind: "string" },
]);

export const Content = service("containerd.services.content.v1.Content", {
  info: ["Info", InfoRequestSchema, InfoResponseSchema],
  list: ["List", ListContentRequestSchema, ListContentResponseSchema],
  delete: ["Delete", DeleteContentRequestSchema, EmptySchema],
  read: ["Read", ReadContentRequestSchema, ReadContentResponseSchema],
  status: ["Status", StatusRequestSchema, StatusResponseSchema],
  write: ["Write", WriteContentRequestSchema, WriteContentResponseSchema],
  abort: ["Abort", AbortRequestSchema, EmptySchema],
});
