import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { GantryError, hasCode, messageOf } from "../base/errors.ts";
import { MOST_POLICY, type Policy, parsePolicy } from "./policy.ts";
import { MOST_KEY } from "./public-key.ts";

/** Reads a policy and the keys it names. Throws `invalid` with one sentence that names the file. */
export function loadPolicy(path: string): Policy {
  try {
    return parsePolicy(readSmall(path, MOST_POLICY), path, (key) => readKeyFile(key));
  } catch (error) {
    throw new GantryError("invalid", `cannot use the signature policy ${path}: ${messageOf(error)}`);
  }
}

/** The text of a key's file; throws a plain Error: "the key x cannot be read: why". */
export function readKeyFile(path: string): string {
  try {
    return readSmall(path, MOST_KEY).toString("latin1");
  } catch (error) {
    throw new Error(`the key ${path} cannot be read: ${messageOf(error)}`);
  }
}

/** A regular file of at most so many bytes: a pipe or a device in its place must not hold up who reads it. */
function readSmall(path: string, most: number): Buffer {
  let fd: number;
  try {
    // O_NONBLOCK, so that a FIFO is opened and then refused.
    fd = openSync(path, 0o4000);
  } catch (error) {
    if (hasCode(error, "ENOENT")) throw new Error("no such file");
    throw hasCode(error, "EACCES") ? new Error("permission denied") : error;
  }
  try {
    const status = fstatSync(fd);
    if (!status.isFile()) throw new Error("it is no regular file");
    if (status.size > most) throw new Error(`it is longer than ${most} bytes`);
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}
