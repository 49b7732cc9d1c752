import { createGunzip, createZstdDecompress, constants as zlib } from "node:zlib";
import { GantryError } from "../base/errors.ts";
import { FrameScanner } from "./zstd.ts";

/**
 * Undoes a compression in place, for threads that may wait: bytes are pushed in, and what they expand to is handed on
 * before the call returns. The buffer that `take` gets is used again; what `take` throws, `push` throws. Broken input
 * throws `invalid`. Memory is one output buffer and what the format itself needs (zstd: at most 128 MiB of window).
 */
export interface Expander {
  push(bytes: Uint8Array, take: (bytes: Buffer) => void): void;
  /** The input has ended: throws "unexpected EOF" if it should not have. */
  finish(take: (bytes: Buffer) => void): void;
  close(): void;
}

/** An expander of what Node undoes itself; the stream's first bytes tell which of them it is. */
export function expander(compression: "none" | "gzip" | "zstd"): Expander {
  if (compression === "gzip") return new GzipExpander();
  if (compression === "zstd") return new ZstdExpander();
  return {
    push: (bytes, take) => take(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)),
    finish: () => {},
    close: () => {},
  };
}

/** Small enough to stay in a processor's own cache between the decoder, the digest and the file. */
const OUTPUT = 1 << 17;
const NOTHING = new Uint8Array(0);

/**
 * What lies under Node's zlib streams. The streams themselves cost a third more: each piece takes a turn on another
 * thread and fresh memory. The calls are those that the streams make for `zlib.gunzipSync`.
 */
interface Handle {
  writeSync(
    flush: number,
    input: Uint8Array,
    inputAt: number,
    inputLength: number,
    output: Uint8Array,
    outputAt: number,
    outputLength: number,
  ): void;
  onerror: (message: string, errno: number, code: string) => void;
}

interface Native {
  readonly _handle: Handle;
  /** Bytes left of the output and of the input by the last call. */
  readonly _writeState: Uint32Array;
  close(): void;
}

class Decoder {
  readonly #native: Native;
  readonly #output = Buffer.allocUnsafeSlow(OUTPUT);
  #failure: GantryError | undefined;

  constructor(native: unknown, name: string) {
    this.#native = native as Native;
    this.#native._handle.onerror = (message, _errno, code) => {
      this.#failure = new GantryError(
        "invalid",
        code === "Z_BUF_ERROR" ? "unexpected EOF" : `cannot decompress ${name}: ${message}`,
      );
    };
  }

  run(flush: number, input: Uint8Array, take: (bytes: Buffer) => void): void {
    const { _handle: handle, _writeState: left } = this.#native;
    for (let at = 0; ; ) {
      handle.writeSync(flush, input, at, input.length - at, this.#output, 0, OUTPUT);
      if (this.#failure !== undefined) throw this.#failure;
      const [room = 0, rest = 0] = left;
      if (room < OUTPUT) take(this.#output.subarray(0, OUTPUT - room));
      at = input.length - rest;
      // With room left there is nothing more to come of this input.
      if (room > 0) return;
    }
  }

  close(): void {
    this.#native.close();
  }
}

class GzipExpander implements Expander {
  readonly #decoder = new Decoder(createGunzip(), "gzip");

  push(bytes: Uint8Array, take: (bytes: Buffer) => void): void {
    this.#decoder.run(zlib.Z_NO_FLUSH, bytes, take);
  }

  finish(take: (bytes: Buffer) => void): void {
    this.#decoder.run(zlib.Z_FINISH, NOTHING, take);
  }

  close(): void {
    this.#decoder.close();
  }
}

class ZstdExpander implements Expander {
  readonly #decoder = new Decoder(createZstdDecompress(), "zstd");
  #frame: FrameScanner | undefined;
  /** The beginning of a frame of which it isn't known yet whether it holds anything. */
  #begun: Buffer = Buffer.alloc(0);

  push(bytes: Uint8Array, take: (bytes: Buffer) => void): void {
    for (let rest = bytes; rest.length > 0; ) {
      this.#frame ??= new FrameScanner();
      const end = this.#frame.scan(rest);
      this.#expand(this.#frame, rest.subarray(0, end ?? rest.length), take);
      if (end === undefined) return;
      this.#frame = undefined;
      rest = rest.subarray(end);
    }
  }

  /** A decoder takes one frame after the other as they come; those that hold nothing are not worth its time. */
  #expand({ holds }: FrameScanner, piece: Uint8Array, take: (bytes: Buffer) => void): void {
    if (holds === undefined) {
      this.#begun = Buffer.concat([this.#begun, piece]);
      return;
    }
    if (this.#begun.length > 0) {
      const begun = this.#begun;
      this.#begun = Buffer.alloc(0);
      if (holds) this.#decoder.run(zlib.ZSTD_e_continue, begun, take);
    }
    if (holds) this.#decoder.run(zlib.ZSTD_e_continue, piece, take);
  }

  finish(): void {
    if (this.#frame !== undefined) throw new GantryError("invalid", "unexpected EOF");
  }

  close(): void {
    this.#decoder.close();
  }
}
