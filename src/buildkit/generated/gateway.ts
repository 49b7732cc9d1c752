// Written by `npm run protos` of the protos beside this folder.

import { schema, type Schema } from "../message.ts";
import { service } from "../methods.ts";
import { StatSchema, type Stat } from "./fsutil.ts";
import { DefinitionSchema, HostIPSchema, MetaSchema, MountSchema, PlatformSchema, RangeSchema, SecretEnvSchema, SourceInfoSchema, SourceOpSchema, type Definition, type HostIP, type Meta, type Mount, type Platform, type Range, type SecretEnv, type SourceInfo, type SourceOp } from "./ops.ts";
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
  SourcePolicies: Uint8Array[];
}

export const ResolveImageConfigRequestSchema: Schema<ResolveImageConfigRequest> = schema("moby.buildkit.v1.frontend.ResolveImageConfigRequest", [
  { name: "Ref", number: 1, kind: "string" },
  { name: "Platform", number: 2, kind: () => PlatformSchema },
  { name: "ResolveMode", number: 3, kind: "string" },
  { name: "LogName", number: 4, kind: "string" },
  { name: "ResolverType", number: 5, kind: "int32" },
  { name: "SessionID", number: 6, kind: "string" },
  { name: "StoreID", number: 7, kind: "string" },
  { name: "SourcePolicies", number: 8, kind: "bytes", repeated: true },
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

export interface ResolveSourceMetaRequest {
  Source?: SourceOp | undefined;
  Platform?: Platform | undefined;
  LogName: string;
  ResolveMode: string;
  Git?: ResolveSourceGitRequest | undefined;
  Image?: ResolveSourceImageRequest | undefined;
  HTTP?: ResolveSourceHTTPRequest | undefined;
  SourcePolicies: Uint8Array[];
}

export const ResolveSourceMetaRequestSchema: Schema<ResolveSourceMetaRequest> = schema("moby.buildkit.v1.frontend.ResolveSourceMetaRequest", [
  { name: "Source", number: 1, kind: () => SourceOpSchema },
  { name: "Platform", number: 2, kind: () => PlatformSchema },
  { name: "LogName", number: 3, kind: "string" },
  { name: "ResolveMode", number: 4, kind: "string" },
  { name: "Git", number: 5, kind: () => ResolveSourceGitRequestSchema },
  { name: "Image", number: 6, kind: () => ResolveSourceImageRequestSchema },
  { name: "HTTP", number: 7, kind: () => ResolveSourceHTTPRequestSchema },
  { name: "SourcePolicies", number: 8, kind: "bytes", repeated: true },
]);

export interface ResolveSourceImageRequest {
  NoConfig: boolean;
  AttestationChain: boolean;
  ResolveAttestations: string[];
}

export const ResolveSourceImageRequestSchema: Schema<ResolveSourceImageRequest> = schema("moby.buildkit.v1.frontend.ResolveSourceImageRequest", [
  { name: "NoConfig", number: 1, kind: "bool" },
  { name: "AttestationChain", number: 2, kind: "bool" },
  { name: "ResolveAttestations", number: 3, kind: "string", repeated: true },
]);

export interface ResolveSourceGitRequest {
  ReturnObject: boolean;
}

export const ResolveSourceGitRequestSchema: Schema<ResolveSourceGitRequest> = schema("moby.buildkit.v1.frontend.ResolveSourceGitRequest", [
  { name: "ReturnObject", number: 1, kind: "bool" },
]);

export interface ResolveSourceHTTPRequest {
  ChecksumRequest: Uint8Array;
}

export const ResolveSourceHTTPRequestSchema: Schema<ResolveSourceHTTPRequest> = schema("moby.buildkit.v1.frontend.ResolveSourceHTTPRequest", [
  { name: "ChecksumRequest", number: 1, kind: "bytes" },
]);

export interface ResolveSourceMetaResponse {
  Source?: SourceOp | undefined;
  Image?: ResolveSourceImageResponse | undefined;
  Git?: ResolveSourceGitResponse | undefined;
  HTTP?: ResolveSourceHTTPResponse | undefined;
}

export const ResolveSourceMetaResponseSchema: Schema<ResolveSourceMetaResponse> = schema("moby.buildkit.v1.frontend.ResolveSourceMetaResponse", [
  { name: "Source", number: 1, kind: () => SourceOpSchema },
  { name: "Image", number: 2, kind: () => ResolveSourceImageResponseSchema },
  { name: "Git", number: 3, kind: () => ResolveSourceGitResponseSchema },
  { name: "HTTP", number: 4, kind: () => ResolveSourceHTTPResponseSchema },
]);

export interface ResolveSourceImageResponse {
  Digest: string;
  Config: Uint8Array;
}

export const ResolveSourceImageResponseSchema: Schema<ResolveSourceImageResponse> = schema("moby.buildkit.v1.frontend.ResolveSourceImageResponse", [
  { name: "Digest", number: 1, kind: "string" },
  { name: "Config", number: 2, kind: "bytes" },
]);

export interface ResolveSourceGitResponse {
  Checksum: string;
  Ref: string;
  CommitChecksum: string;
}

export const ResolveSourceGitResponseSchema: Schema<ResolveSourceGitResponse> = schema("moby.buildkit.v1.frontend.ResolveSourceGitResponse", [
  { name: "Checksum", number: 1, kind: "string" },
  { name: "Ref", number: 2, kind: "string" },
  { name: "CommitChecksum", number: 3, kind: "string" },
]);

export interface ResolveSourceHTTPResponse {
  Checksum: string;
  Filename: string;
}

export const ResolveSourceHTTPResponseSchema: Schema<ResolveSourceHTTPResponse> = schema("moby.buildkit.v1.frontend.ResolveSourceHTTPResponse", [
  { name: "Checksum", number: 1, kind: "string" },
  { name: "Filename", number: 2, kind: "string" },
]);

export interface NewContainerRequest {
  ContainerID: string;
  Mounts: Mount[];
  Network: number;
  platform?: Platform | undefined;
  extraHosts: HostIP[];
  hostname: string;
}

export const NewContainerRequestSchema: Schema<NewContainerRequest> = schema("moby.buildkit.v1.frontend.NewContainerRequest", [
  { name: "ContainerID", number: 1, kind: "string" },
  { name: "Mounts", number: 2, kind: () => MountSchema, repeated: true },
  { name: "Network", number: 3, kind: "int32" },
  { name: "platform", number: 4, kind: () => PlatformSchema },
  { name: "extraHosts", number: 6, kind: () => HostIPSchema, repeated: true },
  { name: "hostname", number: 7, kind: "string" },
]);

export type NewContainerResponse = Record<string, never>;

export const NewContainerResponseSchema: Schema<NewContainerResponse> = schema("moby.buildkit.v1.frontend.NewContainerResponse", []);

export interface ReleaseContainerRequest {
  ContainerID: string;
}

export const ReleaseContainerRequestSchema: Schema<ReleaseContainerRequest> = schema("moby.buildkit.v1.frontend.ReleaseContainerRequest", [
  { name: "ContainerID", number: 1, kind: "string" },
]);

export type ReleaseContainerResponse = Record<string, never>;

export const ReleaseContainerResponseSchema: Schema<ReleaseContainerResponse> = schema("moby.buildkit.v1.frontend.ReleaseContainerResponse", []);

export interface ExecMessage {
  ProcessID: string;
  Input:
    | { case: "Init"; value: InitMessage }
    | { case: "File"; value: FdMessage }
    | { case: "Resize"; value: ResizeMessage }
    | { case: "Started"; value: StartedMessage }
    | { case: "Exit"; value: ExitMessage }
    | { case: "Done"; value: DoneMessage }
    | { case: "Signal"; value: SignalMessage }
    | { case: undefined; value?: undefined };
}

export const ExecMessageSchema: Schema<ExecMessage> = schema("moby.buildkit.v1.frontend.ExecMessage", [
  { name: "ProcessID", number: 1, kind: "string" },
  { name: "Init", number: 2, kind: () => InitMessageSchema, oneof: "Input" },
  { name: "File", number: 3, kind: () => FdMessageSchema, oneof: "Input" },
  { name: "Resize", number: 4, kind: () => ResizeMessageSchema, oneof: "Input" },
  { name: "Started", number: 5, kind: () => StartedMessageSchema, oneof: "Input" },
  { name: "Exit", number: 6, kind: () => ExitMessageSchema, oneof: "Input" },
  { name: "Done", number: 7, kind: () => DoneMessageSchema, oneof: "Input" },
  { name: "Signal", number: 8, kind: () => SignalMessageSchema, oneof: "Input" },
]);

export interface InitMessage {
  ContainerID: string;
  Meta?: Meta | undefined;
  Fds: number[];
  Tty: boolean;
  Security: number;
  secretenv: SecretEnv[];
}

export const InitMessageSchema: Schema<InitMessage> = schema("moby.buildkit.v1.frontend.InitMessage", [
  { name: "ContainerID", number: 1, kind: "string" },
  { name: "Meta", number: 2, kind: () => MetaSchema },
  { name: "Fds", number: 3, kind: "uint32", repeated: true },
  { name: "Tty", number: 4, kind: "bool" },
  { name: "Security", number: 5, kind: "int32" },
  { name: "secretenv", number: 6, kind: () => SecretEnvSchema, repeated: true },
]);

export interface ExitMessage {
  Code: number;
  Error?: Status | undefined;
}

export const ExitMessageSchema: Schema<ExitMessage> = schema("moby.buildkit.v1.frontend.ExitMessage", [
  { name: "Code", number: 1, kind: "uint32" },
  { name: "Error", number: 2, kind: () => StatusSchema },
]);

export type StartedMessage = Record<string, never>;

export const StartedMessageSchema: Schema<StartedMessage> = schema("moby.buildkit.v1.frontend.StartedMessage", []);

export type DoneMessage = Record<string, never>;

export const DoneMessageSchema: Schema<DoneMessage> = schema("moby.buildkit.v1.frontend.DoneMessage", []);

export interface FdMessage {
  Fd: number;
  EOF: boolean;
  Data: Uint8Array;
}

export const FdMessageSchema: Schema<FdMessage> = schema("moby.buildkit.v1.frontend.FdMessage", [
  { name: "Fd", number: 1, kind: "uint32" },
  { name: "EOF", number: 2, kind: "bool" },
  { name: "Data", number: 3, kind: "bytes" },
]);

export interface ResizeMessage {
  Rows: number;
  Cols: number;
}

export const ResizeMessageSchema: Schema<ResizeMessage> = schema("moby.buildkit.v1.frontend.ResizeMessage", [
  { name: "Rows", number: 1, kind: "uint32" },
  { name: "Cols", number: 2, kind: "uint32" },
]);

export interface SignalMessage {
  Name: string;
}

export const SignalMessageSchema: Schema<SignalMessage> = schema("moby.buildkit.v1.frontend.SignalMessage", [
  { name: "Name", number: 1, kind: "string" },
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
  resolveSourceMeta: ["ResolveSourceMeta", ResolveSourceMetaRequestSchema, ResolveSourceMetaResponseSchema],
  solve: ["Solve", SolveRequestSchema, SolveResponseSchema],
  readFile: ["ReadFile", ReadFileRequestSchema, ReadFileResponseSchema],
  readDir: ["ReadDir", ReadDirRequestSchema, ReadDirResponseSchema],
  statFile: ["StatFile", StatFileRequestSchema, StatFileResponseSchema],
  evaluate: ["Evaluate", EvaluateRequestSchema, EvaluateResponseSchema],
  ping: ["Ping", PingRequestSchema, PongResponseSchema],
  return: ["Return", ReturnRequestSchema, ReturnResponseSchema],
  inputs: ["Inputs", InputsRequestSchema, InputsResponseSchema],
  newContainer: ["NewContainer", NewContainerRequestSchema, NewContainerResponseSchema],
  releaseContainer: ["ReleaseContainer", ReleaseContainerRequestSchema, ReleaseContainerResponseSchema],
  execProcess: ["ExecProcess", ExecMessageSchema, ExecMessageSchema],
  readFileContainer: ["ReadFileContainer", ReadFileRequestSchema, ReadFileResponseSchema],
  readDirContainer: ["ReadDirContainer", ReadDirRequestSchema, ReadDirResponseSchema],
  statFileContainer: ["StatFileContainer", StatFileRequestSchema, StatFileResponseSchema],
  warn: ["Warn", WarnRequestSchema, WarnResponseSchema],
});
