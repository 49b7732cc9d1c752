import {
  artifact,
  bomb,
  cutArchive,
  cutGzip,
  imageMissingLayer,
  imageOfLayers,
  imageOfTooFewDiffIds,
  imageOfWrongDiffId,
  imageWithManifestOf,
  indexOfOthers,
} from "./faulty-images.ts";
import type { Act, Fault, FaultyOptions } from "./faulty-registry.ts";
import { imageOf, randomImage, type TestImage, type TestIndex } from "./oci-image.ts";

export const IMAGE = randomImage("faults", { layers: 3, size: 200_000 });
const BAD = IMAGE.layers[1]!;
export const BLOB = BAD.digest;

/** A fault, or an image that is one, and what comes of it. */
interface Case {
  readonly faults?: readonly Fault[];
  /** What is pulled; the whole image above unless told. */
  readonly image?: TestImage | TestIndex;
  readonly without?: readonly string[];
  readonly registry?: FaultyOptions;
  /** All that the client says on its error stream, HOST for the registry; undefined where nothing fails. */
  readonly says: RegExp | undefined;
}

const badLayer = (act: Act, more: Partial<Fault> = {}): Fault[] => [{ on: "blob", of: BLOB, act, ...more }];
const badManifest = (act: Act): Fault[] => [{ on: "manifest", act }];
const refuses = (status: number, body?: string, headers?: Record<string, string>): Act => ({
  kind: "status",
  status,
  ...(body !== undefined && { body }),
  ...(headers !== undefined && { headers }),
});
const HTML = { "Content-Type": "text/html" };
export const DAEMON = "Error response from daemon: ";

/** What is wrong at a pull, under what it is called. */
export const PULLS: Readonly<Record<string, Case>> = {
  "a layer has other bytes": {
    faults: badLayer({ kind: "wrong-bytes" }),
    says: /^filesystem layer verification failed for digest BLOB$/,
  },
  "a layer is truncated": {
    faults: badLayer({ kind: "truncate", at: 1000 }),
    says: /^filesystem layer verification failed for digest BLOB: it has 1000 bytes where \d+ were told$/,
  },
  "a layer never ends": {
    faults: badLayer({ kind: "endless" }),
    says: /^filesystem layer verification failed for digest BLOB: more than \d+ bytes came$/,
  },
  "a layer's length is told too long": {
    faults: badLayer({ kind: "told-length", length: 300_000 }),
    says: /^filesystem layer verification failed for digest BLOB: it has 300000 bytes where \d+ were told$/,
  },
  "a layer's length is told too short": {
    faults: badLayer({ kind: "told-length", length: 3000 }),
    says: /^filesystem layer verification failed for digest BLOB: it has 3000 bytes where \d+ were told$/,
  },
  "a layer comes without a length": { faults: badLayer({ kind: "no-length" }), says: undefined },
  "a layer is compressed once more, unasked": {
    faults: badLayer({ kind: "encoded" }),
    says: /^(cannot read BLOB: it was sent as gzip, unasked|filesystem layer verification failed for digest BLOB: .*)$/,
  },
  "the connection is cut every 50,000 bytes": { faults: badLayer({ kind: "cut", after: 50_000 }), says: undefined },
  "the connection is cut once, and the registry knows no ranges": {
    faults: [...badLayer({ kind: "cut", after: 50_000 }, { times: 1 }), ...badLayer({ kind: "no-ranges" })],
    says: undefined,
  },
  "the connection is cut once, and the registry refuses ranges": {
    faults: [...badLayer({ kind: "cut", after: 50_000 }, { times: 1 }), ...badLayer({ kind: "refuse-ranges" })],
    says: undefined,
  },
  "the connection is cut once, and another range comes, as it says": {
    faults: [
      ...badLayer({ kind: "cut", after: 50_000 }, { times: 1 }),
      ...badLayer({ kind: "wrong-range", shift: 10, isTold: true }),
    ],
    says: undefined,
  },
  "the connection is cut once, and an earlier range comes, as it says": {
    faults: [
      ...badLayer({ kind: "cut", after: 50_000 }, { times: 1 }),
      ...badLayer({ kind: "wrong-range", shift: -10, isTold: true }),
    ],
    says: undefined,
  },
  "the connection is cut once, and another range comes that pretends to be the one": {
    faults: [
      ...badLayer({ kind: "cut", after: 50_000 }, { times: 1 }),
      ...badLayer({ kind: "wrong-range", shift: -10, isTold: false }),
    ],
    says: /^filesystem layer verification failed for digest BLOB(: more than \d+ bytes came)?$/,
  },
  "the connection is cut before anything comes": {
    faults: badLayer({ kind: "cut" }),
    says: /^Get "http:\/\/HOST\/v2\/a\/b\/blobs\/BLOB": EOF$/,
  },
  "the connection is cut always at the same byte, without ranges": {
    faults: [...badLayer({ kind: "cut", after: 50_000 }), ...badLayer({ kind: "no-ranges" })],
    says: /^cannot read BLOB: unexpected EOF$/,
  },
  "the registry says nothing when it is asked for a layer": {
    faults: badLayer({ kind: "hang" }),
    says: /^Get "http:\/\/HOST\/v2\/a\/b\/blobs\/BLOB": net\/http: request canceled \(Client\.Timeout exceeded while awaiting headers\)$/,
  },
  "the registry falls silent in the middle of a layer, once": {
    faults: badLayer({ kind: "hang", after: 50_000 }, { times: 1 }),
    says: undefined,
  },
  "the registry falls silent in the middle of a layer, always": {
    faults: [...badLayer({ kind: "hang", after: 50_000 }), ...badLayer({ kind: "no-ranges" })],
    says: /^cannot read BLOB: nothing more arrived in time$/,
  },
  "the registry says nothing when it is asked for a manifest": {
    faults: badManifest({ kind: "hang" }),
    says: /^DAEMONGet "http:\/\/HOST\/v2\/a\/b\/manifests\/1": net\/http: request canceled \(Client\.Timeout exceeded while awaiting headers\)$/,
  },
  "a layer is redirected in a circle": {
    faults: badLayer({ kind: "redirect", to: "loop" }),
    says: /^Get "http:\/\/HOST\/v2\/a\/b\/blobs\/BLOB": stopped after 10 redirects$/,
  },
  "a layer is refused with 401": { faults: badLayer(refuses(401)), says: /^unauthorized: authentication required$/ },
  "a layer is refused with 403": {
    faults: badLayer(refuses(403)),
    says: /^denied: requested access to the resource is denied$/,
  },
  "a layer is refused with 404": { faults: badLayer(refuses(404)), says: /^unknown blob: HOST does not have BLOB$/ },
  "a layer is refused with 429, and a time to wait": {
    faults: badLayer(refuses(429, undefined, { "Retry-After": "1" }), { times: 1 }),
    says: undefined,
  },
  "a layer is refused with 429, and a day to wait": {
    faults: badLayer(refuses(429, undefined, { "Retry-After": "86400" })),
    says: /^toomanyrequests: You have reached your pull rate limit$/,
  },
  "a layer is refused with 500, once": { faults: badLayer(refuses(500), { times: 1 }), says: undefined },
  "a layer is refused with 500": {
    faults: badLayer(refuses(500)),
    says: /^received unexpected HTTP status: 500 Internal Server Error$/,
  },
  "a proxy answers for a layer with a page of its own": {
    faults: badLayer(refuses(502, "<html><body>Bad gateway</body></html>", HTML)),
    says: /^received unexpected HTTP status: 502 Bad Gateway$/,
  },
  "a manifest is refused with 401, and no way to prove oneself": {
    faults: badManifest(refuses(401)),
    says: /^DAEMONunauthorized: authentication required$/,
  },
  "a manifest is refused with 403": {
    faults: badManifest(refuses(403)),
    says: /^DAEMONpull access denied for HOST\/a\/b, repository does not exist or may require 'docker login': denied: requested access to the resource is denied$/,
  },
  "a manifest is refused with 404": {
    faults: badManifest(refuses(404)),
    says: /^DAEMONrepository HOST\/a\/b not found: name unknown: repository name not known to registry$/,
  },
  "a manifest is refused with 429": {
    faults: badManifest(refuses(429, undefined, { "Retry-After": "86400" })),
    says: /^DAEMONtoomanyrequests: You have reached your pull rate limit$/,
  },
  "a manifest is refused with 500": {
    faults: badManifest(refuses(500)),
    says: /^DAEMONreceived unexpected HTTP status: 500 Internal Server Error$/,
  },
  "a manifest is a page": {
    faults: badManifest({ kind: "other-body", body: "<html>welcome</html>", type: "text/html" }),
    says: /^DAEMONmanifest verification failed for digest sha256:[0-9a-f]{64}$/,
  },
  "a manifest never ends": {
    faults: badManifest({ kind: "endless" }),
    says: /^DAEMONcannot read the manifest of HOST\/a\/b:1: it is longer than 8388608 bytes$/,
  },
  "a config has other bytes": {
    faults: [{ on: "blob", of: IMAGE.config.digest, act: { kind: "wrong-bytes" } }],
    says: /^error pulling image configuration: image config verification failed for digest CONFIG$/,
  },
  "a config never ends": {
    faults: [{ on: "blob", of: IMAGE.config.digest, act: { kind: "endless" } }],
    says: /^error pulling image configuration: cannot read CONFIG: it is longer than 8388608 bytes$/,
  },
  "the registry wants a name and a password": {
    registry: { auth: "basic" },
    says: /^DAEMON(Get|Head) "http:\/\/HOST\/v2\/a\/b\/manifests\/1": no basic auth credentials$/,
  },
  "the token server knows nobody": {
    registry: { auth: "bearer" },
    says: /^DAEMON(Get|Head) "http:\/\/HOST\/v2\/a\/b\/manifests\/1": unauthorized: authentication required$/,
  },
  "the token server is a page": {
    registry: { auth: "bearer" },
    faults: [{ on: "token", act: refuses(200, "<html>log in</html>", HTML) }],
    says: /^DAEMONGet "http:\/\/HOST\/token": authorization server did not include a token in the response$/,
  },
  "the token server says nothing": {
    registry: { auth: "bearer" },
    faults: [{ on: "token", act: { kind: "hang" } }],
    says: /^DAEMONGet "http:\/\/HOST\/token": net\/http: request canceled \(Client\.Timeout exceeded while awaiting headers\)$/,
  },
  "the token server's answer never ends": {
    registry: { auth: "bearer" },
    faults: [{ on: "token", act: { kind: "endless" } }],
    says: /^DAEMONcannot read the token of HOST: it is longer than 1048576 bytes$/,
  },
};

const missing = imageMissingLayer();

/** Images that are wrong themselves: what comes next is another one. */
export const WRONG: Readonly<Record<string, Case>> = {
  "names a layer that there isn't": {
    image: missing.image,
    without: [missing.missing],
    says: new RegExp(`^unknown blob: HOST does not have ${missing.missing}$`),
  },
  "has a manifest of 4 MB": { image: imageWithManifestOf(4 << 20), says: undefined },
  "has a manifest of 9 MB": {
    image: imageWithManifestOf(9 << 20),
    says: /^DAEMONcannot read the manifest of HOST\/a\/b:1: it is longer than 8388608 bytes$/,
  },
  "has 40,000 layers": {
    image: imageOfLayers(40_000),
    says: /^DAEMONinvalid image manifest: layers: max depth exceeded: more than 500 layers$/,
  },
  "has 20,000 layers, no two alike": {
    image: imageOfLayers(20_000, { isDistinct: true }),
    says: /^DAEMONinvalid image manifest: layers: max depth exceeded: more than 500 layers$/,
  },
  "is for other platforms": {
    image: indexOfOthers(),
    says: /^no matching manifest for linux\/\w+ in the manifest list entries: there is one for linux\/s390x, linux\/arm\/v7, windows\/amd64$/,
  },
  "has fewer diff ids than layers": {
    image: imageOfTooFewDiffIds(),
    says: /^layers from manifest don't match image configuration$/,
  },
  "has another diff id than its layer": {
    image: imageOfWrongDiffId(),
    says: /^layers from manifest don't match image configuration$/,
  },
  "is a gzip bomb": {
    image: imageOf({ layers: [bomb(1.2 * 2 ** 30)] }),
    says: /^cannot extract layer sha256:[0-9a-f]{64}: its \d+ bytes unpack to more than 1073741824; the engine's setting max-unpack-ratio \(200\) allows no more$/,
  },
  "is a zstd bomb": {
    image: imageOf({ layers: [bomb(1.2 * 2 ** 30, "zstd")] }),
    says: /^cannot extract layer sha256:[0-9a-f]{64}: its \d+ bytes unpack to more than 1073741824; the engine's setting max-unpack-ratio \(200\) allows no more$/,
  },
  "has a layer whose archive is cut off": {
    image: imageOf({ layers: [cutArchive()] }),
    says: /^cannot extract layer sha256:[0-9a-f]{64}: unexpected EOF$/,
  },
  "has a layer whose compression is cut off": {
    image: imageOf({ layers: [cutGzip()] }),
    says: /^cannot extract layer sha256:[0-9a-f]{64}: unexpected EOF$/,
  },
  "is no image": {
    image: artifact(),
    says: /^unsupported media type application\/vnd\.example\.config\.v1\+json: HOST\/a\/b:1 is an artifact and not an image$/,
  },
};

const sending = (act: Act, more: Partial<Fault> = {}): Fault[] => [
  { on: ["upload-chunk", "upload-end"], act, ...more },
];
const at = (on: Fault["on"], act: Act, more: Partial<Fault> = {}): Fault[] => [{ on, act, ...more }];
const UPLOAD = "http:\\/\\/HOST\\/v2\\/a\\/b\\/blobs\\/uploads\\/";

interface PushCase extends Case {
  /** Uploads whose answers never came: nobody but the registry knows of them. */
  readonly leavesUploads?: boolean;
}

/** The same of a push. */
export const PUSHES: Readonly<Record<string, PushCase>> = {
  "an upload is cut once": { faults: sending({ kind: "cut-upload", after: 50_000 }, { times: 1 }), says: undefined },
  "an upload is cut every 50,000 bytes": { faults: sending({ kind: "cut-upload", after: 50_000 }), says: undefined },
  "an upload is cut at its first byte, always": {
    faults: sending({ kind: "cut-upload", after: 0 }),
    says: new RegExp(`^Put "${UPLOAD}[0-9a-f]{16}": EOF$`),
  },
  "an upload is forgotten once": { faults: sending({ kind: "forget-session" }, { times: 1 }), says: undefined },
  "an upload is forgotten always": {
    faults: sending({ kind: "forget-session" }),
    says: /^blob upload unknown: blob upload unknown to registry$/,
  },
  "a body is too large": {
    faults: sending(refuses(413)),
    says: /^cannot push to HOST: it or a proxy before it refuses a body of \d+ bytes as too large \(413\): its limit has to be raised$/,
  },
  "a proxy ends a body that is too large before it is there": {
    faults: sending({ kind: "status", status: 413, isEarly: true, body: "<html>too large</html>", headers: HTML }),
    says: /^cannot push to HOST: it or a proxy before it refuses a body of \d+ bytes as too large \(413\): its limit has to be raised$/,
  },
  "an upload is refused with 401": {
    faults: at("upload-start", refuses(401)),
    says: /^unauthorized: authentication required$/,
  },
  "an upload is refused with 403": {
    faults: at("upload-start", refuses(403)),
    says: /^denied: requested access to the resource is denied$/,
  },
  "an upload is refused with 404": {
    faults: at("upload-start", refuses(404)),
    says: /^name unknown: repository name not known to registry$/,
  },
  "an upload is refused with 429, and a time to wait": {
    faults: at("upload-start", refuses(429, undefined, { "Retry-After": "1" }), { times: 1 }),
    says: undefined,
  },
  "an upload is refused with 429, and a day to wait": {
    faults: at("upload-start", refuses(429, undefined, { "Retry-After": "86400" })),
    says: /^toomanyrequests: You have reached your pull rate limit$/,
  },
  "the end of an upload is refused with 500, once": {
    faults: at("upload-end", refuses(500), { times: 1 }),
    says: undefined,
  },
  "the end of an upload is refused with 500": {
    faults: at("upload-end", refuses(500)),
    says: /^received unexpected HTTP status: 500 Internal Server Error$/,
  },
  "a manifest is refused with 500, once": {
    faults: at("manifest-put", refuses(500), { times: 1 }),
    says: undefined,
  },
  "a manifest is refused with 403": {
    faults: at("manifest-put", refuses(403)),
    says: /^denied: requested access to the resource is denied$/,
  },
  "a manifest is refused as invalid": {
    faults: at(
      "manifest-put",
      refuses(400, '{"errors":[{"code":"MANIFEST_INVALID","message":"manifest invalid","detail":{}}]}'),
    ),
    says: /^manifest invalid: manifest invalid$/,
  },
  "nothing is said to what begins an upload": {
    faults: at("upload-start", { kind: "hang" }),
    says: new RegExp(
      `^Post "${UPLOAD}": net\\/http: request canceled \\(Client\\.Timeout exceeded while awaiting headers\\)$`,
    ),
    leavesUploads: true,
  },
  "the connection is cut before an upload is open": {
    faults: at("upload-start", { kind: "cut" }, { times: 1 }),
    says: undefined,
    leavesUploads: true,
  },
  "an upload goes on at a place that is told without a host": {
    faults: at(["upload-start", "upload-chunk"], { kind: "location", to: "relative" }),
    says: undefined,
  },
  "no place is told where an upload goes on": {
    faults: at("upload-start", { kind: "header", name: "Location", value: undefined }),
    says: /^cannot push to HOST: it names no place to upload to$/,
    leavesUploads: true,
  },
  "an upload is redirected in a circle": {
    faults: at("upload-end", { kind: "redirect", to: "loop" }),
    says: new RegExp(`^Put "${UPLOAD}[0-9a-f]{16}": stopped after 10 redirects$`),
  },
  "the registry wants a name and a password": {
    registry: { auth: "basic" },
    says: /^no basic auth credentials$/,
  },
};
