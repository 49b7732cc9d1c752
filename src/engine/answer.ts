import type { ServerResponse } from "node:http";
import { ERROR_STATUS } from "../api/error-status.ts";
import { drained } from "../base/drained.ts";
import { GantryError, messageOf } from "../base/errors.ts";

/** What a route's handler returns: the answer as data, written in one place. */
export type Answer =
  | { readonly kind: "json"; readonly status: number; readonly value: unknown }
  | { readonly kind: "empty"; readonly status: number; readonly headers?: Readonly<Record<string, string>> }
  | { readonly kind: "text"; readonly body: string; readonly headers: Readonly<Record<string, string>> }
  /** Headers leave at once, the value when it is there. */
  | { readonly kind: "later"; readonly value: Promise<unknown> }
  /** Headers leave at once; each piece leaves when it is there. The iterable ends when the request's signal aborts. */
  | {
      readonly kind: "stream";
      readonly type: string;
      readonly body: AsyncIterable<Uint8Array | string>;
      readonly headers?: Readonly<Record<string, string>>;
      /** What ended it too late to be its status, once it is at its end: the client was told in its last piece. */
      readonly failure?: () => unknown;
    }
  /** The connection was taken over. */
  | { readonly kind: "hijacked" };

export const json = (value: unknown, status = 200): Answer => ({ kind: "json", status, value });
export const empty = (status = 204, headers: Readonly<Record<string, string>> = {}): Answer => ({
  kind: "empty",
  status,
  headers,
});
export const later = (value: Promise<unknown>): Answer => ({ kind: "later", value });
export const stream = (
  type: string,
  body: AsyncIterable<Uint8Array | string>,
  headers: Readonly<Record<string, string>> = {},
): Answer & { readonly kind: "stream" } => ({ kind: "stream", type, body, headers });
export const HIJACKED: Answer = { kind: "hijacked" };

/** Writes an answer. Resolves when it is handed to the socket; a client that left is no error. */
export async function writeAnswer(response: ServerResponse, answer: Answer): Promise<void> {
  if (answer.kind === "hijacked") return;
  if (response.destroyed) {
    await discard(answer);
    return;
  }
  switch (answer.kind) {
    case "json":
      return writeJson(response, answer.status, answer.value);
    case "empty":
      response.writeHead(answer.status, {
        ...answer.headers,
        ...(answer.status !== 204 && answer.status !== 304 && { "Content-Length": 0 }),
      });
      response.end();
      return;
    case "text":
      response.writeHead(200, { ...answer.headers, "Content-Length": Buffer.byteLength(answer.body) });
      response.end(answer.body);
      return;
    case "later":
      response.writeHead(200, { "Content-Type": "application/json" });
      response.flushHeaders();
      response.end(`${JSON.stringify(await answer.value)}\n`);
      return;
    case "stream":
      response.writeHead(200, { ...answer.headers, "Content-Type": answer.type });
      response.flushHeaders();
      await pour(response, answer.body);
  }
}

function writeJson(response: ServerResponse, status: number, value: unknown, until?: Promise<void>): void {
  // Encoded here, once: of a string the length is counted first, and the socket encodes it again.
  const body = Buffer.from(`${JSON.stringify(value)}\n`);
  response.writeHead(status, { "Content-Type": "application/json", "Content-Length": body.length });
  if (until === undefined) {
    response.end(body);
    return;
  }
  response.write(body);
  void until.then(() => response.end());
}

/** A client that left must not keep a source open, nor its failure unheard. */
async function discard(answer: Answer): Promise<void> {
  if (answer.kind === "later") await answer.value.catch(() => undefined);
  if (answer.kind === "stream") await answer.body[Symbol.asyncIterator]().return?.();
}

/** A piece that is no small one is with the kernel before the next one is asked for. */
async function pour(response: ServerResponse, body: AsyncIterable<Uint8Array | string>): Promise<void> {
  for await (const piece of body) {
    if (response.destroyed) return;
    if (piece.length > 0 && !response.write(piece)) await drained(response);
  }
  response.end();
}

/**
 * Answers an error, or ends the connection if the answer has begun already. The client has the whole answer at once;
 * what happens to its connection waits for `until`.
 */
export function writeError(response: ServerResponse, error: unknown, until?: Promise<void>): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const status = error instanceof GantryError ? ERROR_STATUS[error.kind] : 500;
  if (status === 304) {
    response.writeHead(304);
    response.end();
    return;
  }
  writeJson(response, status, { message: messageOf(error) }, until);
}
