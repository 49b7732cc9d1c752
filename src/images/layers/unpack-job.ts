import { closeSync, constants, createReadStream, openSync, readSync } from "node:fs";
import { GantryError, isKind, messageOf } from "../../base/errors.ts";
import { failpoint } from "../../base/failpoint.ts";
import type { Failure } from "../../base/failure.ts";
import { type Compression, compressionOf, decompress } from "../../oci/compression.ts";
import { Digester } from "../../oci/digest.ts";
import { parseDigest } from "../../oci/digest-format.ts";
import { type Expander, expander } from "../../oci/expander.ts";
import { LayerWriter } from "../../snapshots/layer-writer.ts";
import { PartClock } from "../layer-time.ts";
import { isDiskError } from "./disk-error.ts";
import { requireSpaceSync } from "./space.ts";
import type { Unpacked, UnpackOrder } from "./unpack-messages.ts";

const INPUT = 1 << 16;
const MAGIC = 16;
const LEAST_LIMIT = 2 ** 30;
/** Bytes written between two looks at the free space. */
const LOOK = 16 << 20;

/** Takes one layer's blob from a growing file, a step at a time. Synchronous: for a thread of its own. */
export class UnpackJob {
  readonly #order: UnpackOrder;
  readonly #clock = new PartClock("starved");
  readonly #fd: number;
  readonly #input = Buffer.allocUnsafeSlow(INPUT);
  readonly #blob: Digester | undefined;
  readonly #tar: Digester;
  #unpacked = 0;
  readonly #limit: number;
  #writer: LayerWriter | undefined;
  #expander: Expander | undefined;
  #compression: Compression | undefined;
  #available = 0;
  #read = 0;
  #looked = 0;
  #refusal: unknown;

  constructor(order: UnpackOrder) {
    this.#order = order;
    this.#blob = order.isVerified ? undefined : new Digester(parseDigest(order.digest).algorithm);
    this.#tar = new Digester(parseDigest(order.diffId).algorithm);
    this.#limit = Math.max(LEAST_LIMIT, order.size * order.maxRatio);
    this.#fd = openSync(order.path, constants.O_RDONLY);
    if (order.target !== undefined) this.#writer = new LayerWriter(order.target.folder, order.target.whiteouts);
  }

  /** Bytes of the blob that were taken. */
  get read(): number {
    return this.#read;
  }

  /** Nothing to do before more is available; of the first bytes all are needed at once. */
  get isWaiting(): boolean {
    if (this.isWhole) return false;
    return this.#read >= this.#available || this.#available < Math.min(MAGIC, this.#order.size);
  }

  get isWhole(): boolean {
    return this.#read >= this.#order.size;
  }

  offer(available: number): void {
    this.#available = Math.min(available, this.#order.size);
    if (this.#clock.part === "starved" && !this.isWaiting) this.#clock.enter("queued");
  }

  /** To be called when others have their turn. */
  pause(): void {
    this.#clock.enter(this.isWaiting ? "starved" : "queued");
  }

  /** Takes the next piece. */
  step(): void {
    const clock = this.#clock;
    clock.enter("read");
    const wanted = Math.min(INPUT, this.#available - this.#read);
    const count = readSync(this.#fd, this.#input, 0, wanted, this.#read);
    if (count === 0)
      throw new GantryError("internal", `cannot read ${this.#order.digest}: its file has been cut short`);
    const bytes = this.#input.subarray(0, count);
    this.#read += count;
    clock.enter("digest");
    this.#blob?.update(bytes);
    clock.enter("expand");
    this.#compression ??= compressionOf(bytes.subarray(0, MAGIC));
    const compression = this.#compression;
    // Others are undone when all of it is there, by their own programs.
    if (compression === "xz" || compression === "bzip2") return;
    this.#guarded(() => {
      this.#expander ??= expander(compression);
      this.#expander.push(bytes, this.#take);
    });
  }

  /** To be called when it is whole. */
  async finish(): Promise<Unpacked> {
    const compression = this.#compression;
    this.#clock.enter("expand");
    if (compression === "xz" || compression === "bzip2") await this.#runProgram();
    this.#guarded(() => {
      this.#expander?.finish(this.#take);
      this.#clock.enter("extract");
      this.#writer?.finish();
    });
    failpoint("layers.unpacked");
    const refusal = this.#refusal;
    if (refusal !== undefined) this.#writer?.empty();
    return {
      digest: this.#blob?.digest() ?? this.#order.digest,
      diffId: refusal === undefined ? this.#diffId() : undefined,
      refusal: refusal === undefined ? undefined : failureOf(refusal),
      size: this.#writer?.size ?? 0,
      hasRoot: this.#writer?.hasRoot ?? false,
      expanded: this.#unpacked,
      time: this.#clock.read(),
    };
  }

  /** Closes what is open. Of what was written nothing is left if the job has not come to its end. */
  close(options: { readonly empty: boolean }): void {
    this.#expander?.close();
    try {
      if (options.empty) this.#writer?.empty();
    } finally {
      this.#writer?.close();
      closeSync(this.#fd);
    }
  }

  /** Called by what expands, which goes on afterwards. */
  readonly #take = (bytes: Buffer): void => {
    try {
      this.#takeIn(bytes);
    } finally {
      this.#clock.enter("expand");
    }
  };

  #takeIn(bytes: Buffer): void {
    this.#unpacked += bytes.length;
    this.#clock.enter("tar-digest");
    if (!this.#isOneDigest()) this.#tar.update(bytes);
    this.#clock.enter("extract");
    const { digest, size, maxRatio } = this.#order;
    if (this.#unpacked > this.#limit) {
      throw new GantryError(
        "invalid",
        `cannot extract layer ${digest}: its ${size} bytes unpack to more than ${this.#limit}; the engine's setting max-unpack-ratio (${maxRatio}) allows no more`,
      );
    }
    const writer = this.#writer;
    if (writer === undefined) return;
    writer.write(bytes);
    // Of small files the blocks count, not the bytes, and those take more of the archive than of the disk.
    if (this.#unpacked - this.#looked < LOOK) return;
    this.#looked = this.#unpacked;
    requireSpaceSync(this.#order.target!.folder, `cannot extract layer ${digest}`);
  }

  /** What isn't compressed has the same digest as the blob. */
  #isOneDigest(): boolean {
    return this.#compression === "none" && this.#blob?.algorithm === this.#tar.algorithm;
  }

  #diffId(): string {
    return this.#isOneDigest() ? this.#blob!.digest() : this.#tar.digest();
  }

  /** What the archive is to blame for is told at the end, when it is known that it is the archive that was asked for. */
  #guarded(act: () => void): void {
    if (this.#refusal !== undefined) return;
    try {
      act();
    } catch (error) {
      if (!isKind(error, "invalid")) throw error;
      this.#refusal = error;
    }
  }

  async #runProgram(): Promise<void> {
    try {
      const { stream } = await decompress(createReadStream("", { fd: this.#fd, start: 0, autoClose: false }));
      for await (const bytes of stream as AsyncIterable<Buffer>) this.#take(bytes);
    } catch (error) {
      if (!isKind(error, "invalid")) throw error;
      this.#refusal = error;
    }
  }
}

export function failureOf(error: unknown): Failure {
  return {
    kind: error instanceof GantryError ? error.kind : undefined,
    message: messageOf(error),
    code: codeOf(error),
  };
}

function codeOf(error: unknown): string | undefined {
  if (isDiskError(error)) return (error as { code: string }).code;
  const { cause } = error as { cause?: unknown };
  return cause === undefined ? undefined : codeOf(cause);
}
