import { hasCode, messageOf } from "../../base/errors.ts";

const WORDS: readonly (readonly [string, string])[] = [
  ["ECONNREFUSED", "connect: connection refused"],
  ["ENOENT", "connect: no such file or directory"],
  ["EACCES", "connect: permission denied"],
  ["EPROTOTYPE", "connect: protocol wrong type for socket"],
  ["ENETUNREACH", "connect: network is unreachable"],
  ["EHOSTUNREACH", "connect: no route to host"],
  ["ETIMEDOUT", "i/o timeout"],
];

/** What Go's net.Dial says of a connection that could not be made. */
export function dialError(network: string, place: string, error: unknown): Error {
  if (hasCode(error, "ENOTFOUND", "EAI_AGAIN")) {
    return new Error(`dial ${network}: lookup ${place.replace(/:\d+$/, "")}: no such host`, { cause: error });
  }
  const known = WORDS.find(([code]) => hasCode(error, code));
  return new Error(`dial ${network} ${place}: ${known?.[1] ?? messageOf(error)}`, { cause: error });
}

const UNTRUSTED = [
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
];

/** What Go's TLS says of a service that it can't trust; another error as it is. */
export function handshakeError(error: unknown): unknown {
  if (!hasCode(error, ...UNTRUSTED)) return error;
  const why = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
  return new Error(why, { cause: error });
}
