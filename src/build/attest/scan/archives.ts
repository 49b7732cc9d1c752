import { inflateRawSync } from "node:zlib";
import type { RandomAccess } from "./binaries.ts";
import { fieldsOf } from "./distribution.ts";
import type { FoundPackage } from "./found.ts";

interface Member {
  readonly name: string;
  readonly method: number;
  readonly packed: number;
  readonly size: number;
  readonly offset: number;
}

const END = 0x06054b50;
const ROW = 0x02014b50;
const LOCAL = 0x04034b50;
const MOST_MEMBERS = 200_000;
const MOST_INDEX = 64 << 20;
const MOST_TEXT = 1 << 20;
const MOST_NESTED = 64 << 20;
const DEEPEST = 3;
const ARCHIVE = /\.(?:jar|war|ear|jpi|hpi)$/i;

export function isJavaArchive(path: string): boolean {
  return ARCHIVE.test(path);
}

/** What a Java archive, and those in it, say of themselves: Maven's properties, or else the manifest. */
export function readJavaArchive(file: RandomAccess, path: string, depth = 0): FoundPackage[] {
  const members = readMembers(file);
  const found: FoundPackage[] = [];
  for (const member of members) {
    if (!/^META-INF\/maven\/[^/]+\/[^/]+\/pom\.properties$/.test(member.name)) continue;
    found.push(...pomPackage(contents(file, member, MOST_TEXT)?.toString("utf8") ?? "", path));
  }
  if (found.length === 0) {
    const manifest = members.find(({ name }) => name.toUpperCase() === "META-INF/MANIFEST.MF");
    const text = manifest && contents(file, manifest, MOST_TEXT)?.toString("utf8");
    if (text !== undefined) found.push(...manifestPackage(text, path));
  }
  if (depth >= DEEPEST) return found;
  for (const member of members) {
    if (!isJavaArchive(member.name)) continue;
    const inner = contents(file, member, MOST_NESTED);
    if (inner !== undefined) found.push(...readJavaArchive(inMemory(inner), `${path}!/${member.name}`, depth + 1));
  }
  return found;
}

function pomPackage(text: string, path: string): FoundPackage[] {
  const value = (field: string): string =>
    new RegExp(`^${field}[ \\t]*[=:][ \\t]*(\\S+)\\s*$`, "m").exec(text)?.[1] ?? "";
  const [namespace, name, version] = [value("groupId"), value("artifactId"), value("version")];
  return namespace === "" || name === "" || version === "" ? [] : [{ type: "maven", namespace, name, version, path }];
}

function manifestPackage(text: string, path: string): FoundPackage[] {
  // Long lines go on after a break and a blank.
  const fields = fieldsOf(text.replace(/\r?\n /g, "").split(/\r?\n\r?\n/)[0]!);
  const file = /([^/]+)$/.exec(path)![1]!;
  const [, stem, ending = ""] = /^(.+?)(?:-(\d[\w.+-]*))?\.[^.]+$/.exec(file) ?? [];
  const version = fields.get("implementation-version") || fields.get("bundle-version") || ending;
  const symbolic = (fields.get("bundle-symbolicname") ?? "").split(";")[0]!.trim();
  const name = stem || symbolic || fields.get("implementation-title") || "";
  const namespace = fields.get("implementation-vendor-id") || /^(.+)\.[^.]+$/.exec(symbolic)?.[1] || name;
  const licence = fields.get("bundle-license");
  if (name === "" || version === "") return [];
  return [
    {
      ...{ type: "maven", namespace, name, version, path },
      ...(licence !== undefined && licence !== "" && { licence: licence.split(";")[0]! }),
    },
  ];
}

/** The members of a zip. Nothing of what is none, or of one that needs zip64. */
function readMembers(file: RandomAccess): readonly Member[] {
  const tailSize = Math.min(file.size, 65_557);
  const tail = file.read(file.size - tailSize, tailSize);
  let end = tail.length - 22;
  while (end >= 0 && tail.readUInt32LE(end) !== END) end--;
  if (end < 0) return [];
  const count = tail.readUInt16LE(end + 10);
  const size = tail.readUInt32LE(end + 12);
  const start = tail.readUInt32LE(end + 16);
  if (size > MOST_INDEX || start + size > file.size) return [];
  const index = file.read(start, size);
  const members: Member[] = [];
  for (let at = 0; members.length < Math.min(count, MOST_MEMBERS) && at + 46 <= index.length; ) {
    if (index.readUInt32LE(at) !== ROW) break;
    const nameSize = index.readUInt16LE(at + 28);
    const next = at + 46 + nameSize + index.readUInt16LE(at + 30) + index.readUInt16LE(at + 32);
    members.push({
      name: index.toString("utf8", at + 46, at + 46 + nameSize),
      method: index.readUInt16LE(at + 10),
      packed: index.readUInt32LE(at + 20),
      size: index.readUInt32LE(at + 24),
      offset: index.readUInt32LE(at + 42),
    });
    at = next;
  }
  return members;
}

function contents(file: RandomAccess, member: Member, most: number): Buffer | undefined {
  if (member.size > most || member.packed > most) return undefined;
  const head = file.read(member.offset, 30);
  if (head.length < 30 || head.readUInt32LE(0) !== LOCAL) return undefined;
  const start = member.offset + 30 + head.readUInt16LE(26) + head.readUInt16LE(28);
  const packed = file.read(start, member.packed);
  if (member.method === 0) return packed;
  if (member.method !== 8) return undefined;
  try {
    return inflateRawSync(packed, { maxOutputLength: most });
  } catch {
    return undefined;
  }
}

function inMemory(bytes: Buffer): RandomAccess {
  return { size: bytes.length, read: (offset, length) => bytes.subarray(offset, offset + length) };
}
