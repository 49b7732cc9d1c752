import * as v from "valibot";
import { formatReference, parseNormalized, type Reference } from "../oci/reference.ts";
import type { SignedIdentity } from "./identity.ts";
import type { PublicKey } from "./public-key.ts";
import { readPublicKey } from "./public-key.ts";
import { normalScope } from "./scope.ts";
import { readStrictJson } from "./strict-json.ts";

/** What an image has to satisfy; of several, all. */
export type Requirement =
  | { readonly type: "insecureAcceptAnything" }
  | { readonly type: "reject" }
  /** A signature by one of the keys. */
  | { readonly type: "sigstoreSigned"; readonly keys: readonly PublicKey[]; readonly signedIdentity: SignedIdentity }
  /** What this engine can't check: it refuses every image. `what` completes "it demands". */
  | { readonly type: "unsupported"; readonly what: string };

/** A policy as containers-policy.json(5) has it, its keys read. */
export interface Policy {
  /** Where it was read from, for people. */
  readonly path: string;
  readonly initial: readonly Requirement[];
  /** Requirements by transport and scope; the scope "" is the transport's default. */
  readonly transports: ReadonlyMap<string, ReadonlyMap<string, readonly Requirement[]>>;
}

/** The longest policy that is read, in bytes. */
export const MOST_POLICY = 1 << 20;
const MOST_KEYS = 64;
const HOST = /^(?:[a-z0-9][a-z0-9.-]*|\[[0-9a-f:]+\])(?::\d+)?$/i;
/** Their scopes are names of images and what these lie in. */
export const TRANSPORTS_OF_NAMES: readonly string[] = ["docker", "docker-daemon"];

const path = v.pipe(v.string(), v.regex(/^\//, "a key's path must be absolute"));
const reference = v.pipe(v.string(), v.check(isWholeName, "it is no name of an image with a tag or a digest"));
const repository = v.pipe(
  v.string(),
  v.check((name) => parsedName(name) !== undefined, "it is no name of a repository"),
);
const prefix = v.pipe(v.string(), v.check(isPrefix, "it is neither a host nor what names lie in"));
const data = v.pipe(v.string(), v.base64("keyData must be base64"));
const signedIdentity = v.variant("type", [
  v.strictObject({ type: v.literal("matchExact") }),
  v.strictObject({ type: v.literal("matchRepoDigestOrExact") }),
  v.strictObject({ type: v.literal("matchRepository") }),
  v.strictObject({ type: v.literal("matchDigestOnly") }),
  v.strictObject({ type: v.literal("exactReference"), dockerReference: reference }),
  v.strictObject({ type: v.literal("exactRepository"), dockerRepository: repository }),
  v.strictObject({ type: v.literal("remapIdentity"), prefix, signedPrefix: prefix }),
]);
const text = v.optional(v.string());
const texts = v.optional(v.pipe(v.array(v.string()), v.minLength(1)));
const keySources = {
  keyPath: v.optional(path),
  keyPaths: v.optional(v.pipe(v.array(path), v.minLength(1), v.maxLength(MOST_KEYS))),
  keyData: v.optional(data),
  keyDatas: v.optional(v.pipe(v.array(data), v.minLength(1), v.maxLength(MOST_KEYS))),
};
const requirement = v.variant("type", [
  v.strictObject({ type: v.literal("insecureAcceptAnything") }),
  v.strictObject({ type: v.literal("reject") }),
  v.strictObject({
    type: v.literal("sigstoreSigned"),
    ...keySources,
    signedIdentity: v.optional(signedIdentity),
    fulcio: v.optional(v.strictObject({ caPath: text, caData: text, oidcIssuer: text, subjectEmail: text })),
    pki: v.optional(
      v.strictObject({
        ...{ caRootsPath: text, caRootsData: text, caIntermediatesPath: text, caIntermediatesData: text },
        ...{ subjectEmail: text, subjectHostname: text },
      }),
    ),
    rekorPublicKeyPath: text,
    rekorPublicKeyPaths: texts,
    rekorPublicKeyData: text,
    rekorPublicKeyDatas: texts,
  }),
  v.strictObject({
    type: v.literal("signedBy"),
    keyType: v.literal("GPGKeys"),
    keyPath: text,
    keyPaths: texts,
    keyData: text,
    signedIdentity: v.optional(signedIdentity),
  }),
  v.strictObject({ type: v.literal("signedBaseLayer"), baseLayerIdentity: v.optional(signedIdentity) }),
]);
const requirements = v.pipe(
  v.array(requirement),
  v.minLength(1, "a list of requirements must not be empty: write insecureAcceptAnything or reject"),
);
const policy = v.strictObject({
  default: requirements,
  transports: v.optional(v.record(v.string(), v.record(v.string(), requirements)), {}),
});

type Written = v.InferOutput<typeof requirement>;

/**
 * Reads a policy with its keys. `readKey` gives a key's file as text, or throws. Throws a plain Error whose message is
 * the reason: unknown and repeated fields are refused, as in podman, since a slip of the pen must not open a door.
 */
export function parsePolicy(bytes: Uint8Array, from: string, readKey: (path: string) => string): Policy {
  if (bytes.length > MOST_POLICY) throw new Error(`it is longer than ${MOST_POLICY} bytes`);
  const result = v.safeParse(policy, readStrictJson(bytes));
  if (!result.success) throw new Error(complaintOf(result.issues[0]));
  const known = new Map<string, PublicKey>();
  const keyAt = (keyPath: string): PublicKey => {
    const key = known.get(keyPath) ?? readPublicKey(readKey(keyPath), keyPath);
    known.set(keyPath, key);
    return key;
  };
  const settle = (all: readonly Written[]) => all.map((one) => settled(one, keyAt));
  return {
    path: from,
    initial: settle(result.output.default),
    transports: new Map(
      Object.entries(result.output.transports).map(([transport, scopes]) => [
        transport,
        scopesFrom(transport, Object.entries(scopes), settle),
      ]),
    ),
  };
}

function scopesFrom(
  transport: string,
  scopes: readonly (readonly [string, readonly Written[]])[],
  settle: (all: readonly Written[]) => readonly Requirement[],
): ReadonlyMap<string, readonly Requirement[]> {
  const named = TRANSPORTS_OF_NAMES.includes(transport);
  const found = new Map<string, readonly Requirement[]>();
  for (const [written, all] of scopes) {
    const scope = named ? normalScope(written) : written;
    if (found.has(scope)) throw new Error(`transports.${transport} has the scope ${JSON.stringify(scope)} twice`);
    found.set(scope, settle(all));
  }
  return found;
}

function complaintOf(issue: v.BaseIssue<unknown>): string {
  const at = v.getDotPath(issue);
  const isUnknown = issue.expected === "never";
  const why = isUnknown ? `there is no such field` : issue.message;
  return at === null ? why : `${at}: ${why}`;
}

function settled(written: Written, keyAt: (path: string) => PublicKey): Requirement {
  switch (written.type) {
    case "insecureAcceptAnything":
    case "reject":
      return { type: written.type };
    case "signedBy":
      return { type: "unsupported", what: "a GPG signature (signedBy), which is not read here: use sigstoreSigned" };
    case "signedBaseLayer":
      return { type: "unsupported", what: "a signed base layer (signedBaseLayer), which nobody can check" };
    case "sigstoreSigned":
      return signedBySigstore(written, keyAt);
  }
}

type Sigstore = Extract<Written, { type: "sigstoreSigned" }>;

function signedBySigstore(written: Sigstore, keyAt: (path: string) => PublicKey): Requirement {
  const { fulcio, keyPath, keyPaths, keyData, keyDatas, pki } = written;
  const given = [keyPath, keyPaths, keyData, keyDatas, fulcio, pki].filter((source) => source !== undefined);
  if (given.length !== 1) {
    throw new Error(
      "sigstoreSigned: exactly one of keyPath, keyPaths, keyData, keyDatas, fulcio and pki must be given",
    );
  }
  const logs = Object.keys(written).filter((field) => field.startsWith("rekor"));
  if (logs.length > 1) throw new Error(`sigstoreSigned: only one of ${logs.join(" and ")} can be given`);
  const unchecked = (["fulcio", "pki"] as const).find((field) => written[field] !== undefined);
  if (unchecked !== undefined) {
    return { type: "unsupported", what: `a certificate (${unchecked}), which is not read here: use a key` };
  }
  const keys = [
    ...[...(keyPaths ?? []), ...(keyPath === undefined ? [] : [keyPath])].map(keyAt),
    ...[...(keyDatas ?? []), ...(keyData === undefined ? [] : [keyData])].map((text) =>
      readPublicKey(Buffer.from(text, "base64").toString("latin1"), "in keyData"),
    ),
  ];
  if (logs.length > 0) {
    return { type: "unsupported", what: "an entry in a transparency log (rekor), which is not read here" };
  }
  return {
    type: "sigstoreSigned",
    keys,
    signedIdentity: written.signedIdentity ?? { type: "matchRepoDigestOrExact" },
  };
}

/** A host, or what lies at one, that names begin with. */
function isPrefix(prefix: string): boolean {
  if (HOST.test(prefix)) return true;
  // Names are compared in their whole form: one that begins otherwise there lies in no such prefix.
  const below = `${prefix}/x`;
  const parsed = parsedName(below);
  return parsed !== undefined && formatReference(parsed) === below;
}

function isWholeName(name: string): boolean {
  const parsed = parsedName(name);
  return parsed?.tag !== undefined || parsed?.digest !== undefined;
}

function parsedName(name: string): Reference | undefined {
  try {
    return parseNormalized(name);
  } catch {
    return undefined;
  }
}
