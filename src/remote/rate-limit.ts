import type { IncomingHttpHeaders } from "node:http";

/** How many manifests a registry lets its client ask for. */
export interface RateLimit {
  readonly limit: number;
  readonly remaining: number;
  /** Of the time that they are counted in; 0 where it isn't told. */
  readonly seconds: number;
}

/** `ratelimit-remaining: 76;w=21600`, as Docker Hub tells it; undefined where the headers don't. */
export function rateLimitOf(headers: IncomingHttpHeaders): RateLimit | undefined {
  const read = (name: string): readonly [count: number, seconds: number] | undefined => {
    const [, count, seconds] = /^(\d{1,9})(?:\s*;\s*w=(\d{1,9}))?/.exec(String(headers[name] ?? "")) ?? [];
    return count === undefined ? undefined : [Number(count), Number(seconds ?? 0)];
  };
  const limit = read("ratelimit-limit");
  const remaining = read("ratelimit-remaining");
  if (limit === undefined || remaining === undefined) return undefined;
  return { limit: limit[0], remaining: remaining[0], seconds: remaining[1] || limit[1] };
}
