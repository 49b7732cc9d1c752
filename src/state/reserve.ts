import { closeSync, constants, fstatSync, openSync, rmSync, writeSync } from "node:fs";
import { hasCode } from "../base/errors.ts";

/** What the log grows to between two checkpoints (1000 pages), and room for one long transaction. */
const BYTES = 5 << 20;
/** What opening needs besides: the log's index. */
const INDEX = 1 << 17;
const PIECE = Buffer.alloc(1 << 18);

/**
 * Room that records keep to themselves, so that on a full disk something can still be removed. The write-ahead log is
 * written in place from its beginning after each checkpoint: while it is open it is made so long at once, what lies past
 * its last frame counts for nothing. It goes when the database is closed; then a file beside it keeps the room, and gives
 * it back to who opens it next. On a file system that writes nothing in place it is no more than that file.
 */
export class Reserve {
  readonly #log: string;
  readonly #file: string;

  constructor(path: string) {
    this.#log = `${path}-wal`;
    this.#file = `${path}-reserve`;
  }

  /** To be called before the database is opened, which takes room itself. */
  release(): void {
    rmSync(this.#file, { force: true });
  }

  /** To be called when it is open, and the log is there. */
  holdInLog(): void {
    fill(this.#log, BYTES);
  }

  /** To be called when it is closed. */
  holdInFile(): void {
    fill(this.#file, BYTES + INDEX);
  }
}

/** Makes a file so long by what takes room, or as long as the disk allows. */
function fill(path: string, length: number): void {
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_WRONLY | constants.O_CREAT, 0o600);
    for (let at = fstatSync(fd).size; at < length; )
      at += writeSync(fd, PIECE, 0, Math.min(PIECE.length, length - at), at);
  } catch (error) {
    if (!hasCode(error, "ENOSPC", "EDQUOT", "EROFS", "EFBIG")) throw error;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
