import { readFileSync } from "node:fs";
import { request as httpRequest, type IncomingMessage, type RequestOptions } from "node:http";
import { request as httpsRequest } from "node:https";
import { setTimeout as pause } from "node:timers/promises";
import { GantryError, hasCode, messageOf } from "../base/errors.ts";
import type { PluginAddress, PluginTls } from "./plugin-directory.ts";

const ACCEPT = "application/vnd.docker.plugins.v1.2+json";
/** What plugins over a local socket are told as their host. */
const LOCAL_HOST = "plugin.moby.localhost";
const LONGEST_ANSWER = 4 << 20;
const LONGEST_ERROR = 2000;
const FIRST_WAIT_MS = 1000;

/** How long a call may take, and whether a plugin that isn't there may come yet. */
export interface Patience {
  /** Of one try, from connecting to the last byte. */
  readonly timeoutMs: number;
  /** Of all tries to reach it, which wait twice as long each time; 0 for one try. */
  readonly retryMs: number;
  readonly signal?: AbortSignal;
}

/** A plugin's refusal in its own words. */
export class PluginRefusal extends Error {}

/**
 * One call of the plugin protocol: a POST with a JSON object, answered by one. Tried again while nobody listens or the
 * connection is dropped before an answer. Throws PluginRefusal for what the plugin says by `Err` or by a status, and
 * `unavailable` with one sentence for all else.
 */
export async function callPlugin(
  name: string,
  address: PluginAddress,
  method: string,
  body: object | undefined,
  patience: Patience,
): Promise<Readonly<Record<string, unknown>>> {
  const deadline = Date.now() + patience.retryMs;
  for (let wait = Math.min(FIRST_WAIT_MS, Math.max(patience.retryMs / 4, 1)); ; wait *= 2) {
    try {
      const answer = await post(address, method, body === undefined ? "" : `${JSON.stringify(body)}\n`, patience);
      return parse(answer, method);
    } catch (error) {
      if (error instanceof PluginRefusal) throw error;
      patience.signal?.throwIfAborted();
      if (!isGone(error) || Date.now() + wait >= deadline) throw failed(name, method, error, patience);
      await pause(wait, undefined, patience.signal && { signal: patience.signal });
    }
  }
}

interface RawAnswer {
  readonly status: number;
  readonly text: string;
}

class Unanswered extends Error {}

function post(address: PluginAddress, method: string, body: string, patience: Patience): Promise<RawAnswer> {
  const options: RequestOptions = {
    ...(address.kind === "unix" ? { socketPath: address.path } : { host: address.host, port: address.port }),
    method: "POST",
    path: `/${method}`,
    agent: false,
    headers: {
      Accept: ACCEPT,
      "Content-Length": Buffer.byteLength(body),
      ...(address.kind === "unix" && { Host: LOCAL_HOST }),
    },
  };
  const tls = address.kind === "tcp" ? address.tls : undefined;
  const { promise, resolve, reject } = Promise.withResolvers<RawAnswer>();
  const sent = tls === undefined ? httpRequest(options) : httpsRequest({ ...options, ...tlsOptions(tls) });
  const timer = setTimeout(() => sent.destroy(new Unanswered()), patience.timeoutMs);
  const abort = () => sent.destroy(new Error("given up"));
  patience.signal?.addEventListener("abort", abort, { once: true });
  let isAnswered = false;
  sent.once("response", (response) => {
    isAnswered = true;
    readAnswer(response).then(resolve, reject);
  });
  sent.once("error", reject);
  // What is no answer and no error either, as an offer to speak another protocol, ends with the connection.
  sent.once("close", () => isAnswered || reject(new Error("it ended the connection without an answer")));
  sent.end(body);
  return promise.finally(() => {
    clearTimeout(timer);
    patience.signal?.removeEventListener("abort", abort);
    sent.destroy();
  });
}

async function readAnswer(response: IncomingMessage): Promise<RawAnswer> {
  const pieces: Buffer[] = [];
  let length = 0;
  try {
    for await (const piece of response as AsyncIterable<Buffer>) {
      length += piece.length;
      if (length > LONGEST_ANSWER) throw new Error(`its answer is longer than ${LONGEST_ANSWER} bytes`);
      pieces.push(piece);
    }
  } catch (error) {
    // It did what it was asked for, or refused: that isn't to be asked for again.
    throw hasCode(error, "ECONNRESET") ? new Error("its answer was cut off", { cause: error }) : error;
  }
  return { status: response.statusCode ?? 0, text: Buffer.concat(pieces).toString() };
}

function tlsOptions({ ca, cert, key, skipVerify }: PluginTls): object {
  return {
    ...(ca !== undefined && { ca: readFileSync(ca) }),
    ...(cert !== undefined && { cert: readFileSync(cert) }),
    ...(key !== undefined && { key: readFileSync(key) }),
    rejectUnauthorized: !skipVerify,
  };
}

function parse({ status, text }: RawAnswer, method: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = text.trim() === "" ? {} : JSON.parse(text);
  } catch {
    value = undefined;
  }
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  const said = isObject ? (value as { Err?: unknown }).Err : undefined;
  if (status !== 200) {
    const words = typeof said === "string" && said !== "" ? said : text.trim() || `status ${status}`;
    throw new PluginRefusal(`${method}: ${oneLine(words)}`);
  }
  if (typeof said === "string" && said !== "") throw new PluginRefusal(oneLine(said));
  if (!isObject) throw new Error("its answer is no JSON object");
  return value as Readonly<Record<string, unknown>>;
}

function oneLine(text: string): string {
  return text
    .slice(0, LONGEST_ERROR)
    .replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, " ")
    .trim();
}

/** Nobody there, or gone before it answered. */
function isGone(error: unknown): boolean {
  return hasCode(error, "ENOENT", "ECONNREFUSED", "ECONNRESET", "EPIPE", "EAGAIN");
}

function failed(name: string, method: string, error: unknown, { timeoutMs }: Patience): GantryError {
  const why =
    error instanceof Unanswered
      ? `no answer within ${timeoutMs / 1000} seconds`
      : oneLine(messageOf(error)) || "it failed";
  return new GantryError("unavailable", `the volume plugin ${JSON.stringify(name)} failed at ${method}: ${why}`, {
    cause: error,
  });
}
