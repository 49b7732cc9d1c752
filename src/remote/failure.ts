import type { IncomingHttpHeaders } from "node:http";
import * as v from "valibot";
import { type ErrorKind, GantryError, messageOf } from "../base/errors.ts";
import { STATUS_CODES } from "../base/http.ts";
import { parseChallenges } from "./challenge.ts";

/** A registry that couldn't be reached or didn't answer: another endpoint may. */
export class UnreachableError extends GantryError {
  /** True for a connection that was cut: a new one may hold. */
  readonly isPassing: boolean;

  constructor(
    message: string,
    options: { readonly cause?: unknown; readonly isPassing?: boolean; readonly kind?: ErrorKind } = {},
  ) {
    // Answered with 500, as Docker's clients know it.
    super(options.kind ?? "internal", message, { cause: options.cause });
    this.name = "UnreachableError";
    this.isPassing = options.isPassing ?? false;
  }
}

/** What a registry refused: the status and the headers of its answer, and the first of its error codes. */
export class RefusedError extends GantryError {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** `BLOB_UPLOAD_UNKNOWN`; empty where the registry gave none. */
  readonly code: string;
  /** The first of its errors and nothing else: not what was asked for, not the others. */
  readonly reason: string;

  constructor(
    status: number,
    kind: ErrorKind,
    message: string,
    answer: { readonly headers?: IncomingHttpHeaders; readonly code?: string; readonly reason?: string } = {},
  ) {
    super(kind, message);
    this.name = "RefusedError";
    this.status = status;
    this.headers = answer.headers ?? {};
    this.code = answer.code ?? "";
    this.reason = answer.reason ?? message;
  }

  /** The same with a sentence that says more. */
  worded(message: string): RefusedError {
    return new RefusedError(this.status, this.kind, message, this);
  }
}

/** `Get "https://host/v2/"`, as Go's errors begin. The query is left out: a redirect's may hold a signature. */
export function titleOf(method: string, url: URL): string {
  return `${method[0]}${method.slice(1).toLowerCase()} "${url.protocol}//${url.host}${url.pathname}"`;
}

/**
 * A failed connection in the words of Go's network library, which users search for, and what to do about it.
 * `folder` is where certificates of registries are put.
 */
export function unreachable(
  { method, url, verify }: { readonly method: string; readonly url: URL; readonly verify: boolean },
  error: unknown,
  folder: string,
): GantryError {
  if (error instanceof GantryError) return error;
  const code = String((error as { code?: unknown } | undefined)?.code ?? "");
  const { address, port } = addressOf(error);
  const where = {
    name: url.hostname,
    host: url.host,
    address: address === undefined ? url.host : `${address}:${port}`,
    valid: validNames(error),
    folder,
    verify,
    reason: messageOf(error),
  };
  const why = WORDS.find(({ codes }) => codes.test(code))?.words(where) ?? messageOf(error);
  const isPassing = code === "EAI_AGAIN" || (error as { isPassing?: boolean }).isPassing === true;
  return new UnreachableError(`${titleOf(method, url)}: ${why}`, { cause: error, isPassing });
}

interface Where {
  readonly name: string;
  /** `host[:port]`. */
  readonly host: string;
  readonly address: string;
  /** Of the certificate. */
  readonly valid: string;
  readonly folder: string;
  readonly verify: boolean;
  /** As the system said it. */
  readonly reason: string;
}

const WORDS: readonly { readonly codes: RegExp; readonly words: (where: Where) => string }[] = [
  { codes: /^ECONNREFUSED$/, words: ({ address }) => `dial tcp ${address}: connect: connection refused` },
  { codes: /^(ENETUNREACH|ENETDOWN)$/, words: ({ address }) => `dial tcp ${address}: connect: network is unreachable` },
  { codes: /^EHOSTUNREACH$/, words: ({ address }) => `dial tcp ${address}: connect: no route to host` },
  { codes: /^ETIMEDOUT$/, words: ({ address }) => `dial tcp ${address}: i/o timeout` },
  { codes: /^ENOTFOUND$/, words: ({ name }) => `dial tcp: lookup ${name}: no such host` },
  { codes: /^EAI_AGAIN$/, words: ({ name }) => `dial tcp: lookup ${name}: server misbehaving` },
  { codes: /^(ECONNRESET|EPIPE)$/, words: () => "EOF" },
  { codes: /^HPE_HEADER_OVERFLOW$/, words: () => "net/http: server response headers exceeded 16384 bytes; aborted" },
  { codes: /^HPE_/, words: ({ reason }) => `malformed HTTP response: ${reason.replace(/^Parse Error: /, "")}` },
  {
    codes: /^(ERR_SSL_WRONG_VERSION_NUMBER|ERR_SSL_PACKET_LENGTH_TOO_LONG|EPROTO)$/,
    words: ({ host, verify }) =>
      `http: server gave HTTP response to HTTPS client${verify ? `: add ${host} to insecure-registries if it is to be used without TLS` : ""}`,
  },
  {
    codes:
      /^(DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT(_LOCALLY)?|CERT_SIGNATURE_FAILURE)$/,
    words: ({ host, folder }) =>
      `tls: failed to verify certificate: x509: certificate signed by unknown authority: put its CA into ${folder}/${host}/ca.crt, or add ${host} to insecure-registries`,
  },
  {
    codes: /^(CERT_HAS_EXPIRED|CERT_NOT_YET_VALID)$/,
    words: ({ host }) =>
      `tls: failed to verify certificate: x509: certificate has expired or is not yet valid: ${host} needs a new one, unless this machine's clock is wrong`,
  },
  {
    codes: /^ERR_TLS_CERT_ALTNAME_INVALID$/,
    words: ({ name, valid }) =>
      `tls: failed to verify certificate: x509: certificate is valid for ${valid === "" ? "no name" : valid}, not ${name}: use a name that it is valid for`,
  },
  {
    codes: /^ERR_SSL_.*ALERT_(CERTIFICATE_REQUIRED|BAD_CERTIFICATE|HANDSHAKE_FAILURE|UNKNOWN_CA|CERTIFICATE_UNKNOWN)$/,
    words: ({ host, folder }) =>
      `remote error: tls: the server accepts no certificate of ours: put client.cert and client.key into ${folder}/${host}`,
  },
];

/** The names of a certificate that was for another one: `DNS:a.example, IP Address:192.0.2.1` as `a.example, 192.0.2.1`. */
function validNames(error: unknown): string {
  const names = (error as { cert?: { subjectaltname?: unknown } } | undefined)?.cert?.subjectaltname;
  return typeof names === "string" ? plain(names.replace(/\b(DNS|IP Address):/g, "")).slice(0, 200) : "";
}

function addressOf(error: unknown): { readonly address?: string | undefined; readonly port?: number | undefined } {
  // Of a host with several addresses the last failure counts, as each was tried.
  const one = error instanceof AggregateError ? (error.errors.at(-1) as unknown) : error;
  return (one ?? {}) as { address?: string; port?: number };
}

const errorBody = v.object({
  errors: v.optional(
    v.array(v.looseObject({ code: v.optional(v.string(), "UNKNOWN"), message: v.optional(v.string(), "") })),
  ),
  details: v.optional(v.string()),
});

const KINDS: Readonly<Record<number, ErrorKind>> = {
  400: "invalid",
  401: "unauthenticated",
  403: "forbidden",
  404: "not-found",
  405: "unsupported",
  416: "invalid",
  429: "too-many-requests",
  503: "unavailable",
};
const CODES: Readonly<Record<string, number>> = {
  UNAUTHORIZED: 401,
  DENIED: 403,
  NAME_UNKNOWN: 404,
  MANIFEST_UNKNOWN: 404,
  BLOB_UNKNOWN: 404,
  NAME_INVALID: 400,
  TAG_INVALID: 400,
  MANIFEST_INVALID: 400,
  DIGEST_INVALID: 400,
  UNSUPPORTED: 405,
  TOOMANYREQUESTS: 429,
  UNAVAILABLE: 503,
};
const MAX_WORDS = 1000;

/** The error that a registry answered (distribution spec, "Error Codes"), as Docker writes it. */
export function refused(status: number, body: Uint8Array, headers: IncomingHttpHeaders = {}): RefusedError {
  const text = Buffer.from(body).toString("utf8");
  const parsed = v.safeParse(errorBody, parsedOrUndefined(text));
  const errors = [...scopeErrors(status, headers), ...((parsed.success ? parsed.output.errors : undefined) ?? [])];
  const [first] = errors;
  const own = first === undefined ? status : (CODES[first.code.toUpperCase()] ?? status);
  const kind = KINDS[own] ?? (own >= 400 && own < 500 ? "invalid" : "internal");
  const details = parsed.success ? parsed.output.details : "";
  return new RefusedError(status, kind, plain(wordsOf(status, errors, details, text)), {
    headers,
    code: first?.code.toUpperCase() ?? "",
    reason: plain(wordsOf(status, errors.slice(0, 1), details, text)),
  });
}

/** A registry that took the token and lets its owner do less says so beside its answer (RFC 6750, 3.1), and first. */
function scopeErrors(
  status: number,
  headers: IncomingHttpHeaders,
): { readonly code: string; readonly message: string }[] {
  if (status < 400 || status > 499) return [];
  const isShort = parseChallenges(headers["www-authenticate"] ?? "").some(
    ({ scheme, parameters }) => scheme === "bearer" && parameters.get("error") === "insufficient_scope",
  );
  return isShort ? [{ code: "DENIED", message: DEFAULTS[403] ?? "" }] : [];
}

function wordsOf(
  status: number,
  errors: readonly { readonly code: string; readonly message: string }[],
  details: string | undefined,
  text: string,
): string {
  if (status >= 500) return `received unexpected HTTP status: ${status} ${STATUS_CODES[status] ?? ""}`.trimEnd();
  const lines = errors.map(({ code, message }) => {
    const name = code.toLowerCase().replaceAll("_", " ");
    return message === "" ? name : `${name}: ${message}`;
  });
  if (lines.length === 1) return lines[0] ?? "";
  if (lines.length > 1) return `errors:\n${lines.join("\n")}\n`;
  const named = { 401: "unauthorized", 403: "denied", 404: "not found", 429: "toomanyrequests" }[status];
  if (details && named !== undefined) return `${named}: ${details}`;
  if (named !== undefined && text.trim() === "") return `${named}: ${DEFAULTS[status]}`;
  // What stands before registries answers in plain text, or with a page.
  const isPlain = !/^\s*([<{[]|$)/.test(text);
  const word = status === 404 || named === undefined ? "unknown" : named;
  if (isPlain || status === 429) return `${word}: ${text.trim().split("\n", 1)[0]?.slice(0, 200)}`;
  return `error parsing HTTP ${status} response body: ${JSON.stringify(text.slice(0, 200))}`;
}

const DEFAULTS: Readonly<Record<number, string>> = {
  401: "authentication required",
  403: "requested access to the resource is denied",
  404: "the registry has no such thing",
  429: "too many requests",
};

/** A registry's words may go to a terminal. */
function plain(text: string): string {
  return text.slice(0, MAX_WORDS).replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, "");
}

function parsedOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
