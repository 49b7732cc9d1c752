import assert from "node:assert/strict";
import { before, test } from "node:test";
import { parseNormalized } from "../oci/reference.ts";
import { claimOf, identityFits, type SignedIdentity } from "./identity.ts";
import { makePayload } from "./payload.ts";
import { type Policy, parsePolicy } from "./policy.ts";
import { makeKeyPair, type PrivateKey, readPrivateKey } from "./private-key.ts";
import { isScopeOfNames, scopesOf } from "./scope.ts";
import type { FoundSignature } from "./signature.ts";
import { judge, rulingFor } from "./verdict.ts";

const DIGEST = `sha256:${"a".repeat(64)}`;
const OTHER = `sha256:${"b".repeat(64)}`;
const files = new Map<string, string>();
let alice: PrivateKey;
let bob: PrivateKey;

before(async () => {
  for (const name of ["alice", "bob"] as const) {
    const pair = await makeKeyPair("");
    files.set(`/keys/${name}.pub`, pair.publicKey);
    const key = await readPrivateKey(pair.privateKey, `${name}.key`, () => "");
    if (name === "alice") alice = key;
    else bob = key;
  }
});

function read(document: unknown): Policy {
  const text = typeof document === "string" ? document : JSON.stringify(document);
  return parsePolicy(Buffer.from(text), "/policy.json", (path) => {
    const pem = files.get(path);
    if (pem === undefined) throw new Error(`the key ${path} cannot be read: no such file`);
    return pem;
  });
}

async function signed(
  key: PrivateKey,
  identity: string,
  claim: { digest?: string; attachedTo?: string } = {},
): Promise<FoundSignature> {
  const { digest = DIGEST, attachedTo = DIGEST } = claim;
  const payload = makePayload({ digest, identity, annotations: {} });
  return { digest: attachedTo, form: "simple", payload, signature: await key.sign(payload) };
}

const ACCEPT = [{ type: "insecureAcceptAnything" }];
const REJECT = [{ type: "reject" }];
const byAlice = (signedIdentity?: SignedIdentity) => [
  { type: "sigstoreSigned", keyPath: "/keys/alice.pub", ...(signedIdentity && { signedIdentity }) },
];

async function verdictOf(policy: Policy, name: string, signatures: readonly FoundSignature[]): Promise<string> {
  const reference = parseNormalized(name);
  const verdict = await judge(rulingFor(policy, "docker", reference), { reference, name }, signatures);
  return verdict.accepted ? `accepted by ${verdict.place}` : verdict.sentence;
}

test("a name lies in its own scope, its repository's, those above, its host's and the wildcards'", () => {
  assert.deepEqual(scopesOf(parseNormalized("busybox:1")), [
    "docker.io/library/busybox:1",
    "docker.io/library/busybox",
    "docker.io/library",
    "docker.io",
    "*.io",
  ]);
  assert.deepEqual(scopesOf(parseNormalized(`a.b.example:5000/team/app:1@${DIGEST}`)), [
    `a.b.example:5000/team/app@${DIGEST}`,
    "a.b.example:5000/team/app",
    "a.b.example:5000/team",
    "a.b.example:5000",
    "*.b.example",
    "*.example",
  ]);
  assert.deepEqual(scopesOf(parseNormalized("localhost:5000/app:1")), [
    "localhost:5000/app:1",
    "localhost:5000/app",
    "localhost:5000",
  ]);
});

test("a host is the same in capitals, in a name and in a policy", async () => {
  assert.deepEqual(scopesOf(parseNormalized("QUAY.Io/team/app:1")), scopesOf(parseNormalized("quay.io/team/app:1")));
  const policy = read({ default: ACCEPT, transports: { docker: { "Quay.IO": REJECT, "*.Example.COM": REJECT } } });
  for (const name of ["quay.io/a:1", "QUAY.IO/a:1", "a.example.com/b:1", "A.EXAMPLE.com/b:1"]) {
    assert.match(await verdictOf(policy, name, []), /rejects every image$/, name);
  }
  const twice = { default: ACCEPT, transports: { docker: { "quay.io": REJECT, "QUAY.io": ACCEPT } } };
  assert.throws(() => read(twice), /transports\.docker has the scope "quay\.io" twice/);
  // Folders are not hosts.
  read({ default: ACCEPT, transports: { dir: { "/A": REJECT, "/a": ACCEPT } } });
});

test("a scope that no name lies in is known", () => {
  const live = ["", "quay.io", "quay.io:443/team", "*.example.com", "docker.io/library", "docker.io/library/busybox:1"];
  for (const scope of [...live, "localhost", "[::1]:5000", "quay.io/a_b/c--d", `quay.io/a@${DIGEST}`]) {
    assert.equal(isScopeOfNames(scope), true, scope);
  }
  for (const scope of [
    "busybox",
    "library/busybox",
    "index.docker.io/library",
    "quay.io/team/",
    "*",
    "*.example.com:443",
  ]) {
    assert.equal(isScopeOfNames(scope), false, scope);
  }
  for (const scope of ["quay.io/*", "a*.example.com", "quay.io/Team", "quay.io./team", " quay.io", "https://quay.io"]) {
    assert.equal(isScopeOfNames(scope), false, scope);
  }
});

test("the narrowest requirements count, the transport's default before the whole policy's", () => {
  const policy = read({
    default: REJECT,
    transports: {
      docker: { "": ACCEPT, "quay.io": REJECT, "quay.io/team": ACCEPT, "quay.io/team/app:bad": REJECT },
      "docker-daemon": { "docker.io/library/own": ACCEPT },
    },
  });
  const at = (name: string) => rulingFor(policy, "docker", parseNormalized(name));
  assert.equal(at("busybox").place, "the default of docker");
  assert.equal(at("quay.io/x/y").place, 'scope "quay.io"');
  assert.equal(at("quay.io/team/app:1").place, 'scope "quay.io/team"');
  assert.equal(at("quay.io/team/app:bad").requirements[0]?.type, "reject");
  // A repository whose name only begins alike is another one.
  assert.equal(at("quay.io/teams/app").place, 'scope "quay.io"');
  assert.equal(rulingFor(policy, "docker-daemon", parseNormalized("own:1")).isExplicit, true);
  assert.equal(rulingFor(policy, "docker-daemon", undefined).place, "the default");
});

test("a policy that says anything unclear is refused with the place and the reason", () => {
  const whole = (requirements: unknown) => ({ default: requirements });
  const refusals: [unknown, RegExp][] = [
    ["", /it is not JSON/],
    ["[1", /it is not JSON/],
    [{}, /default/],
    [whole([]), /default: a list of requirements must not be empty/],
    [whole([{ type: "acceptAnything" }]), /default\.0\.type/],
    [whole([{ type: "reject", extra: 1 }]), /default\.0\.extra: there is no such field/],
    [{ default: REJECT, transport: {} }, /transport: there is no such field/],
    ['{"default":[{"type":"reject"}],"default":[{"type":"insecureAcceptAnything"}]}', /the key "default" twice/],
    ['{"default":[{"type":"reject","typ\\u0065":"insecureAcceptAnything"}]}', /the key "type" twice/],
    [whole([{ type: "sigstoreSigned" }]), /exactly one of keyPath, keyPaths, keyData, keyDatas, fulcio and pki/],
    [whole([{ type: "sigstoreSigned", fulcio: { more: 1 } }]), /fulcio\.more: there is no such field/],
    [whole([{ type: "sigstoreSigned", pki: { caRootPath: "/x" } }]), /pki\.caRootPath: there is no such field/],
    [whole([{ type: "sigstoreSigned", keyPath: "/keys/alice.pub", pki: {} }]), /exactly one of keyPath/],
    [
      whole([{ ...byAlice()[0], rekorPublicKeyPath: "/x", rekorPublicKeyData: "AAAA" }]),
      /only one of rekorPublicKeyPath/,
    ],
    [whole(byAlice({ type: "exactReference", dockerReference: "quay.io/a" })), /no name of an image with a tag or a/],
    [whole(byAlice({ type: "exactRepository", dockerRepository: "quay.io/A" })), /no name of a repository/],
    [
      whole(byAlice({ type: "remapIdentity", prefix: "quay.io/a:1", signedPrefix: "b" })),
      /prefix: it is neither a host/,
    ],
    [
      whole(byAlice({ type: "remapIdentity", prefix: "quay.io", signedPrefix: "x/../y" })),
      /signedPrefix: it is neither/,
    ],
    [`\ufeff${JSON.stringify(whole(ACCEPT))}`, /it is not JSON/],
    [whole([{ type: "sigstoreSigned", keyPath: "/keys/alice.pub", keyData: "AAAA" }]), /exactly one of keyPath/],
    [whole([{ type: "sigstoreSigned", keyPath: "alice.pub" }]), /default\.0\.keyPath: a key's path must be absolute/],
    [whole([{ type: "sigstoreSigned", keyPath: "/none" }]), /the key \/none cannot be read: no such file/],
    [whole([{ type: "sigstoreSigned", keyData: "aGVsbG8=" }]), /the key in keyData cannot be used: it is no public/],
    [
      whole([{ type: "sigstoreSigned", keyPath: "/keys/alice.pub", signedIdentity: { type: "any" } }]),
      /signedIdentity/,
    ],
    [`{"default":${"[".repeat(100)}${"]".repeat(100)}}`, /nested too deeply/],
    [`"${"x".repeat(1 << 20)}"`, /longer than 1048576 bytes/],
  ];
  for (const [document, message] of refusals) assert.throws(() => read(document), message);
  assert.throws(() => parsePolicy(Buffer.from([0x22, 0xff, 0x22]), "x", () => ""), /it is not UTF-8/);
});

test("keys come by path, by several paths and by data, and any of them will do", async () => {
  const data = Buffer.from(files.get("/keys/alice.pub") ?? "").toString("base64");
  for (const keys of [
    { keyPath: "/keys/alice.pub" },
    { keyPaths: ["/keys/bob.pub", "/keys/alice.pub"] },
    { keyData: data },
    { keyDatas: [data] },
  ]) {
    const policy = read({ default: [{ type: "sigstoreSigned", ...keys }] });
    const good = await signed(alice, "quay.io/team/app:1");
    assert.equal(await verdictOf(policy, "quay.io/team/app:1", [good]), "accepted by the default");
  }
});

test("each kind of signature that won't do is told from the others", async () => {
  const policy = read({ default: REJECT, transports: { docker: { "quay.io": byAlice() } } });
  const name = "quay.io/team/app:1";
  const good = await signed(alice, name);
  const demand = `the signature policy does not accept ${name}: scope "quay.io" demands a signature by the key /keys/alice.pub, and`;
  const cases: [FoundSignature[], string][] = [
    [[], "it has no signature"],
    [[{ ...good, payload: Buffer.from("{}") }], "its only signature can't be read"],
    [[{ ...good, payload: Buffer.alloc(1 << 20, 32) }], "its only signature can't be read"],
    [[await signed(bob, name)], "its only signature is by another key"],
    [[await signed(bob, name), { ...good, signature: Buffer.from("x") }], "its 2 signatures are by other keys"],
    [[await signed(alice, name, { digest: OTHER })], "its only signature is of another image"],
    [[await signed(alice, "quay.io/team/app:2")], `the name signed by it is "quay.io/team/app:2", not ${name}`],
    [[await signed(alice, "quay.io/team/app")], `the name signed by it is "quay.io/team/app", not ${name}`],
    [[await signed(alice, "")], `the name signed by it is "", not ${name}`],
  ];
  for (const [signatures, found] of cases)
    assert.equal(await verdictOf(policy, name, signatures), `${demand} ${found}`);
  const many = [...(await Promise.all([1, 2, 3].map(() => signed(bob, name)))), good];
  assert.equal(await verdictOf(policy, name, many), 'accepted by scope "quay.io"');
  assert.match(await verdictOf(policy, "busybox:1", [good]), /: the default rejects every image$/);
});

test("of several requirements all must be met", async () => {
  const both = [...byAlice(), { type: "sigstoreSigned", keyPath: "/keys/bob.pub" }];
  const policy = read({ default: [...ACCEPT, ...both] });
  const name = "quay.io/team/app:1";
  const [byA, byB] = [await signed(alice, name), await signed(bob, name)];
  assert.match(await verdictOf(policy, name, [byA]), /demands a signature by the key \/keys\/bob.pub, and its only/);
  assert.equal(await verdictOf(policy, name, [byA, byB]), "accepted by the default");
});

test("what can't be checked here refuses every image and says so", async () => {
  const alicePath = "/keys/alice.pub";
  for (const [requirement, what] of [
    [{ type: "signedBy", keyType: "GPGKeys", keyPath: "/x" }, /a GPG signature/],
    [{ type: "sigstoreSigned", fulcio: {}, rekorPublicKeyPath: "/x" }, /a certificate \(fulcio\)/],
    [{ type: "sigstoreSigned", pki: { caRootsPath: "/x", subjectHostname: "a" } }, /a certificate \(pki\)/],
    [{ type: "sigstoreSigned", keyPath: alicePath, rekorPublicKeyPath: "/x" }, /a transparency log/],
  ] as const) {
    const policy = read({ default: [requirement] });
    assert.match(await verdictOf(policy, "quay.io/a:1", [await signed(alice, "quay.io/a:1")]), what);
  }
});

test("an identity fits by the rule that the policy chose", () => {
  const wanted = parseNormalized("mirror:5000/vendor/app:1");
  const byDigest = parseNormalized(`mirror:5000/vendor/app@${DIGEST}`);
  const remap: SignedIdentity = { type: "remapIdentity", prefix: "mirror:5000/vendor", signedPrefix: "vendor.example" };
  const rows: [SignedIdentity, string, boolean, boolean][] = [
    [{ type: "matchExact" }, "mirror:5000/vendor/app:1", true, false],
    [{ type: "matchExact" }, "mirror:5000/vendor/app", false, false],
    [{ type: "matchRepoDigestOrExact" }, "mirror:5000/vendor/app:1", true, true],
    [{ type: "matchRepoDigestOrExact" }, "mirror:5000/vendor/app:2", false, true],
    [{ type: "matchRepoDigestOrExact" }, "mirror:5000/vendor/app", false, true],
    [{ type: "matchRepository" }, "mirror:5000/vendor/app:2", true, true],
    [{ type: "matchRepository" }, "mirror:5000/vendor/apps", false, false],
    [{ type: "matchRepository" }, "no name at all", false, false],
    [{ type: "exactReference", dockerReference: "vendor.example/app:1" }, "vendor.example/app:1", true, true],
    [{ type: "exactReference", dockerReference: "vendor.example/app:1" }, "mirror:5000/vendor/app:1", false, false],
    [{ type: "exactRepository", dockerRepository: "vendor.example/app" }, "vendor.example/app:7", true, true],
    [remap, "vendor.example/app:1", true, true],
    [remap, "vendor.example/app:2", false, true],
    [remap, "mirror:5000/vendor/app:1", false, false],
    [{ type: "matchDigestOnly" }, "anything", true, true],
  ];
  for (const [rule, identity, byTag, forDigest] of rows) {
    assert.equal(identityFits(rule, identity, wanted), byTag, `${rule.type} ${identity} by tag`);
    assert.equal(identityFits(rule, identity, byDigest), forDigest, `${rule.type} ${identity} by digest`);
  }
  for (const [rule] of rows) {
    for (const reference of [wanted, byDigest]) {
      assert.equal(identityFits(rule, undefined, reference), rule.type === "matchDigestOnly", rule.type);
    }
  }
  // cosign's name of Docker Hub is an old one of the same place.
  const busybox = parseNormalized("busybox:1");
  assert.equal(identityFits({ type: "matchRepository" }, "index.docker.io/library/busybox", busybox), true);
  assert.equal(identityFits(remap, "docker.io/library/busybox:1", busybox), true);
});

test("what is signed is the name with its tag, or the repository of what is named by digest", () => {
  assert.equal(claimOf(parseNormalized("busybox")), "docker.io/library/busybox:latest");
  assert.equal(claimOf(parseNormalized("quay.io/a:1")), "quay.io/a:1");
  assert.equal(claimOf(parseNormalized(`quay.io/a@${DIGEST}`)), "quay.io/a");
  assert.equal(claimOf(parseNormalized(`quay.io/a:1@${DIGEST}`)), "quay.io/a:1");
});
