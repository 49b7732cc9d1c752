// Written by `npm run protos` of the protos beside this folder.

import { TimestampSchema, schema, type Schema, type Timestamp } from "../message.ts";
import { service } from "../methods.ts";
import { DefinitionSchema, ProgressGroupSchema, RangeSchema, SourceInfoSchema, type Definition, type ProgressGroup, type Range, type SourceInfo } from "./ops.ts";
import { StatusSchema, type Status } from "./rpc.ts";
import { BuildkitVersionSchema, WorkerRecordSchema, type BuildkitVersion, type WorkerRecord } from "./worker.ts";

export interface PruneRequest {
  filter: string[];
  all: boolean;
  keepDuration: bigint;
  reservedSpace: bigint;
  maxUsedSpace: bigint;
  minFreeSpace: bigint;
}

export const PruneRequestSchema: Schema<PruneRequest> = schema("moby.buildkit.v1.PruneRequest", [
  { name: "filter", number: 1, kind: "string", repeated: true },
  { name: "all", number: 2, kind: "bool" },
  { name: "keepDuration", number: 3, kind: "int64" },
  { name: "reservedSpace", number: 4, kind: "int64" },
  { name: "maxUsedSpace", number: 5, kind: "int64" },
  { name: "minFreeSpace", number: 6, kind: "int64" },
]);

export interface DiskUsageRequest {
  filter: string[];
  ageLimit: bigint;
}

export const DiskUsageRequestSchema: Schema<DiskUsageRequest> = schema("moby.buildkit.v1.DiskUsageRequest", [
  { name: "filter", number: 1, kind: "string", repeated: true },
  { name: "ageLimit", number: 2, kind: "int64" },
]);

export interface DiskUsageResponse {
  record: UsageRecord[];
}

export const DiskUsageResponseSchema: Schema<DiskUsageResponse> = schema("moby.buildkit.v1.DiskUsageResponse", [
  { name: "record", number: 1, kind: () => UsageRecordSchema, repeated: true },
]);

export interface UsageRecord {
  ID: string;
  Mutable: boolean;
  InUse: boolean;
  Size: bigint;
  Parent: string;
  CreatedAt?: Timestamp | undefined;
  LastUsedAt?: Timestamp | undefined;
  UsageCount: bigint;
  Description: string;
  RecordType: string;
  Shared: boolean;
  Parents: string[];
}

export const UsageRecordSchema: Schema<UsageRecord> = schema("moby.buildkit.v1.UsageRecord", [
  { name: "ID", number: 1, kind: "string" },
  { name: "Mutable", number: 2, kind: "bool" },
  { name: "InUse", number: 3, kind: "bool" },
  { name: "Size", number: 4, kind: "int64" },
  { name: "Parent", number: 5, kind: "string" },
  { name: "CreatedAt", number: 6, kind: () => TimestampSchema },
  { name: "LastUsedAt", number: 7, kind: () => TimestampSchema },
  { name: "UsageCount", number: 8, kind: "int64" },
  { name: "Description", number: 9, kind: "string" },
  { name: "RecordType", number: 10, kind: "string" },
  { name: "Shared", number: 11, kind: "bool" },
  { name: "Parents", number: 12, kind: "string", repeated: true },
]);

export interface SolveRequest {
  Ref: string;
  Definition?: Definition | undefined;
  ExporterDeprecated: string;
  ExporterAttrsDeprecated: Record<string, string>;
  Session: string;
  Frontend: string;
  FrontendAttrs: Record<string, string>;
  Cache?: CacheOptions | undefined;
  Entitlements: string[];
  FrontendInputs: Record<string, Definition>;
  Internal: boolean;
  SourcePolicy: Uint8Array;
  Exporters: Exporter[];
  EnableSessionExporter: boolean;
  SourcePolicySession: string;
  CompatibilityVersion: bigint;
  ProxyNetwork: boolean;
}

export const SolveRequestSchema: Schema<SolveRequest> = schema("moby.buildkit.v1.SolveRequest", [
  { name: "Ref", number: 1, kind: "string" },
  { name: "Definition", number: 2, kind: () => DefinitionSchema },
  { name: "ExporterDeprecated", number: 3, kind: "string" },
  { name: "ExporterAttrsDeprecated", number: 4, kind: "string", key: "string" },
  { name: "Session", number: 5, kind: "string" },
  { name: "Frontend", number: 6, kind: "string" },
  { name: "FrontendAttrs", number: 7, kind: "string", key: "string" },
  { name: "Cache", number: 8, kind: () => CacheOptionsSchema },
  { name: "Entitlements", number: 9, kind: "string", repeated: true },
  { name: "FrontendInputs", number: 10, kind: () => DefinitionSchema, key: "string" },
  { name: "Internal", number: 11, kind: "bool" },
  { name: "SourcePolicy", number: 12, kind: "bytes" },
  { name: "Exporters", number: 13, kind: () => ExporterSchema, repeated: true },
  { name: "EnableSessionExporter", number: 14, kind: "bool" },
  { name: "SourcePolicySession", number: 15, kind: "string" },
  { name: "CompatibilityVersion", number: 16, kind: "int64" },
  { name: "ProxyNetwork", number: 17, kind: "bool" },
]);

export interface CacheOptions {
  ExportRefDeprecated: string;
  ImportRefsDeprecated: string[];
  ExportAttrsDeprecated: Record<string, string>;
  Exports: CacheOptionsEntry[];
  Imports: CacheOptionsEntry[];
}

export const CacheOptionsSchema: Schema<CacheOptions> = schema("moby.buildkit.v1.CacheOptions", [
  { name: "ExportRefDeprecated", number: 1, kind: "string" },
  { name: "ImportRefsDeprecated", number: 2, kind: "string", repeated: true },
  { name: "ExportAttrsDeprecated", number: 3, kind: "string", key: "string" },
  { name: "Exports", number: 4, kind: () => CacheOptionsEntrySchema, repeated: true },
  { name: "Imports", number: 5, kind: () => CacheOptionsEntrySchema, repeated: true },
]);

export interface CacheOptionsEntry {
  Type: string;
  Attrs: Record<string, string>;
}

export const CacheOptionsEntrySchema: Schema<CacheOptionsEntry> = schema("moby.buildkit.v1.CacheOptionsEntry", [
  { name: "Type", number: 1, kind: "string" },
  { name: "Attrs", number: 2, kind: "string", key: "string" },
]);

export interface SolveResponse {
  ExporterResponse: Record<string, string>;
}

export const SolveResponseSchema: Schema<SolveResponse> = schema("moby.buildkit.v1.SolveResponse", [
  { name: "ExporterResponse", number: 1, kind: "string", key: "string" },
]);

export interface StatusRequest {
  Ref: string;
}

export const StatusRequestSchema: Schema<StatusRequest> = schema("moby.buildkit.v1.StatusRequest", [
  { name: "Ref", number: 1, kind: "string" },
]);

export interface StatusResponse {
  vertexes: Vertex[];
  statuses: VertexStatus[];
  logs: VertexLog[];
  warnings: VertexWarning[];
}

export const StatusResponseSchema: Schema<StatusResponse> = schema("moby.buildkit.v1.StatusResponse", [
  { name: "vertexes", number: 1, kind: () => VertexSchema, repeated: true },
  { name: "statuses", number: 2, kind: () => VertexStatusSchema, repeated: true },
  { name: "logs", number: 3, kind: () => VertexLogSchema, repeated: true },
  { name: "warnings", number: 4, kind: () => VertexWarningSchema, repeated: true },
]);

export interface Vertex {
  digest: string;
  inputs: string[];
  name: string;
  cached: boolean;
  started?: Timestamp | undefined;
  completed?: Timestamp | undefined;
  error: string;
  progressGroup?: ProgressGroup | undefined;
  explanation?: Explanation | undefined;
}

export const VertexSchema: Schema<Vertex> = schema("moby.buildkit.v1.Vertex", [
  { name: "digest", number: 1, kind: "string" },
  { name: "inputs", number: 2, kind: "string", repeated: true },
  { name: "name", number: 3, kind: "string" },
  { name: "cached", number: 4, kind: "bool" },
  { name: "started", number: 5, kind: () => TimestampSchema },
  { name: "completed", number: 6, kind: () => TimestampSchema },
  { name: "error", number: 7, kind: "string" },
  { name: "progressGroup", number: 8, kind: () => ProgressGroupSchema },
  { name: "explanation", number: 5000, kind: () => ExplanationSchema },
]);

export interface Explanation {
  reason: string;
  text: string;
  diff: string[];
}

export const ExplanationSchema: Schema<Explanation> = schema("moby.buildkit.v1.Explanation", [
  { name: "reason", number: 1, kind: "string" },
  { name: "text", number: 2, kind: "string" },
  { name: "diff", number: 3, kind: "string", repeated: true },
]);

export interface VertexStatus {
  ID: string;
  vertex: string;
  name: string;
  current: bigint;
  total: bigint;
  timestamp?: Timestamp | undefined;
  started?: Timestamp | undefined;
  completed?: Timestamp | undefined;
}

export const VertexStatusSchema: Schema<VertexStatus> = schema("moby.buildkit.v1.VertexStatus", [
  { name: "ID", number: 1, kind: "string" },
  { name: "vertex", number: 2, kind: "string" },
  { name: "name", number: 3, kind: "string" },
  { name: "current", number: 4, kind: "int64" },
  { name: "total", number: 5, kind: "int64" },
  { name: "timestamp", number: 6, kind: () => TimestampSchema },
  { name: "started", number: 7, kind: () => TimestampSchema },
  { name: "completed", number: 8, kind: () => TimestampSchema },
]);

export interface VertexLog {
  vertex: string;
  timestamp?: Timestamp | undefined;
  stream: bigint;
  msg: Uint8Array;
}

export const VertexLogSchema: Schema<VertexLog> = schema("moby.buildkit.v1.VertexLog", [
  { name: "vertex", number: 1, kind: "string" },
  { name: "timestamp", number: 2, kind: () => TimestampSchema },
  { name: "stream", number: 3, kind: "int64" },
  { name: "msg", number: 4, kind: "bytes" },
]);

export interface VertexWarning {
  vertex: string;
  level: bigint;
  short: Uint8Array;
  detail: Uint8Array[];
  url: string;
  info?: SourceInfo | undefined;
  ranges: Range[];
}

export const VertexWarningSchema: Schema<VertexWarning> = schema("moby.buildkit.v1.VertexWarning", [
  { name: "vertex", number: 1, kind: "string" },
  { name: "level", number: 2, kind: "int64" },
  { name: "short", number: 3, kind: "bytes" },
  { name: "detail", number: 4, kind: "bytes", repeated: true },
  { name: "url", number: 5, kind: "string" },
  { name: "info", number: 6, kind: () => SourceInfoSchema },
  { name: "ranges", number: 7, kind: () => RangeSchema, repeated: true },
]);

export interface BytesMessage {
  data: Uint8Array;
}

export const BytesMessageSchema: Schema<BytesMessage> = schema("moby.buildkit.v1.BytesMessage", [
  { name: "data", number: 1, kind: "bytes" },
]);

export interface ListWorkersRequest {
  filter: string[];
}

export const ListWorkersRequestSchema: Schema<ListWorkersRequest> = schema("moby.buildkit.v1.ListWorkersRequest", [
  { name: "filter", number: 1, kind: "string", repeated: true },
]);

export interface ListWorkersResponse {
  record: WorkerRecord[];
}

export const ListWorkersResponseSchema: Schema<ListWorkersResponse> = schema("moby.buildkit.v1.ListWorkersResponse", [
  { name: "record", number: 1, kind: () => WorkerRecordSchema, repeated: true },
]);

export type InfoRequest = Record<string, never>;

export const InfoRequestSchema: Schema<InfoRequest> = schema("moby.buildkit.v1.InfoRequest", []);

export interface InfoResponse {
  buildkitVersion?: BuildkitVersion | undefined;
}

export const InfoResponseSchema: Schema<InfoResponse> = schema("moby.buildkit.v1.InfoResponse", [
  { name: "buildkitVersion", number: 1, kind: () => BuildkitVersionSchema },
]);

export interface BuildHistoryRequest {
  ActiveOnly: boolean;
  Ref: string;
  EarlyExit: boolean;
  Filter: string[];
  Limit: number;
}

export const BuildHistoryRequestSchema: Schema<BuildHistoryRequest> = schema("moby.buildkit.v1.BuildHistoryRequest", [
  { name: "ActiveOnly", number: 1, kind: "bool" },
  { name: "Ref", number: 2, kind: "string" },
  { name: "EarlyExit", number: 3, kind: "bool" },
  { name: "Filter", number: 4, kind: "string", repeated: true },
  { name: "Limit", number: 5, kind: "int32" },
]);

export interface BuildHistoryEvent {
  type: number;
  record?: BuildHistoryRecord | undefined;
}

export const BuildHistoryEventSchema: Schema<BuildHistoryEvent> = schema("moby.buildkit.v1.BuildHistoryEvent", [
  { name: "type", number: 1, kind: "int32" },
  { name: "record", number: 2, kind: () => BuildHistoryRecordSchema },
]);

export interface BuildHistoryRecord {
  Ref: string;
  Frontend: string;
  FrontendAttrs: Record<string, string>;
  Exporters: Exporter[];
  error?: Status | undefined;
  CreatedAt?: Timestamp | undefined;
  CompletedAt?: Timestamp | undefined;
  logs?: Descriptor | undefined;
  ExporterResponse: Record<string, string>;
  Result?: BuildResultInfo | undefined;
  Results: Record<string, BuildResultInfo>;
  Generation: number;
  trace?: Descriptor | undefined;
  pinned: boolean;
  numCachedSteps: number;
  numTotalSteps: number;
  numCompletedSteps: number;
  externalError?: Descriptor | undefined;
  numWarnings: number;
}

export const BuildHistoryRecordSchema: Schema<BuildHistoryRecord> = schema("moby.buildkit.v1.BuildHistoryRecord", [
  { name: "Ref", number: 1, kind: "string" },
  { name: "Frontend", number: 2, kind: "string" },
  { name: "FrontendAttrs", number: 3, kind: "string", key: "string" },
  { name: "Exporters", number: 4, kind: () => ExporterSchema, repeated: true },
  { name: "error", number: 5, kind: () => StatusSchema },
  { name: "CreatedAt", number: 6, kind: () => TimestampSchema },
  { name: "CompletedAt", number: 7, kind: () => TimestampSchema },
  { name: "logs", number: 8, kind: () => DescriptorSchema },
  { name: "ExporterResponse", number: 9, kind: "string", key: "string" },
  { name: "Result", number: 10, kind: () => BuildResultInfoSchema },
  { name: "Results", number: 11, kind: () => BuildResultInfoSchema, key: "string" },
  { name: "Generation", number: 12, kind: "int32" },
  { name: "trace", number: 13, kind: () => DescriptorSchema },
  { name: "pinned", number: 14, kind: "bool" },
  { name: "numCachedSteps", number: 15, kind: "int32" },
  { name: "numTotalSteps", number: 16, kind: "int32" },
  { name: "numCompletedSteps", number: 17, kind: "int32" },
  { name: "externalError", number: 18, kind: () => DescriptorSchema },
  { name: "numWarnings", number: 19, kind: "int32" },
]);

export interface UpdateBuildHistoryRequest {
  Ref: string;
  Pinned: boolean;
  Delete: boolean;
  Finalize: boolean;
}

export const UpdateBuildHistoryRequestSchema: Schema<UpdateBuildHistoryRequest> = schema("moby.buildkit.v1.UpdateBuildHistoryRequest", [
  { name: "Ref", number: 1, kind: "string" },
  { name: "Pinned", number: 2, kind: "bool" },
  { name: "Delete", number: 3, kind: "bool" },
  { name: "Finalize", number: 4, kind: "bool" },
]);

export type UpdateBuildHistoryResponse = Record<string, never>;

export const UpdateBuildHistoryResponseSchema: Schema<UpdateBuildHistoryResponse> = schema("moby.buildkit.v1.UpdateBuildHistoryResponse", []);

export interface Descriptor {
  mediaType: string;
  digest: string;
  size: bigint;
  annotations: Record<string, string>;
}

export const DescriptorSchema: Schema<Descriptor> = schema("moby.buildkit.v1.Descriptor", [
  { name: "mediaType", number: 1, kind: "string" },
  { name: "digest", number: 2, kind: "string" },
  { name: "size", number: 3, kind: "int64" },
  { name: "annotations", number: 5, kind: "string", key: "string" },
]);

export interface BuildResultInfo {
  ResultDeprecated?: Descriptor | undefined;
  Attestations: Descriptor[];
  Results: Record<string, Descriptor>;
}

export const BuildResultInfoSchema: Schema<BuildResultInfo> = schema("moby.buildkit.v1.BuildResultInfo", [
  { name: "ResultDeprecated", number: 1, kind: () => DescriptorSchema },
  { name: "Attestations", number: 2, kind: () => DescriptorSchema, repeated: true },
  { name: "Results", number: 3, kind: () => DescriptorSchema, key: "int64" },
]);

export interface Exporter {
  Type: string;
  Attrs: Record<string, string>;
}

export const ExporterSchema: Schema<Exporter> = schema("moby.buildkit.v1.Exporter", [
  { name: "Type", number: 1, kind: "string" },
  { name: "Attrs", number: 2, kind: "string", key: "string" },
]);

export const Control = service("moby.buildkit.v1.Control", {
  diskUsage: ["DiskUsage", DiskUsageRequestSchema, DiskUsageResponseSchema],
  prune: ["Prune", PruneRequestSchema, UsageRecordSchema],
  solve: ["Solve", SolveRequestSchema, SolveResponseSchema],
  status: ["Status", StatusRequestSchema, StatusResponseSchema],
  session: ["Session", BytesMessageSchema, BytesMessageSchema],
  listWorkers: ["ListWorkers", ListWorkersRequestSchema, ListWorkersResponseSchema],
  info: ["Info", InfoRequestSchema, InfoResponseSchema],
  listenBuildHistory: ["ListenBuildHistory", BuildHistoryRequestSchema, BuildHistoryEventSchema],
  updateBuildHistory: ["UpdateBuildHistory", UpdateBuildHistoryRequestSchema, UpdateBuildHistoryResponseSchema],
});
