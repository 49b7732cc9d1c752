import { GantryError } from "../base/errors.ts";
import { type Shape, TOP, WrittenNumber } from "./shape.ts";

/** The largest JSON body that is read. */
export const BODY_LIMIT = 16 * 1024 * 1024;

/**
 * Checks a request's Content-Type against JSON. `hasBody` is false for a Content-Length of 0. Throws invalid in
 * Docker's words.
 */
export function checkJsonType(contentType: string | undefined, hasBody: boolean): void {
  const given = contentType ?? "";
  if (given === "" && !hasBody) return;
  const shown = given.slice(0, 200);
  const media = given.split(";")[0]!.trim().toLowerCase();
  if (media === "") throw new GantryError("invalid", `malformed Content-Type header (${shown}): mime: no media type`);
  if (!/^[!#$%&'*+.^_`|~0-9a-z-]+(\/[!#$%&'*+.^_`|~0-9a-z-]+)?$/.test(media)) {
    throw new GantryError(
      "invalid",
      `malformed Content-Type header (${shown}): mime: unexpected content after media type`,
    );
  }
  if (media !== "application/json") {
    throw new GantryError("invalid", `unsupported Content-Type header (${shown}): must be 'application/json'`);
  }
}

/** Reads a JSON document into a shape. Throws nothing but invalid. */
export function decodeJson<T>(shape: Shape<T>, document: string): T {
  return shape.read(parseJson(document), TOP);
}

/** JSON to a value, numbers that would lose something as `WrittenNumber`. Throws invalid. */
function parseJson(document: string): unknown {
  if (document.trim() === "") {
    throw new GantryError("invalid", "invalid JSON: got EOF while reading request body");
  }
  // The reviver costs more than the parsing, so it is used only where such a number can be: a digit before a point,
  // an exponent or fifteen more digits, strings included.
  const exact = /\d[.eE]|\d{16}|-0/.test(document);
  try {
    return exact ? (JSON.parse(document, keepWritten) as unknown) : (JSON.parse(document) as unknown);
  } catch (error) {
    throw new GantryError("invalid", syntaxMessage(error));
  }
}

function keepWritten(_key: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== "number" || context?.source === undefined) return value;
  const plain = /^-?\d+$/.test(context.source) && Number.isSafeInteger(value);
  return plain ? value : new WrittenNumber(context.source);
}

function syntaxMessage(error: unknown): string {
  if (error instanceof RangeError) return "invalid JSON: exceeded max depth";
  const message = error instanceof Error ? error.message : "";
  if (message.startsWith("Unexpected non-whitespace character after JSON")) return "unexpected content after JSON";
  if (/end of JSON input|^Unterminated|end of data/.test(message)) return "invalid JSON: unexpected EOF";
  const token = /^Unexpected token '(.{1,2})'/su.exec(message)?.[1];
  if (token !== undefined) return `invalid JSON: invalid character '${token}' looking for beginning of value`;
  return `invalid JSON: ${message.replace(/ \(line .*$/s, "").slice(0, 100)}`;
}
