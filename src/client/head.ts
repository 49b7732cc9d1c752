/** How the end of a body is known. */
export type Framing =
  | { readonly kind: "none" }
  | { readonly kind: "length"; readonly bytes: number }
  | { readonly kind: "chunked" }
  | { readonly kind: "close" };

export interface ResponseHead {
  readonly status: number;
  /** Names in lower case; of a repeated header the values are joined by ", ". */
  readonly headers: Readonly<Record<string, string>>;
}

/** The largest head that is accepted, in bytes. */
export const MAX_HEAD = 64 * 1024;

/** Parses a status line and headers (without the empty line at the end); undefined if they are malformed. */
export function parseHead(text: string): ResponseHead | undefined {
  const lines = text.split(/\r?\n/);
  const status = /^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(lines[0] ?? "")?.[1];
  if (status === undefined) return undefined;
  const headers: Record<string, string> = Object.create(null);
  for (const line of lines.slice(1)) {
    const colon = line.indexOf(":");
    if (colon < 1) return undefined;
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`;
  }
  return { status: Number(status), headers };
}

/** RFC 9112 section 6.3; undefined if a length makes no sense. */
export function framingOf(method: string, head: ResponseHead): Framing | undefined {
  if (method === "HEAD" || head.status === 204 || head.status === 304 || head.status < 200) return { kind: "none" };
  if (head.headers["transfer-encoding"] !== undefined) {
    return /(^|,)\s*chunked\s*$/i.test(head.headers["transfer-encoding"]) ? { kind: "chunked" } : { kind: "close" };
  }
  const length = head.headers["content-length"];
  if (length === undefined) return { kind: "close" };
  return /^\d{1,15}$/.test(length) ? { kind: "length", bytes: Number(length) } : undefined;
}
