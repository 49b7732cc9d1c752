import { invalid } from "./refuse.ts";

/** What a command's kinds are called here, each in the place of its number in a definition. */
export const MOUNT_TYPES = ["bind", "secret", "ssh", "cache", "tmpfs"] as const;
export const NETWORKS = ["default", "host", "none"] as const;
export const SECURITIES = ["sandbox", "insecure"] as const;
export const SHARINGS = ["shared", "private", "locked"] as const;

/** The kind with a number; `what` is what it is one of. */
export function kindOf<T>(known: readonly T[], number: number, what: string): T {
  const found = known[number];
  if (found === undefined) throw invalid(`there is no ${what} ${number}`);
  return found;
}
