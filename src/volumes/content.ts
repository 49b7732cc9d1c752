import type { Volume } from "../api/volume.ts";
import { ramInBytes } from "../base/units.ts";
import { type Device, deviceOf } from "./device.ts";

/** Where a local volume's content comes from: its own folder, what its options name, or a disk of limited size. */
export type Content =
  | { readonly kind: "folder" }
  | { readonly kind: "device"; readonly device: Device }
  | { readonly kind: "disk"; readonly size: number };

export function contentOf({ Options }: Pick<Volume, "Options">): Content {
  const device = deviceOf(Options);
  if (device !== undefined) return { kind: "device", device };
  const size = sizeOf(Options);
  return size === undefined ? { kind: "folder" } : { kind: "disk", size };
}

/** The bytes that a volume may hold; undefined for one without a limit. */
export function sizeOf(options: Volume["Options"]): number | undefined {
  const size = options?.size === undefined || options.device ? 0 : ramInBytes(options.size);
  return size > 0 ? size : undefined;
}
