import { createReadStream, fstatSync, openSync } from "node:fs";
import { bar } from "../output/bar.ts";
import { writeAll } from "../output/print.ts";
import { isScreen } from "./terminal.ts";

const PIECE = 256 * 1024;

/** A file or standard input as it is sent; on a terminal a bar shows how far it got. */
export async function* sending(path: string | undefined, verb: string): AsyncGenerator<Uint8Array> {
  const fd = path === undefined ? 0 : openSync(path, "r");
  const status = fstatSync(fd);
  const total = status.isFile() ? status.size : 0;
  const shown = isScreen(2);
  let sent = 0;
  let drawn = 0;
  const draw = (end: string): void => {
    const room = (process.stderr.columns || 80) - verb.length - 2;
    writeAll(2, `\r\x1b[2K${verb} ${bar({ current: sent, total }, room)}${end}`);
  };
  for await (const chunk of createReadStream("", { fd, autoClose: path !== undefined, highWaterMark: PIECE })) {
    yield chunk as Uint8Array;
    sent += (chunk as Uint8Array).length;
    if (shown && Date.now() - drawn > 100) {
      drawn = Date.now();
      draw("");
    }
  }
  if (shown && sent > 0) draw("\n");
}
