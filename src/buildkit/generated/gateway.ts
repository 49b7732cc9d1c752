// Written by `npm run protos` of the protos beside this folder.

import { schema, type Schema } from "../message.ts";
import { service } from "../methods.ts";
import { StatSchema, type Stat } from "./fsutil.ts";
import { DefinitionSchema, PlatformSchema, RangeSchema, SourceInfoSchema, type Definition, type Platform, type Range, type SourceInfo } from "./ops.ts";
import { StatusSchema, type Status } from "./rpc.ts";
import { WorkerRecordSchema, type WorkerRecord } from "./worker.ts";

export interface Result {
  metadata: Record<string, Uint8Array>;
  result:
    | { case: "refDeprecated"; value: string }
    | { case: "refsDeprecated"; value: RefMapDeprecated }
    | { case: "ref"; value: Ref }
    | { case: "refs"; value: RefMap }
    | { case: undefined; value?: undefined };
}

export const ResultSchema: Schema<Result> = schema("moby.buildkit.v1.frontend.Result", [
  { name: "refDeprecated", number: 1, kind: "string", oneof: "result" },
  { name: "refsDeprecated", number: 2, kind: () => RefMapDeprecatedSchema, oneof: "result" },
  { name: "ref", number: 3, kind: () => RefSchema, oneof: "result" },
  { name: "refs", number: 4, kind: () => RefMapSchema, oneof: "result" },
  { name: "metadata", number: 10, kind: "bytes", key: "string" },
]);

export interface RefMapDeprecated {
  refs: Record<string, string>;
}

export const RefMapDeprecatedSchema: Schema<RefMapDeprecated> = schema("moby.buildkit.v1.frontend.RefMapDeprecated", [
  { name: "refs", number: 1, kind: "string", key: "string" },
]);

export interface Ref {
  id: string;
  def?: Definition | undefined;
}

export const RefSchema: Schema<Ref> = schema("moby.buildkit.v1.frontend.Ref", [
  { name: "id", number: 1, kind: "string" },
  { name: "def", number: 2, kind: () => DefinitionSchema },
]);

export interface RefMap {
  refs: Record<string, Ref>;
}

export const RefMapSchema: Schema<RefMap> = schema("moby.buildkit.v1.frontend.RefMap", [
  { name: "refs", number: 1, kind: () => RefSchema, key: "string" },
]);

export interface ReturnRequest {
  result?: Result | undefined;
  error?: Status | undefined;
}

export const ReturnRequestSchema: Schema<ReturnRequest> = schema("moby.buildkit.v1.frontend.ReturnRequest", [
  { name: "result", number: 1, kind: () => ResultSchema },
  { name: "error", number: 2, kind: () => StatusSchema },
]);

export type ReturnResponse = Record<string, never>;

export const ReturnResponseSchema: Schema<ReturnResponse> = schema("moby.buildkit.v1.frontend.ReturnResponse", []);

export type InputsRequest = Record<string, never>;

export const InputsRequestSchema: Schema<InputsRequest> = schema("moby.buildkit.v1.frontend.InputsRequest", []);

export interface InputsResponse {
  Definitions: Record<string, Definition>;
}

export const InputsResponseSchema: Schema<InputsResponse> = schema("moby.buildkit.v1.frontend.InputsResponse", [
  { name: "Definitions", number: 1, kind: () => DefinitionSchema, key: "string" },
]);

export interface ResolveImageConfigRequest {
  Ref: string;
  Platform?: Platform | undefined;
  ResolveMode: string;
  LogName: string;
  ResolverType: number;
  SessionID: string;
  StoreID: string;
}

export const ResolveImageConfigRequestSchema: Schema<ResolveImageConfigRequest> = schema("moby.buildkit.v1.frontend.ResolveImageConfigRequest", [
  { name: "Ref", number: 1, kind: "string" },
  { name: "Platform", number: 2, kind: () => PlatformSchema },
  { name: "ResolveMode", number: 3, kind: "string" },
  { name: "LogName", number: 4, kind: "string" },
  { name: "ResolverType", number: 5, kind: "int32" },
  { name: "SessionID", number: 6, kind: "string" },
  { name: "StoreID", number: 7, kind: "string" },
]);

export interface ResolveImageConfigResponse {
  Digest: string;
  Config: Uint8Array;
  Ref: string;
}

export const ResolveImageConfigResponseSchema: Schema<ResolveImageConfigResponse> = schema("moby.buildkit.v1.frontend.ResolveImageConfigResponse", [
  { name: "Digest", number: 1, kind: "string" },
  { name: "Config", number: 2, kind: "bytes" },
  { name: "Ref", number: 3, kind: "string" },
]);

export interface SolveRequest {
  Definition?: Definition | undefined;
  Frontend: string;
  FrontendOpt: Record<string, string>;
  allowResultReturn: boolean;
  allowResultArrayRef: boolean;
  Final: boolean;
  ExporterAttr: Uint8Array;
  CacheImports: CacheOptionsEntry[];
  FrontendInputs: Record<string, Definition>;
  Evaluate: boolean;
  SourcePolicies: Uint8Array[];
}

export const SolveRequestSchema: Schema<SolveRequest> = schema("moby.buildkit.v1.frontend.SolveRequest", [
  { name: "Definition", number: 1, kind: () => DefinitionSchema },
  { name: "Frontend", number: 2, kind: "string" },
  { name: "FrontendOpt", number: 3, kind: "string", key: "string" },
  { name: "allowResultReturn", number: 5, kind: "bool" },
  { name: "allowResultArrayRef", number: 6, kind: "bool" },
  { name: "Final", number: 10, kind: "bool" },
  { name: "ExporterAttr", number: 11, kind: "bytes" },
  { name: "CacheImports", number: 12, kind: () => CacheOptionsEntrySchema, repeated: true },
  { name: "FrontendInputs", number: 13, kind: () => DefinitionSchema, key: "string" },
  { name: "Evaluate", number: 14, kind: "bool" },
  { name: "SourcePolicies", number: 15, kind: "bytes", repeated: true },
]);

export interface CacheOptionsEntry {
  Type: string;
  Attrs: Record<string, string>;
}

export const CacheOptionsEntrySchema: Schema<CacheOptionsEntry> = schema("moby.buildkit.v1.frontend.CacheOptionsEntry", [
  { name: "Type", number: 1, kind: "string" },
  { name: "Attrs", number: 2, kind: "string", key: "string" },
]);

export interface SolveResponse {
  ref: string;
  result?: Result | undefined;
}

export const SolveResponseSchema: Schema<SolveResponse> = schema("moby.buildkit.v1.frontend.SolveResponse", [
  { name: "ref", number: 1, kind: "string" },
  { name: "result", number: 3, kind: () => ResultSchema },
]);

export interface ReadFileRequest {
  Ref: string;
  FilePath: string;
  Range?: FileRange | undefined;
  MountIndex: number;
}

export const ReadFileRequestSchema: Schema<ReadFileRequest> = schema("moby.buildkit.v1.frontend.ReadFileRequest", [
  { name: "Ref", number: 1, kind: "string" },
  { name: "FilePath", number: 2, kind: "string" },
  { name: "Range", number: 3, kind: () => FileRangeSchema },
  { name: "MountIndex", number: 4, kind: "int32" },
]);

export interface FileRange {
  Offset: bigint;
  Length: bigint;
}

export const FileRangeSchema: Schema<FileRange> = schema("moby.buildkit.v1.frontend.FileRange", [
  { name: "Offset", number: 1, kind: "int64" },
  { name: "Length", number: 2, kind: "int64" },
]);

export interface ReadFileResponse {
  Data: Uint8Array;
}

export const ReadFileResponseSchema: Schema<ReadFileResponse> = schema("moby.buildkit.v1.frontend.ReadFileResponse", [
  { name: "Data", number: 1, kind: "bytes" },
]);

export interface ReadDirRequest {
  Ref: string;
  DirPath: string;
  IncludePattern: string;
  MountIndex: number;
}

export const ReadDirRequestSchema: Schema<ReadDirRequest> = schema("moby.buildkit.v1.frontend.ReadDirRequest", [
  { name: "Ref", number: 1, kind: "string" },
  { name: "DirPath", number: 2, kind: "string" },
  { name: "IncludePattern", number: 3, kind: "string" },
  { name: "MountIndex", number: 4, kind: "int32" },
]);

export interface ReadDirResponse {
  entries: Stat[];
}

export const ReadDirResponseSchema: Schema<ReadDirResponse> = schema("moby.buildkit.v1.frontend.ReadDirResponse", [
  { name: "entries", number: 1, kind: () => StatSchema, repeated: true },
]);

export interface StatFileRequest {
  Ref: string;
  Path: string;
  MountIndex: number;
}

export const StatFileRequestSchema: Schema<StatFileRequest> = schema("moby.buildkit.v1.frontend.StatFileRequest", [
  { name: "Ref", number: 1, kind: "string" },
  { name: "Path", number: 2, kind: "string" },
  { name: "MountIndex", number: 3, kind: "int32" },
]);

export interface StatFileResponse {
  stat?: Stat | undefined;
}

export const StatFileResponseSchema: Schema<StatFileResponse> = schema("moby.buildkit.v1.frontend.StatFileResponse", [
  { name: "stat", number: 1, kind: () => StatSchema },
]);

export interface EvaluateRequest {
  Ref: string;
}

export const EvaluateRequestSchema: Schema<EvaluateRequest> = schema("moby.buildkit.v1.frontend.EvaluateRequest", [
  { name: "Ref", number: 1, kind: "string" },
]);

export type EvaluateResponse = Record<string, never>;

export const EvaluateResponseSchema: Schema<EvaluateResponse> = schema("moby.buildkit.v1.frontend.EvaluateResponse", []);

export type PingRequest = Record<string, never>;

export const PingRequestSchema: Schema<PingRequest> = schema("moby.buildkit.v1.frontend.PingRequest", []);

export interface APICap {
  ID: string;
  Enabled: boolean;
  Deprecated: boolean;
  DisabledReason: string;
  DisabledReasonMsg: string;
  DisabledAlternative: string;
}

export const APICapSchema: Schema<APICap> = schema("moby.buildkit.v1.frontend.APICap", [
  { name: "ID", number: 1, kind: "string" },
  { name: "Enabled", number: 2, kind: "bool" },
  { name: "Deprecated", number: 3, kind: "bool" },
  { name: "DisabledReason", number: 4, kind: "string" },
  { name: "DisabledReasonMsg", number: 5, kind: "string" },
  { name: "DisabledAlternative", number: 6, kind: "string" },
]);

export interface PongResponse {
  FrontendAPICaps: APICap[];
  LLBCaps: APICap[];
  Workers: WorkerRecord[];
}

export const PongResponseSchema: Schema<PongResponse> = schema("moby.buildkit.v1.frontend.PongResponse", [
  { name: "FrontendAPICaps", number: 1, kind: () => APICapSchema, repeated: true },
  { name: "LLBCaps", number: 2, kind: () => APICapSchema, repeated: true },
  { name: "Workers", number: 3, kind: () => WorkerRecordSchema, repeated: true },
]);

export interface WarnRequest {
  digest: string;
  level: bigint;
  short: Uint8Array;
  detail: Uint8Array[];
  url: string;
  info?: SourceInfo | undefined;
  ranges: Range[];
}

export const WarnRequestSchema: Schema<WarnRequest> = schema("moby.buildkit.v1.frontend.WarnRequest", [
  { name: "digest", number: 1, kind: "string" },
  { name: "level", number: 2, kind: "int64" },
  { name: "short", number: 3, kind: "bytes" },
  { name: "detail", number: 4, kind: "bytes", repeated: true },
  { name: "url", number: 5, kind: "string" },
  { name: "info", number: 6, kind: () => SourceInfoSchema },
  { name: "ranges", number: 7, kind: () => RangeSchema, repeated: true },
]);

export type WarnResponse = Record<string, never>;

export const WarnResponseSchema: Schema<WarnResponse> = schema("moby.buildkit.v1.frontend.WarnResponse", []);

export const LLBBridge = service("moby.buildkit.v1.frontend.LLBBridge", {
  resolveImageConfig: ["ResolveImageConfig", ResolveImageConfigRequestSchema, ResolveImageConfigResponseSchema],
  solve: ["Solve", SolveRequestSchema, SolveResponseSchema],
  readFile: ["ReadFile", ReadFileRequestSchema, ReadFileResponseSchema],
  readDir: ["ReadDir", ReadDirRequestSchema, ReadDirResponseSchema],
  statFile: ["StatFile", StatFileRequestSchema, StatFileResponseSchema],
  evaluate: ["Evaluate", EvaluateRequestSchema, EvaluateResponseSchema],
  ping: ["Ping", PingRequestSchema, PongResponseSchema],
  return: ["Return", ReturnRequestSchema, ReturnResponseSchema],
  inputs: ["Inputs", InputsRequestSchema, InputsResponseSchema],
  warn: ["Warn", WarnRequestSchema, WarnResponseSchema],
});
