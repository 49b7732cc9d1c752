import { request as httpRequest } from "node:http";

/** A call that is made of Gantry and of Docker's own engine alike. */
export interface Asked {
  /** Method and path, without a version: `POST /containers/create?name=a`. */
  readonly line: string;
  /** JSON, or a text as it is. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What an engine answered, whole: parsed if it was JSON. */
export interface Answer {
  readonly status: number;
  readonly text: string;
  readonly value: unknown;
}

/** One call, as `POST /containers/create?name=a` without a version, on a connection of its own. */
export function ask(socketPath: string, { line, body, headers: own }: Asked, version: string): Promise<Answer> {
  const [method, path = ""] = line.split(" ");
  const payload = body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
  const headers = { ...(payload !== undefined && { "Content-Type": "application/json" }), ...own };
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const sent = httpRequest(
    { socketPath, method, path: `/v${version}${encodeURI(path)}`, headers, agent: false, timeout: 20_000 },
    (response) => {
      const pieces: Buffer[] = [];
      response.on("data", (piece: Buffer) => pieces.push(piece));
      response.once("error", reject);
      response.once("end", () => {
        const text = Buffer.concat(pieces).toString();
        const isJson = response.headers["content-type"]?.startsWith("application/json") === true;
        resolve({ status: response.statusCode ?? 0, text, value: isJson && text !== "" ? parsed(text) : text });
      });
    },
  );
  sent.once("timeout", () => sent.destroy(new Error("no answer in time")));
  sent.once("error", reject).end(payload);
  return promise;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** A refusal's words without what no two engines have in common. */
export function wordsOf(value: unknown): string {
  const message = (value as { message?: unknown } | null)?.message;
  return String(message ?? value)
    .replaceAll(/[0-9a-f]{64}|[0-9a-f]{12}/g, "ID")
    .trim()
    .toLowerCase();
}

/** Where two answers have other keys or other types. Fields that only the first has are no difference. */
export function differences(ours: unknown, theirs: unknown, at: string): string[] {
  const [mine, other] = [kindOf(ours), kindOf(theirs)];
  if (mine !== other) return [`${at || "."}: ${mine} instead of ${other}`];
  if (mine === "array") {
    const [first, second] = [(ours as unknown[])[0], (theirs as unknown[])[0]];
    return first === undefined || second === undefined ? [] : differences(first, second, `${at}[]`);
  }
  if (mine !== "object") return [];
  const [left, right] = [ours as Record<string, unknown>, theirs as Record<string, unknown>];
  return Object.keys(right).flatMap((key) => {
    const path = at === "" ? key : `${at}.${key}`;
    return key in left ? differences(left[key], right[key], path) : [`${path}: missing`];
  });
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

/** One call of bytes, as an archive is got or sent. */
export function bytesOf(socketPath: string, method: string, path: string, body?: Buffer): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const headers = body === undefined ? {} : { "Content-Type": "application/x-tar" };
  const sent = httpRequest({ socketPath, method, path, headers, agent: false }, (response) => {
    const pieces: Buffer[] = [];
    response.on("data", (piece: Buffer) => pieces.push(piece));
    response.once("end", () => resolve(Buffer.concat(pieces))).once("error", reject);
  });
  sent.once("error", reject).end(body);
  return promise;
}
