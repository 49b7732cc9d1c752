/** What a client tells of its session when it opens it. */
export interface SessionHello {
  readonly id: string;
  readonly sharedKey: string;
  /** Lower-case: `/moby.filesync.v1.filesync/diffcopy`. */
  readonly methods: ReadonlySet<string>;
}

/** Of the headers of the request for it: `methods` are one list of all values. */
export function sessionHello(id: string, sharedKey: string, methods: string): SessionHello {
  const served = methods.split(",").map((method) => method.trim().toLowerCase());
  return { id, sharedKey, methods: new Set(served.filter((method) => method !== "")) };
}
