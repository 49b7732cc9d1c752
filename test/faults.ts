import type { ServerResponse } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import { gzipSync } from "node:zlib";

/** What a request to a registry is for. */
export type Step =
  | "ping"
  | "token"
  | "manifest"
  | "blob"
  | "tags"
  | "referrers"
  | "mount"
  | "upload-start"
  | "upload-chunk"
  | "upload-end"
  | "upload-status"
  | "upload-cancel"
  | "manifest-put";

/** What a registry does wrong, and when. All faults that fit a request act on it together. */
export interface Fault {
  readonly on: Step | readonly Step[];
  readonly act: Act;
  readonly method?: string;
  /** Only for this manifest, blob or tag. */
  readonly of?: string;
  /** So many requests that fit are let pass first; default none. */
  readonly skip?: number;
  /** So many of them after that are spoilt; default all. */
  readonly times?: number;
}

export type Act =
  /**
   * Refuses. Without a body there are errors as registries write them. `isEarly`: before the request's body was read,
   * and the connection ends.
   */
  | {
      readonly kind: "status";
      readonly status: number;
      readonly headers?: Headers;
      readonly body?: string;
      readonly isEarly?: boolean;
    }
  /** Says no more: before the head or, with `after`, when so many bytes of the body have gone. */
  | { readonly kind: "hang"; readonly after?: number }
  /** Ends the connection at the same places. */
  | { readonly kind: "cut"; readonly after?: number }
  /** Sends a part as if it were all, with the length to match. */
  | { readonly kind: "truncate"; readonly at: number }
  /** Bytes of the same length that have another digest. */
  | { readonly kind: "wrong-bytes" }
  | { readonly kind: "other-body"; readonly body: Buffer | string; readonly type?: string }
  /** Goes on after the end, and never stops; no length is told. */
  | { readonly kind: "endless" }
  /** Content-Length says this; the connection ends after the true body. */
  | { readonly kind: "told-length"; readonly length: number }
  /** No Content-Length at all. */
  | { readonly kind: "no-length" }
  /** Answers the whole where a range was asked. */
  | { readonly kind: "no-ranges" }
  /** Answers another range than the one that was asked; told, or with the asked one in Content-Range. */
  | { readonly kind: "wrong-range"; readonly shift: number; readonly isTold: boolean }
  /** 416, whatever the range. */
  | { readonly kind: "refuse-ranges" }
  | { readonly kind: "slow"; readonly bytesPerSecond: number }
  /** `to`: the URL of another registry, or `loop` for itself. */
  | { readonly kind: "redirect"; readonly to: string; readonly status?: number }
  /** Compresses the body though nobody asked for that. */
  | { readonly kind: "encoded" }
  | { readonly kind: "header"; readonly name: string; readonly value: string | undefined }
  /** Takes so many bytes of an upload, keeps them, and ends the connection. */
  | { readonly kind: "cut-upload"; readonly after: number }
  /** Knows nothing of the upload any more. */
  | { readonly kind: "forget-session" }
  /** Where an upload goes on: `relative`, or the URL of another registry. */
  | { readonly kind: "location"; readonly to: string }
  /** Begins an upload instead of mounting. */
  | { readonly kind: "ignore-mount" };

type Headers = Readonly<Record<string, string>>;

/** An answer as it is about to be sent. */
export interface Plan {
  status: number;
  headers: Record<string, string | undefined>;
  body: Buffer;
  /** What follows the body. */
  ending: "end" | "cut" | "hang" | "endless";
  /** The body is sent up to here. */
  until: number;
  bytesPerSecond: number | undefined;
  /** Neither head nor body is sent. */
  isMute: boolean;
}

/** The faults of a registry with how often each was met. */
export class Faults {
  readonly #rows: { readonly fault: Fault; met: number }[];

  constructor(faults: readonly Fault[]) {
    this.#rows = faults.map((fault) => ({ fault, met: 0 }));
  }

  /** The acts of all faults that fit; each counts this request. */
  actsOn(step: Step, method: string, names: readonly string[]): Act[] {
    return this.#rows.flatMap((row) => {
      const { fault } = row;
      const steps = typeof fault.on === "string" ? [fault.on] : fault.on;
      if (!steps.includes(step) || (fault.method ?? method) !== method) return [];
      if (fault.of !== undefined && !names.includes(fault.of)) return [];
      const { skip = 0, times = Number.POSITIVE_INFINITY } = fault;
      row.met++;
      return row.met > skip && row.met <= skip + times ? [fault.act] : [];
    });
  }
}

/** Spoils an answer. `path` is the request's, `range` what it asked for. */
export function spoil(plan: Plan, acts: readonly Act[], path: string): Plan {
  for (const act of acts) spoilBy(plan, act, path);
  return plan;
}

function spoilBy(plan: Plan, act: Act, path: string): void {
  switch (act.kind) {
    case "status":
      plan.status = act.status;
      plan.headers = { "Content-Type": "application/json", ...act.headers };
      setBody(plan, Buffer.from(act.body ?? errorsOf(act.status)));
      return;
    case "hang":
    case "cut":
      plan.ending = act.kind;
      if (act.after === undefined) plan.isMute = true;
      else plan.until = Math.min(plan.until, act.after);
      // The whole body fits: nothing is left to spoil.
      if (act.after !== undefined && act.after >= plan.body.length) plan.ending = "end";
      return;
    case "truncate":
      setBody(plan, plan.body.subarray(0, act.at));
      return;
    case "wrong-bytes":
      setBody(plan, Buffer.from(plan.body.map((byte) => byte ^ 0x5a)));
      return;
    case "other-body":
      if (act.type !== undefined) plan.headers["Content-Type"] = act.type;
      setBody(plan, Buffer.from(act.body));
      return;
    case "endless":
      delete plan.headers["Content-Length"];
      plan.ending = "endless";
      return;
    case "told-length":
      plan.headers["Content-Length"] = String(act.length);
      if (act.length > plan.body.length) plan.ending = "cut";
      else plan.until = Math.min(plan.until, act.length);
      return;
    case "no-length":
      delete plan.headers["Content-Length"];
      return;
    case "slow":
      plan.bytesPerSecond = act.bytesPerSecond;
      return;
    case "redirect":
      plan.status = act.status ?? 307;
      plan.headers = { Location: act.to === "loop" ? path : `${act.to}${path}` };
      setBody(plan, Buffer.alloc(0));
      return;
    case "encoded":
      plan.headers["Content-Encoding"] = "gzip";
      setBody(plan, gzipSync(plan.body));
      return;
    case "header":
      plan.headers[act.name] = act.value;
      return;
    default:
      // The others are heeded where the answer is made.
      return;
  }
}

function setBody(plan: Plan, body: Buffer): void {
  plan.body = body;
  plan.until = body.length;
  plan.headers["Content-Length"] = String(body.length);
}

const CODES: Readonly<Record<number, readonly [code: string, message: string]>> = {
  401: ["UNAUTHORIZED", "authentication required"],
  403: ["DENIED", "requested access to the resource is denied"],
  404: ["NAME_UNKNOWN", "repository name not known to registry"],
  413: ["SIZE_INVALID", "provided length did not match content length"],
  429: ["TOOMANYREQUESTS", "You have reached your pull rate limit"],
  500: ["UNKNOWN", "unknown error"],
  503: ["UNAVAILABLE", "service unavailable"],
};

export function errorsOf(status: number, code = CODES[status]?.[0], message = CODES[status]?.[1]): string {
  return JSON.stringify({ errors: [{ code: code ?? "UNKNOWN", message: message ?? `status ${status}` }] });
}

const PIECE = 1 << 16;

/**
 * Sends an answer, as slowly and as far as its plan says; ends when the client is gone. Returns the body's bytes sent.
 * What is slow isn't any longer when `healed` is aborted.
 */
export async function send(
  response: ServerResponse,
  plan: Plan,
  isHead: boolean,
  healed: AbortSignal,
): Promise<number> {
  if (plan.isMute) {
    if (plan.ending === "cut") response.destroy();
    return 0;
  }
  const headers = Object.fromEntries(Object.entries(plan.headers).filter(([, value]) => value !== undefined));
  response.strictContentLength = false;
  response.writeHead(plan.status, headers as Record<string, string>);
  if (isHead) {
    response.end();
    return 0;
  }
  const sent = await sendBody(response, plan.body.subarray(0, plan.until), plan.bytesPerSecond, healed);
  switch (plan.ending) {
    case "end":
      response.end();
      return sent;
    case "hang":
      response.flushHeaders();
      return sent;
    case "cut":
      response.flushHeaders();
      // What was written must arrive: a reset would take it back.
      response.socket?.end();
      return sent;
    case "endless": {
      const more = Buffer.alloc(PIECE, "more ");
      let count = sent;
      while (!response.destroyed) count += await sendBody(response, more, plan.bytesPerSecond, healed);
      return count;
    }
  }
}

async function sendBody(
  response: ServerResponse,
  body: Buffer,
  bytesPerSecond: number | undefined,
  healed: AbortSignal,
): Promise<number> {
  let at = 0;
  while (at < body.length && !response.destroyed) {
    const rate = healed.aborted ? undefined : bytesPerSecond;
    const piece = body.subarray(at, at + (rate === undefined ? PIECE : Math.max(1, Math.floor(rate / 10))));
    at += piece.length;
    if (!response.write(piece)) await drained(response);
    if (rate === undefined) continue;
    await pause((piece.length / rate) * 1000, undefined, { ref: false, signal: healed }).catch(() => {});
  }
  return at;
}

function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      response.off("drain", done).off("close", done);
      resolve();
    };
    response.once("drain", done).once("close", done);
  });
}
