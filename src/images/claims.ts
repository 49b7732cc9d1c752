import { KeyedLock } from "../base/keyed-lock.ts";

const SWEEPING = "sweeping";

/**
 * Keeps what an operation under way needs from being removed by another. A snapshot is claimed by its name before one
 * looks whether it is there. A blob's name is known only when it is written, so that no blob is removed while any
 * operation is open: its removal is put off to the end of the last.
 */
export class Claims {
  readonly #chains = new Map<string, number>();
  readonly #putOff = new Set<string>();
  readonly #lock = new KeyedLock();
  #open = 0;

  /** Opens an operation; its end is the caller's, by disposal. */
  async open(): Promise<ClaimScope> {
    const chains: string[] = [];
    const blobs: string[] = [];
    // Opened between two removals, never in the middle of one.
    await this.#lock.run(SWEEPING, () => this.#open++);
    return {
      chains,
      blobs,
      claimChain: (chainId) => {
        chains.push(chainId);
        this.#chains.set(chainId, (this.#chains.get(chainId) ?? 0) + 1);
      },
      noteBlob: (digest) => void blobs.push(digest),
      [Symbol.dispose]: () => {
        this.#open--;
        for (const chainId of chains) {
          const left = (this.#chains.get(chainId) ?? 1) - 1;
          if (left === 0) this.#chains.delete(chainId);
          else this.#chains.set(chainId, left);
        }
      },
    };
  }

  isClaimed(chainId: string): boolean {
    return this.#chains.has(chainId);
  }

  /** Runs `act` while nobody else makes or removes this snapshot. */
  async exclusively<T>(chainId: string, act: () => Promise<T>): Promise<T> {
    return this.#lock.run(chainId, act);
  }

  /** Runs `remove` for these blobs and all that were put off, or puts them off too. */
  async removeBlobs(blobs: Iterable<string>, remove: (digest: string) => Promise<void>): Promise<void> {
    for (const digest of blobs) this.#putOff.add(digest);
    await this.#lock.run(SWEEPING, async () => {
      if (this.#open > 0) return;
      for (const digest of this.#putOff) {
        await remove(digest);
        this.#putOff.delete(digest);
      }
    });
  }
}

/** One operation's claims. */
export interface ClaimScope extends Disposable {
  claimChain(chainId: string): void;
  /** Says that the operation wrote or uses a blob: what has no record at the end is removed. */
  noteBlob(digest: string): void;
  readonly chains: readonly string[];
  readonly blobs: readonly string[];
}
