import { writeSync } from "node:fs";
import { hasCode } from "../../base/errors.ts";
import { outputFailure } from "../streams/output-failure.ts";

/** Writes text or bytes to a descriptor before it returns; waits where the reader is slow. */
export function writeAll(fd: number, data: string | Uint8Array): void {
  const bytes = typeof data === "string" ? Buffer.from(data) : data;
  let done = 0;
  while (done < bytes.length) {
    try {
      done += writeSync(fd, bytes, done);
    } catch (error) {
      if (!hasCode(error, "EAGAIN")) throw outputFailure(fd, error);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
    }
  }
}

export function print(text: string): void {
  writeAll(1, text);
}

/** A line on standard output. */
export function printLine(text: string): void {
  writeAll(1, `${text}\n`);
}

/** A line on standard error. */
export function complain(text: string): void {
  writeAll(2, `${text}\n`);
}
