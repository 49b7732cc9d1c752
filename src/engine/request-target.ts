/** What a request asks for, by its first line. */
export interface Target {
  readonly version: string | undefined;
  readonly path: string;
  readonly search: string;
}

/** Splits a request's target; absolute ones (`http://host/path`) are allowed. */
export function parseTarget(url = "/"): Target {
  const from = url.startsWith("/") ? 0 : Math.max(url.indexOf("/", url.indexOf("://") + 3), 0);
  const question = url.indexOf("?", from);
  const path = question < 0 ? url.slice(from) : url.slice(from, question);
  const search = question < 0 ? "" : url.slice(question + 1);
  const version = /^\/v([0-9]+(?:\.[0-9]+)*)(?=\/)/.exec(path)?.[1];
  return { version, path: version === undefined ? path : path.slice(version.length + 2), search };
}
