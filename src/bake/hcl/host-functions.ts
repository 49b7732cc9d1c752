import { constants, createHash, privateDecrypt, randomUUID } from "node:crypto";
import { homedir } from "node:os";
import { posix } from "node:path";
import { satisfies, valid, validRange } from "semver";
import { parseDuration } from "../../base/duration.ts";
import { takes } from "./arity.ts";
import { hostOf, netmaskOf, subnetsOf } from "./cidr.ts";
import { formatTime, timeParts } from "./time.ts";
import { toInteger, toText, type Value, ValueError } from "./value.ts";

const MANY = Number.POSITIVE_INFINITY;
const text1 = (run: (text: string) => Value) => takes(1, 1, (text) => run(toText(text!)));
const hash = (algorithm: string) => text1((text) => createHash(algorithm).update(text).digest("hex"));

function readTime(value: Value): Date {
  const time = typeof value === "number" ? new Date(value * 1000) : new Date(toText(value));
  if (Number.isNaN(time.getTime())) throw new ValueError("not a valid RFC3339 timestamp");
  return time;
}

const rfc3339 = (time: Date): string => `${time.toISOString().slice(0, 19)}Z`;

const NAMESPACES: Readonly<Record<string, string>> = {
  dns: "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
  url: "6ba7b811-9dad-11d1-80b4-00c04fd430c8",
  oid: "6ba7b812-9dad-11d1-80b4-00c04fd430c8",
  x500: "6ba7b814-9dad-11d1-80b4-00c04fd430c8",
};

function nameUuid(namespace: string, name: string): string {
  const id = NAMESPACES[namespace] ?? namespace;
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(id))
    throw new ValueError(`invalid namespace ${JSON.stringify(id)}`);
  const bytes = createHash("sha1")
    .update(Buffer.from(id.replaceAll("-", ""), "hex"))
    .update(name)
    .digest();
  bytes[6] = (bytes[6]! & 0x0f) | 0x50;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes.toString("hex", 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

function decrypt(ciphertext: string, key: string): string {
  try {
    const bytes = Buffer.from(ciphertext, "base64");
    return privateDecrypt({ key, padding: constants.RSA_PKCS1_PADDING }, bytes).toString();
  } catch {
    throw new ValueError("failed to decrypt with this key");
  }
}

/** Commas are what npm's ranges have spaces for. */
function fits(version: string, constraint: string): boolean {
  if (valid(version, { loose: true }) === null)
    throw new ValueError(`${JSON.stringify(version)} is no semantic version`);
  const range = constraint.replaceAll(",", " ");
  if (validRange(range, { loose: true }) === null) throw new ValueError(`improper constraint: ${constraint}`);
  return satisfies(version, range, { loose: true });
}

/** Digests, times, addresses and what the machine knows. */
export const hostFunctions = {
  basename: text1((path) => (path === "" ? "." : posix.basename(path) || "/")),
  dirname: text1((path) => posix.dirname(path)),
  homedir: takes(0, 0, () => homedir()),
  md5: hash("md5"),
  sha1: hash("sha1"),
  sha256: hash("sha256"),
  sha512: hash("sha512"),
  rsadecrypt: takes(2, 2, (ciphertext, key) => decrypt(toText(ciphertext!), toText(key!))),
  uuidv4: takes(0, 0, () => randomUUID()),
  uuidv5: takes(2, 2, (namespace, name) => nameUuid(toText(namespace!), toText(name!))),
  semvercmp: takes(2, 2, (version, constraint) => fits(toText(version!), toText(constraint!))),
  timestamp: takes(0, 0, () => rfc3339(new Date())),
  timeadd: takes(2, 2, (time, duration) =>
    rfc3339(new Date(readTime(toText(time!)).getTime() + parseDuration(toText(duration!)) / 1e6)),
  ),
  formatdate: takes(2, 2, (format, time) => formatTime(toText(format!), readTime(toText(time!)))),
  formattimestamp: takes(2, 2, (format, given) => {
    const [pattern, time] = [toText(format!), readTime(given!)];
    return pattern === "X" ? String(Math.floor(time.getTime() / 1000)) : formatTime(pattern, time);
  }),
  unixtimestampparse: takes(1, 1, (seconds) => timeParts(readTime(toInteger(seconds!)))),
  cidrhost: takes(2, 2, (prefix, number) => hostOf(toText(prefix!), toInteger(number!))),
  cidrnetmask: text1(netmaskOf),
  cidrsubnet: takes(3, 3, (prefix, bits, number) => {
    const added = toInteger(bits!);
    return subnetsOf(toText(prefix!), [added], toInteger(number!))[0]!;
  }),
  cidrsubnets: takes(1, MANY, (prefix, ...bits) => subnetsOf(toText(prefix!), bits.map(toInteger))),
};
