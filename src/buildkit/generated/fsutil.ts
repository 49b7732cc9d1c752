// Written by `npm run protos` of the protos beside this folder.

import { schema, type Schema } from "../message.ts";

export interface Stat {
  path: string;
  mode: number;
  uid: number;
  gid: number;
  size: bigint;
  modTime: bigint;
  linkname: string;
  devmajor: bigint;
  devminor: bigint;
  xattrs: Record<string, Uint8Array>;
}

export const StatSchema: Schema<Stat> = schema("fsutil.types.Stat", [
  { name: "path", number: 1, kind: "string" },
  { name: "mode", number: 2, kind: "uint32" },
  { name: "uid", number: 3, kind: "uint32" },
  { name: "gid", number: 4, kind: "uint32" },
  { name: "size", number: 5, kind: "int64" },
  { name: "modTime", number: 6, kind: "int64" },
  { name: "linkname", number: 7, kind: "string" },
  { name: "devmajor", number: 8, kind: "int64" },
  { name: "devminor", number: 9, kind: "int64" },
  { name: "xattrs", number: 10, kind: "bytes", key: "string" },
]);

export interface Packet {
  type: number;
  stat?: Stat | undefined;
  ID: number;
  data: Uint8Array;
}

export const PacketSchema: Schema<Packet> = schema("fsutil.types.Packet", [
  { name: "type", number: 1, kind: "int32" },
  { name: "stat", number: 2, kind: () => StatSchema },
  { name: "ID", number: 3, kind: "uint32" },
  { name: "data", number: 4, kind: "bytes" },
]);
