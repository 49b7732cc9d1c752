import { hasCode } from "../base/errors.ts";
import { check, errnoError, libc } from "./libc.ts";

const SEEK_SET = 0;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

const lseek = libc("int64_t lseek(int fd, int64_t offset, int whence)");

/** A part of a file that holds data; what is between such parts is a hole. In bytes. */
export interface DataRange {
  readonly offset: number;
  readonly length: number;
}

/**
 * Where an open regular file holds data, in order, as the file system tells it (lseek(2)); undefined if there are more
 * than `limit` such parts. The descriptor's position is its start afterwards.
 */
export function dataRanges(fd: number, size: number, limit: number): DataRange[] | undefined {
  const ranges: DataRange[] = [];
  try {
    for (let at = 0; at < size; ) {
      const start = Number(lseek(fd, at, SEEK_DATA));
      if (start < 0) {
        const error = errnoError("lseek");
        // ENXIO: a hole reaches to the end.
        if (hasCode(error, "ENXIO")) break;
        throw error;
      }
      if (start >= size) break;
      const end = Math.min(check("lseek", Number(lseek(fd, start, SEEK_HOLE))), size);
      if (end <= start) break;
      if (ranges.length === limit) return undefined;
      ranges.push({ offset: start, length: end - start });
      at = end;
    }
    return ranges;
  } finally {
    lseek(fd, 0, SEEK_SET);
  }
}
