import { GantryError } from "../base/errors.ts";
import { STATUS_CODES } from "../base/http.ts";
import { readDocument, readPieces } from "./body.ts";
import { titleOf, UnreachableError } from "./failure.ts";
import type { Waiting } from "./settings.ts";
import type { Transport } from "./transport.ts";

const MAX_REFUSAL = 8 << 10;

export interface Download {
  /** Without credentials and query, for people. */
  readonly url: string;
  /** Bytes that are to come; undefined where the server doesn't say. */
  readonly size: number | undefined;
  readonly pieces: AsyncIterable<Uint8Array>;
}

/** Fetches what a client names by URL; without a scheme it is http. Errors are Docker's of an import. */
export async function download(transport: Transport, text: string, waiting: Waiting): Promise<Download> {
  const full = text.includes("://") ? text : `http://${text}`;
  const url = URL.canParse(full) ? new URL(full) : undefined;
  if (url === undefined) throw new UnreachableError(`Get ${JSON.stringify(shown(full))}: http: no Host in request URL`);
  if (!/^https?:$/.test(url.protocol)) {
    throw new UnreachableError(`${titleOf("GET", url)}: unsupported protocol scheme "${url.protocol.slice(0, -1)}"`);
  }
  const { status, headers, body } = await transport.send({ method: "GET", url, verify: true }, waiting);
  if (status >= 400) {
    const limit = { limit: MAX_REFUSAL, timeMs: transport.limits.document, signal: waiting.signal };
    const said = await readDocument(body, shown(full), limit).catch(() => Buffer.alloc(0));
    const words = said.toString("utf8").trim().slice(0, 500);
    throw new GantryError(
      status === 404
        ? "not-found"
        : status === 401 || status === 403
          ? "forbidden"
          : status < 500
            ? "invalid"
            : "internal",
      `failed to GET ${shown(full)} with status ${status} ${STATUS_CODES[status] ?? ""}${words === "" ? "" : `: ${words}`}`,
    );
  }
  const length = Number(headers["content-length"] ?? Number.NaN);
  return {
    url: shown(full),
    size: Number.isSafeInteger(length) ? length : undefined,
    pieces: readPieces(body, shown(full), { idleMs: transport.limits.idle, signal: waiting.signal }),
  };
}

function shown(url: string): string {
  return url.replace(/\/\/[^/@]*@/, "//").replace(/[?#].*$/s, "");
}
