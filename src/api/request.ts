import type { ExecConfig } from "./container.ts";
import * as go from "./shape.ts";

/** The smaller request bodies. */

export const execConfig = go.struct<ExecConfig>("container.ExecOptions", {
  User: go.text,
  Privileged: go.flag,
  Tty: go.flag,
  AttachStdin: go.flag,
  AttachStdout: go.flag,
  AttachStderr: go.flag,
  DetachKeys: go.text,
  Env: go.list(go.text),
  WorkingDir: go.text,
  Cmd: go.words,
  ConsoleSize: go.optional(go.pair),
});

/** Body of POST /exec/{id}/start. */
export interface ExecStartRequest {
  Detach: boolean;
  Tty: boolean;
  /** Rows, columns. */
  ConsoleSize?: [number, number];
}

export const execStartRequest = go.struct<ExecStartRequest>("container.ExecStartOptions", {
  Detach: go.flag,
  Tty: go.flag,
  ConsoleSize: go.optional(go.pair),
});

/** Body of POST /volumes/create. */
export interface VolumeCreateRequest {
  Name: string;
  Driver: string;
  DriverOpts: Record<string, string> | null;
  Labels: Record<string, string> | null;
  /** Asks for a volume of a cluster, whatever is in it. */
  ClusterVolumeSpec?: Record<never, never>;
}

export const volumeCreateRequest = go.struct<VolumeCreateRequest>("volume.CreateOptions", {
  Name: go.text,
  Driver: go.text,
  DriverOpts: go.map(go.text),
  Labels: go.map(go.text),
  ClusterVolumeSpec: go.optional(go.struct<Record<never, never>>("volume.ClusterVolumeSpec", {})),
});
