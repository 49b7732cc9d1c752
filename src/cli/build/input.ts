import { GantryError } from "../../base/errors.ts";

/** What standard input brings, read at most once. */
export interface Input {
  stream(): AsyncIterable<Uint8Array>;
  readonly isTerminal: boolean;
}

const MAX_DOCKERFILE = 20 << 20;

/** A Dockerfile that is piped in. */
export async function readInput(input: Input): Promise<Buffer> {
  if (input.isTerminal) throw new GantryError("invalid", "stdin is a terminal: give the Dockerfile by a pipe");
  return whole(input.stream());
}

/** All of it, up to 20 MB. */
export async function whole(bytes: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of bytes) {
    size += piece.length;
    if (size > MAX_DOCKERFILE)
      throw new GantryError("invalid", "the Dockerfile on standard input is larger than 20 MB");
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

const HEAD = 512;

/** The first bytes, and all of them. */
export async function beginning(
  bytes: AsyncIterable<Uint8Array>,
): Promise<{ head: Buffer; rest: AsyncIterable<Uint8Array> }> {
  const iterator = bytes[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  while (head.length < HEAD) {
    const { value, done } = await iterator.next();
    if (done === true) break;
    head = Buffer.concat([head, value]);
  }
  async function* rest(): AsyncGenerator<Uint8Array> {
    if (head.length > 0) yield head;
    for (;;) {
      const { value, done } = await iterator.next();
      if (done === true) return;
      yield value;
    }
  }
  return { head, rest: rest() };
}

const MAGICS = ["1f8b08", "425a68", "fd377a585a00", "28b52ffd"];

/** A tar, plain or compressed; else it is a Dockerfile. */
export function isArchive(head: Buffer): boolean {
  const hex = head.toString("hex", 0, 6);
  return (
    MAGICS.some((magic) => hex.startsWith(magic)) || head.toString("latin1", 257, 262) === "ustar" || isOldTar(head)
  );
}

/** Of before POSIX: the header's sum is right. */
function isOldTar(head: Buffer): boolean {
  if (head.length < HEAD) return false;
  const told = Number.parseInt(head.toString("latin1", 148, 156).replace(/\0.*$/, "").trim(), 8);
  let sum = 8 * 32;
  for (const [index, byte] of head.subarray(0, HEAD).entries()) if (index < 148 || index >= 156) sum += byte;
  return told === sum;
}
