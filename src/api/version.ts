import { GantryError } from "../base/errors.ts";

/** The newest version of the API that is spoken; requests without one mean it. */
export const API_VERSION = "1.51";
/** The oldest. */
export const MIN_API_VERSION = "1.24";
/**
 * Requests in versions from here on are answered as in the oldest: skopeo, podman and buildah asked for 1.22 until 2023,
 * whatever an engine told them.
 */
const OLDEST_TAKEN = "1.22";

/** Orders two API versions by their numbers: negative if `a` is the older one. */
export function compareVersions(a: string, b: string): number {
  const left = a.split(".");
  const right = b.split(".");
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = Number(left[i] ?? 0) - Number(right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Refuses a version outside of what this engine speaks, in the words that clients negotiate by. */
export function checkVersion(version: string): void {
  if (compareVersions(version, API_VERSION) > 0) {
    throw new GantryError(
      "invalid",
      `client version ${version} is too new. Maximum supported API version is ${API_VERSION}`,
    );
  }
  if (compareVersions(version, OLDEST_TAKEN) < 0) {
    throw new GantryError(
      "invalid",
      `client version ${version} is too old. Minimum supported API version is ${MIN_API_VERSION}, please upgrade your client to a newer version`,
    );
  }
}

/** Media types of hijacked streams and logs: frames or bytes as they are. */
export const RAW_STREAM = "application/vnd.docker.raw-stream";
/** The media type of output in frames that say which stream they are of; since API 1.42. */
export const MULTIPLEXED_STREAM = "application/vnd.docker.multiplexed-stream";
/** As `Accept` of who reads a log: its frames need not be a line each. */
export const JOINED_FRAMES = `${MULTIPLEXED_STREAM}; frames=joined`;
