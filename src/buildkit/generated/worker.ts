// Written by `npm run protos` of the protos beside this folder.

import { schema, type Schema } from "../message.ts";
import { PlatformSchema, type Platform } from "./ops.ts";

export interface WorkerRecord {
  ID: string;
  Labels: Record<string, string>;
  platforms: Platform[];
  GCPolicy: GCPolicy[];
  BuildkitVersion?: BuildkitVersion | undefined;
}

export const WorkerRecordSchema: Schema<WorkerRecord> = schema("moby.buildkit.v1.types.WorkerRecord", [
  { name: "ID", number: 1, kind: "string" },
  { name: "Labels", number: 2, kind: "string", key: "string" },
  { name: "platforms", number: 3, kind: () => PlatformSchema, repeated: true },
  { name: "GCPolicy", number: 4, kind: () => GCPolicySchema, repeated: true },
  { name: "BuildkitVersion", number: 5, kind: () => BuildkitVersionSchema },
]);

export interface GCPolicy {
  all: boolean;
  keepDuration: bigint;
  reservedSpace: bigint;
  filters: string[];
  maxUsedSpace: bigint;
  minFreeSpace: bigint;
}

export const GCPolicySchema: Schema<GCPolicy> = schema("moby.buildkit.v1.types.GCPolicy", [
  { name: "all", number: 1, kind: "bool" },
  { name: "keepDuration", number: 2, kind: "int64" },
  { name: "reservedSpace", number: 3, kind: "int64" },
  { name: "filters", number: 4, kind: "string", repeated: true },
  { name: "maxUsedSpace", number: 5, kind: "int64" },
  { name: "minFreeSpace", number: 6, kind: "int64" },
]);

export interface BuildkitVersion {
  package: string;
  version: string;
  revision: string;
  dockerfileVersion: string;
}

export const BuildkitVersionSchema: Schema<BuildkitVersion> = schema("moby.buildkit.v1.types.BuildkitVersion", [
  { name: "package", number: 1, kind: "string" },
  { name: "version", number: 2, kind: "string" },
  { name: "revision", number: 3, kind: "string" },
  { name: "dockerfileVersion", number: 4, kind: "string" },
]);
