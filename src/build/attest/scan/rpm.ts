import { DatabaseSync } from "node:sqlite";
import { distroOf, filled } from "./distribution.ts";
import type { Distribution, FoundPackage } from "./found.ts";

const TAG = {
  name: 1000,
  version: 1001,
  release: 1002,
  epoch: 1003,
  vendor: 1011,
  license: 1014,
  arch: 1022,
  source: 1044,
};
const INT32 = 4;
const STRINGS: ReadonlySet<number> = new Set([6, 8, 9]);
const MOST_TAGS = 100_000;
const MOST_PACKAGES = 100_000;
/** The table as rpm makes it: what another definition computes may never end. */
const TABLE = /^CREATE TABLE '?"?Packages'?"? \(\s*hnum INTEGER PRIMARY KEY AUTOINCREMENT,\s*blob BLOB NOT NULL\s*\)$/i;

/** rpm's database where it is one of SQLite. `file` is the path of a file that never changes; throws for what is damaged. */
export function readRpmDatabase(file: string, path: string, distribution: Distribution | undefined): FoundPackage[] {
  const address = `file:${encodeURI(file).replaceAll("?", "%3F").replaceAll("#", "%23")}?mode=ro&immutable=1`;
  const database = new DatabaseSync(address, { readOnly: true, allowExtension: false });
  try {
    const [table] = database.prepare("SELECT type, sql FROM sqlite_master WHERE name = 'Packages'").all();
    if (table?.type !== "table" || !TABLE.test(String(table.sql))) throw new Error("its table is none of rpm's");
    const found: FoundPackage[] = [];
    for (const { blob } of database.prepare(`SELECT blob FROM Packages LIMIT ${MOST_PACKAGES}`).iterate()) {
      if (blob instanceof Uint8Array) found.push(...readRpmHeader(Buffer.from(blob), path, distribution));
    }
    return found;
  } finally {
    database.close();
  }
}

/** One package's header, as rpm's databases have it: an index of tags and a store of their values. */
export function readRpmHeader(bytes: Buffer, path: string, distribution: Distribution | undefined): FoundPackage[] {
  if (bytes.length < 8) return [];
  const count = bytes.readUInt32BE(0);
  const start = 8 + count * 16;
  if (count > MOST_TAGS || start > bytes.length) return [];
  const store = bytes.subarray(start);
  const values = new Map<number, string>();
  for (let at = 8; at < start; at += 16) {
    const tag = bytes.readUInt32BE(at);
    const type = bytes.readUInt32BE(at + 4);
    const offset = bytes.readUInt32BE(at + 8);
    if (values.has(tag) || offset >= store.length) continue;
    if (STRINGS.has(type)) {
      const end = store.indexOf(0, offset);
      if (end >= 0) values.set(tag, store.toString("utf8", offset, end));
    } else if (type === INT32 && offset + 4 <= store.length) values.set(tag, String(store.readUInt32BE(offset)));
  }
  const name = values.get(TAG.name);
  const version = values.get(TAG.version);
  // Keys that signatures are checked with are in the list too, and are no packages.
  if (!name || !version || name === "gpg-pubkey") return [];
  const release = values.get(TAG.release) ?? "";
  const licence = values.get(TAG.license);
  const supplier = values.get(TAG.vendor);
  return [
    {
      ...{ type: "rpm", namespace: distribution?.id ?? "", name, path },
      version: release === "" ? version : `${version}-${release}`,
      ...(licence !== undefined && { licence }),
      ...(supplier !== undefined && { supplier }),
      qualifiers: filled({
        arch: values.get(TAG.arch),
        distro: distroOf(distribution),
        epoch: values.get(TAG.epoch),
        upstream: values.get(TAG.source),
      }),
    },
  ];
}
