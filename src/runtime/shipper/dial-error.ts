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
