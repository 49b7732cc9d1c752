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
  source?: SourceOp | undefined;
  platform?: Platform | undefined;
}

export const OpSchema: Schema<Op> = schema("pb.Op", [
  { name: "inputs", number: 1, kind: () => InputSchema, repeated: true },
  { name: "source", number: 3, kind: () => SourceOpSchema },
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
