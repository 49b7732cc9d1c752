// Written by `npm run protos` of the protos beside this folder.

import { schema, type Schema } from "../message.ts";

export interface Platform {
  Architecture: string;
  OS: string;
  Variant: string;
  OSVersion: string;
  OSFeatures: string[];
}

export const PlatformSchema: Schema<Platform> = schema("pb.Platform", [
  { name: "Architecture", number: 1, kind: "string" },
  { name: "OS", number: 2, kind: "string" },
  { name: "Variant", number: 3, kind: "string" },
  { name: "OSVersion", number: 4, kind: "string" },
  { name: "OSFeatures", number: 5, kind: "string", repeated: true },
]);

export interface Op {
  inputs: Input[];
  exec?: ExecOp | undefined;
  source?: SourceOp | undefined;
  file?: FileOp | undefined;
  build?: BuildOp | undefined;
  merge?: MergeOp | undefined;
  diff?: DiffOp | undefined;
  passthrough?: PassthroughOp | undefined;
  platform?: Platform | undefined;
}

export const OpSchema: Schema<Op> = schema("pb.Op", [
  { name: "inputs", number: 1, kind: () => InputSchema, repeated: true },
  { name: "exec", number: 2, kind: () => ExecOpSchema },
  { name: "source", number: 3, kind: () => SourceOpSchema },
  { name: "file", number: 4, kind: () => FileOpSchema },
  { name: "build", number: 5, kind: () => BuildOpSchema },
  { name: "merge", number: 6, kind: () => MergeOpSchema },
  { name: "diff", number: 7, kind: () => DiffOpSchema },
  { name: "passthrough", number: 8, kind: () => PassthroughOpSchema },
  { name: "platform", number: 10, kind: () => PlatformSchema },
]);

export interface Input {
  digest: string;
  index: bigint;
}

export const InputSchema: Schema<Input> = schema("pb.Input", [
  { name: "digest", number: 1, kind: "string" },
  { name: "index", number: 2, kind: "int64" },
]);

export interface SourceOp {
  identifier: string;
  attrs: Record<string, string>;
}

export const SourceOpSchema: Schema<SourceOp> = schema("pb.SourceOp", [
  { name: "identifier", number: 1, kind: "string" },
  { name: "attrs", number: 2, kind: "string", key: "string" },
]);

export interface ExecOp {
  meta?: Meta | undefined;
  mounts: Mount[];
  network: number;
  security: number;
  secretenv: SecretEnv[];
  cdiDevices: CDIDevice[];
}

export const ExecOpSchema: Schema<ExecOp> = schema("pb.ExecOp", [
  { name: "meta", number: 1, kind: () => MetaSchema },
  { name: "mounts", number: 2, kind: () => MountSchema, repeated: true },
  { name: "network", number: 3, kind: "int32" },
  { name: "security", number: 4, kind: "int32" },
  { name: "secretenv", number: 5, kind: () => SecretEnvSchema, repeated: true },
  { name: "cdiDevices", number: 6, kind: () => CDIDeviceSchema, repeated: true },
]);

export interface Meta {
  args: string[];
  env: string[];
  cwd: string;
  user: string;
  proxyEnv?: ProxyEnv | undefined;
  extraHosts: HostIP[];
  hostname: string;
  ulimit: Ulimit[];
  cgroupParent: string;
  validExitCodes: number[];
}

export const MetaSchema: Schema<Meta> = schema("pb.Meta", [
  { name: "args", number: 1, kind: "string", repeated: true },
  { name: "env", number: 2, kind: "string", repeated: true },
  { name: "cwd", number: 3, kind: "string" },
  { name: "user", number: 4, kind: "string" },
  { name: "proxyEnv", number: 5, kind: () => ProxyEnvSchema },
  { name: "extraHosts", number: 6, kind: () => HostIPSchema, repeated: true },
  { name: "hostname", number: 7, kind: "string" },
  { name: "ulimit", number: 9, kind: () => UlimitSchema, repeated: true },
  { name: "cgroupParent", number: 10, kind: "string" },
  { name: "validExitCodes", number: 12, kind: "int32", repeated: true },
]);

export interface ProxyEnv {
  httpProxy: string;
  httpsProxy: string;
  ftpProxy: string;
  noProxy: string;
  allProxy: string;
}

export const ProxyEnvSchema: Schema<ProxyEnv> = schema("pb.ProxyEnv", [
  { name: "httpProxy", number: 1, kind: "string" },
  { name: "httpsProxy", number: 2, kind: "string" },
  { name: "ftpProxy", number: 3, kind: "string" },
  { name: "noProxy", number: 4, kind: "string" },
  { name: "allProxy", number: 5, kind: "string" },
]);

export interface HostIP {
  Host: string;
  IP: string;
}

export const HostIPSchema: Schema<HostIP> = schema("pb.HostIP", [
  { name: "Host", number: 1, kind: "string" },
  { name: "IP", number: 2, kind: "string" },
]);

export interface Ulimit {
  Name: string;
}

export const UlimitSchema: Schema<Ulimit> = schema("pb.Ulimit", [
  { name: "Name", number: 1, kind: "string" },
]);

export interface CDIDevice {
  name: string;
}

export const CDIDeviceSchema: Schema<CDIDevice> = schema("pb.CDIDevice", [
  { name: "name", number: 1, kind: "string" },
]);

export interface SecretEnv {
  ID: string;
  name: string;
  optional: boolean;
}

export const SecretEnvSchema: Schema<SecretEnv> = schema("pb.SecretEnv", [
  { name: "ID", number: 1, kind: "string" },
  { name: "name", number: 2, kind: "string" },
  { name: "optional", number: 3, kind: "bool" },
]);

export interface Mount {
  input: bigint;
  selector: string;
  dest: string;
  output: bigint;
  readonly: boolean;
  mountType: number;
  TmpfsOpt?: TmpfsOpt | undefined;
  cacheOpt?: CacheOpt | undefined;
  secretOpt?: SecretOpt | undefined;
  SSHOpt?: SSHOpt | undefined;
  resultID: string;
}

export const MountSchema: Schema<Mount> = schema("pb.Mount", [
  { name: "input", number: 1, kind: "int64" },
  { name: "selector", number: 2, kind: "string" },
  { name: "dest", number: 3, kind: "string" },
  { name: "output", number: 4, kind: "int64" },
  { name: "readonly", number: 5, kind: "bool" },
  { name: "mountType", number: 6, kind: "int32" },
  { name: "TmpfsOpt", number: 19, kind: () => TmpfsOptSchema },
  { name: "cacheOpt", number: 20, kind: () => CacheOptSchema },
  { name: "secretOpt", number: 21, kind: () => SecretOptSchema },
  { name: "SSHOpt", number: 22, kind: () => SSHOptSchema },
  { name: "resultID", number: 23, kind: "string" },
]);

export interface TmpfsOpt {
  size: bigint;
}

export const TmpfsOptSchema: Schema<TmpfsOpt> = schema("pb.TmpfsOpt", [
  { name: "size", number: 1, kind: "int64" },
]);

export interface CacheOpt {
  ID: string;
  sharing: number;
}

export const CacheOptSchema: Schema<CacheOpt> = schema("pb.CacheOpt", [
  { name: "ID", number: 1, kind: "string" },
  { name: "sharing", number: 2, kind: "int32" },
]);

export interface SecretOpt {
  ID: string;
  uid: number;
  gid: number;
  mode: number;
  optional: boolean;
}

export const SecretOptSchema: Schema<SecretOpt> = schema("pb.SecretOpt", [
  { name: "ID", number: 1, kind: "string" },
  { name: "uid", number: 2, kind: "uint32" },
  { name: "gid", number: 3, kind: "uint32" },
  { name: "mode", number: 4, kind: "uint32" },
  { name: "optional", number: 5, kind: "bool" },
]);

export interface SSHOpt {
  ID: string;
  uid: number;
  gid: number;
  mode: number;
  optional: boolean;
}

export const SSHOptSchema: Schema<SSHOpt> = schema("pb.SSHOpt", [
  { name: "ID", number: 1, kind: "string" },
  { name: "uid", number: 2, kind: "uint32" },
  { name: "gid", number: 3, kind: "uint32" },
  { name: "mode", number: 4, kind: "uint32" },
  { name: "optional", number: 5, kind: "bool" },
]);

export interface FileOp {
  actions: FileAction[];
}

export const FileOpSchema: Schema<FileOp> = schema("pb.FileOp", [
  { name: "actions", number: 2, kind: () => FileActionSchema, repeated: true },
]);

export interface FileAction {
  input: bigint;
  secondaryInput: bigint;
  output: bigint;
  copy?: FileActionCopy | undefined;
  mkfile?: FileActionMkFile | undefined;
  mkdir?: FileActionMkDir | undefined;
  rm?: FileActionRm | undefined;
  symlink?: FileActionSymlink | undefined;
}

export const FileActionSchema: Schema<FileAction> = schema("pb.FileAction", [
  { name: "input", number: 1, kind: "int64" },
  { name: "secondaryInput", number: 2, kind: "int64" },
  { name: "output", number: 3, kind: "int64" },
  { name: "copy", number: 4, kind: () => FileActionCopySchema },
  { name: "mkfile", number: 5, kind: () => FileActionMkFileSchema },
  { name: "mkdir", number: 6, kind: () => FileActionMkDirSchema },
  { name: "rm", number: 7, kind: () => FileActionRmSchema },
  { name: "symlink", number: 8, kind: () => FileActionSymlinkSchema },
]);

export interface FileActionCopy {
  src: string;
  dest: string;
  owner?: ChownOpt | undefined;
  mode: number;
  followSymlink: boolean;
  dirCopyContents: boolean;
  attemptUnpackDockerCompatibility: boolean;
  createDestPath: boolean;
  allowWildcard: boolean;
  allowEmptyWildcard: boolean;
  timestamp: bigint;
  includePatterns: string[];
  excludePatterns: string[];
  alwaysReplaceExistingDestPaths: boolean;
  modeStr: string;
  requiredPaths: string[];
}

export const FileActionCopySchema: Schema<FileActionCopy> = schema("pb.FileActionCopy", [
  { name: "src", number: 1, kind: "string" },
  { name: "dest", number: 2, kind: "string" },
  { name: "owner", number: 3, kind: () => ChownOptSchema },
  { name: "mode", number: 4, kind: "int32" },
  { name: "followSymlink", number: 5, kind: "bool" },
  { name: "dirCopyContents", number: 6, kind: "bool" },
  { name: "attemptUnpackDockerCompatibility", number: 7, kind: "bool" },
  { name: "createDestPath", number: 8, kind: "bool" },
  { name: "allowWildcard", number: 9, kind: "bool" },
  { name: "allowEmptyWildcard", number: 10, kind: "bool" },
  { name: "timestamp", number: 11, kind: "int64" },
  { name: "includePatterns", number: 12, kind: "string", repeated: true },
  { name: "excludePatterns", number: 13, kind: "string", repeated: true },
  { name: "alwaysReplaceExistingDestPaths", number: 14, kind: "bool" },
  { name: "modeStr", number: 15, kind: "string" },
  { name: "requiredPaths", number: 16, kind: "string", repeated: true },
]);

export interface FileActionMkFile {
  path: string;
  mode: number;
  data: Uint8Array;
  owner?: ChownOpt | undefined;
  timestamp: bigint;
}

export const FileActionMkFileSchema: Schema<FileActionMkFile> = schema("pb.FileActionMkFile", [
  { name: "path", number: 1, kind: "string" },
  { name: "mode", number: 2, kind: "int32" },
  { name: "data", number: 3, kind: "bytes" },
  { name: "owner", number: 4, kind: () => ChownOptSchema },
  { name: "timestamp", number: 5, kind: "int64" },
]);

export interface FileActionMkDir {
  path: string;
  mode: number;
  makeParents: boolean;
  owner?: ChownOpt | undefined;
  timestamp: bigint;
}

export const FileActionMkDirSchema: Schema<FileActionMkDir> = schema("pb.FileActionMkDir", [
  { name: "path", number: 1, kind: "string" },
  { name: "mode", number: 2, kind: "int32" },
  { name: "makeParents", number: 3, kind: "bool" },
  { name: "owner", number: 4, kind: () => ChownOptSchema },
  { name: "timestamp", number: 5, kind: "int64" },
]);

export interface FileActionRm {
  path: string;
  allowNotFound: boolean;
  allowWildcard: boolean;
}

export const FileActionRmSchema: Schema<FileActionRm> = schema("pb.FileActionRm", [
  { name: "path", number: 1, kind: "string" },
  { name: "allowNotFound", number: 2, kind: "bool" },
  { name: "allowWildcard", number: 3, kind: "bool" },
]);

export interface FileActionSymlink {
  oldpath: string;
  newpath: string;
  owner?: ChownOpt | undefined;
  timestamp: bigint;
}

export const FileActionSymlinkSchema: Schema<FileActionSymlink> = schema("pb.FileActionSymlink", [
  { name: "oldpath", number: 1, kind: "string" },
  { name: "newpath", number: 2, kind: "string" },
  { name: "owner", number: 3, kind: () => ChownOptSchema },
  { name: "timestamp", number: 4, kind: "int64" },
]);

export interface ChownOpt {
  user?: UserOpt | undefined;
  group?: UserOpt | undefined;
}

export const ChownOptSchema: Schema<ChownOpt> = schema("pb.ChownOpt", [
  { name: "user", number: 1, kind: () => UserOptSchema },
  { name: "group", number: 2, kind: () => UserOptSchema },
]);

export interface UserOpt {
  user:
    | { case: "byName"; value: NamedUserOpt }
    | { case: "byID"; value: number }
    | { case: undefined; value?: undefined };
}

export const UserOptSchema: Schema<UserOpt> = schema("pb.UserOpt", [
  { name: "byName", number: 1, kind: () => NamedUserOptSchema, oneof: "user" },
  { name: "byID", number: 2, kind: "uint32", oneof: "user" },
]);

export interface NamedUserOpt {
  name: string;
  input: bigint;
}

export const NamedUserOptSchema: Schema<NamedUserOpt> = schema("pb.NamedUserOpt", [
  { name: "name", number: 1, kind: "string" },
  { name: "input", number: 2, kind: "int64" },
]);

export interface BuildOp {
  builder: bigint;
}

export const BuildOpSchema: Schema<BuildOp> = schema("pb.BuildOp", [
  { name: "builder", number: 1, kind: "int64" },
]);

export interface MergeOp {
  inputs: MergeInput[];
}

export const MergeOpSchema: Schema<MergeOp> = schema("pb.MergeOp", [
  { name: "inputs", number: 1, kind: () => MergeInputSchema, repeated: true },
]);

export interface MergeInput {
  input: bigint;
}

export const MergeInputSchema: Schema<MergeInput> = schema("pb.MergeInput", [
  { name: "input", number: 1, kind: "int64" },
]);

export interface DiffOp {
  lower?: DiffInput | undefined;
  upper?: DiffInput | undefined;
}

export const DiffOpSchema: Schema<DiffOp> = schema("pb.DiffOp", [
  { name: "lower", number: 1, kind: () => DiffInputSchema },
  { name: "upper", number: 2, kind: () => DiffInputSchema },
]);

export interface DiffInput {
  input: bigint;
}

export const DiffInputSchema: Schema<DiffInput> = schema("pb.DiffInput", [
  { name: "input", number: 1, kind: "int64" },
]);

export interface PassthroughOp {
  id: string;
}

export const PassthroughOpSchema: Schema<PassthroughOp> = schema("pb.PassthroughOp", [
  { name: "id", number: 1, kind: "string" },
]);

export interface Definition {
  def: Uint8Array[];
  metadata: Record<string, OpMetadata>;
  Source?: Source | undefined;
}

export const DefinitionSchema: Schema<Definition> = schema("pb.Definition", [
  { name: "def", number: 1, kind: "bytes", repeated: true },
  { name: "metadata", number: 2, kind: () => OpMetadataSchema, key: "string" },
  { name: "Source", number: 3, kind: () => SourceSchema },
]);

export interface OpMetadata {
  ignoreCache: boolean;
  description: Record<string, string>;
  caps: Record<string, boolean>;
  progressGroup?: ProgressGroup | undefined;
}

export const OpMetadataSchema: Schema<OpMetadata> = schema("pb.OpMetadata", [
  { name: "ignoreCache", number: 1, kind: "bool" },
  { name: "description", number: 2, kind: "string", key: "string" },
  { name: "caps", number: 5, kind: "bool", key: "string" },
  { name: "progressGroup", number: 6, kind: () => ProgressGroupSchema },
]);

export interface Source {
  locations: Record<string, Locations>;
  infos: SourceInfo[];
}

export const SourceSchema: Schema<Source> = schema("pb.Source", [
  { name: "locations", number: 1, kind: () => LocationsSchema, key: "string" },
  { name: "infos", number: 2, kind: () => SourceInfoSchema, repeated: true },
]);

export interface Locations {
  locations: Location[];
}

export const LocationsSchema: Schema<Locations> = schema("pb.Locations", [
  { name: "locations", number: 1, kind: () => LocationSchema, repeated: true },
]);

export interface Location {
  sourceIndex: number;
  ranges: Range[];
}

export const LocationSchema: Schema<Location> = schema("pb.Location", [
  { name: "sourceIndex", number: 1, kind: "int32" },
  { name: "ranges", number: 2, kind: () => RangeSchema, repeated: true },
]);

export interface SourceInfo {
  filename: string;
  data: Uint8Array;
  definition?: Definition | undefined;
  language: string;
}

export const SourceInfoSchema: Schema<SourceInfo> = schema("pb.SourceInfo", [
  { name: "filename", number: 1, kind: "string" },
  { name: "data", number: 2, kind: "bytes" },
  { name: "definition", number: 3, kind: () => DefinitionSchema },
  { name: "language", number: 4, kind: "string" },
]);

export interface Range {
  start?: Position | undefined;
  end?: Position | undefined;
}

export const RangeSchema: Schema<Range> = schema("pb.Range", [
  { name: "start", number: 1, kind: () => PositionSchema },
  { name: "end", number: 2, kind: () => PositionSchema },
]);

export interface Position {
  line: number;
  character: number;
}

export const PositionSchema: Schema<Position> = schema("pb.Position", [
  { name: "line", number: 1, kind: "int32" },
  { name: "character", number: 2, kind: "int32" },
]);

export interface ProgressGroup {
  id: string;
  name: string;
  weak: boolean;
}

export const ProgressGroupSchema: Schema<ProgressGroup> = schema("pb.ProgressGroup", [
  { name: "id", number: 1, kind: "string" },
  { name: "name", number: 2, kind: "string" },
  { name: "weak", number: 3, kind: "bool" },
]);
