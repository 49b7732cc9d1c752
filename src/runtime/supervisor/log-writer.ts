import { realtimeNano } from "../../kernel/clock.ts";
import { FRAME_OVERHEAD, GAP, HEADER_SIZE, writeFrame } from "../log-format.ts";
import { FRAMES } from "../log-frames.ts";
import type { LogTarget } from "../process.ts";
import { JsonLogWriter } from "./json-log-writer.ts";
import type { OutputLog } from "./ports.ts";
import { RotatingFile } from "./rotating-file.ts";
import { chunk, DATA } from "./transfer.ts";

const GAP_BYTES = 8;

export function openLogWriter(target: LogTarget): OutputLog {
  return target.json === undefined ? new LogWriter(target) : new JsonLogWriter(target, target.json.attributes);
}

/**
 * Appends chunks to a bounded log. Nothing that goes wrong with the disk is thrown: what can't be written is counted
 * and dropped, and a gap is recorded once there is room again.
 */
export class LogWriter implements OutputLog {
  readonly #file: RotatingFile;
  #lost = 0n;

  constructor(target: LogTarget) {
    this.#file = new RotatingFile(target, FRAMES);
  }

  append(stream: 1 | 2, size: number): void {
    const length = size + FRAME_OVERHEAD;
    if (!this.#file.hasRoom(0, length)) this.#file.rotate();
    this.#file.reopen();
    if (this.#lost > 0n) this.#writeGap();
    if (this.#lost > 0n) {
      this.#lost += BigInt(size);
      return;
    }
    writeFrame(chunk.bytes, DATA, size, stream, realtimeNano());
    if (!this.#file.appendFrom(chunk.address + DATA - HEADER_SIZE, length)) this.#lost += BigInt(size);
  }

  close(): void {
    if (this.#file.isOpen && this.#lost > 0n) this.#writeGap();
    this.#file.close();
  }

  #writeGap(): void {
    const block = Buffer.alloc(GAP_BYTES + FRAME_OVERHEAD);
    block.writeBigUInt64LE(this.#lost, HEADER_SIZE);
    writeFrame(block, HEADER_SIZE, GAP_BYTES, GAP, realtimeNano());
    if (this.#file.append(block)) this.#lost = 0n;
  }
}
