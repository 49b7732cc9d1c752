/** Bytes of one slab. */
export const SLAB_SIZE: number = 512 << 10;
const MOST_FREE = 16;
const KEPT_MS = 10_000;

const free: Buffer[] = [];
const lent = new WeakSet<ArrayBufferLike>();
const timer = setTimeout(() => free.splice(0), KEPT_MS).unref();

/**
 * Memory for one stretch of a stream. A gigabyte that passes through new buffers costs more in page faults and
 * collection than in all else that reads it: whoever is done with a slab gives it back.
 */
export function takeSlab(): Buffer {
  const slab = free.pop() ?? Buffer.allocUnsafeSlow(SLAB_SIZE);
  lent.add(slab.buffer);
  return slab;
}

/**
 * Says that nobody will look at these bytes again: if they lie in a slab, it is used anew, for other bytes. Other
 * buffers are left alone, so that it may be called with any. Who doesn't call it leaves the slab to the collector.
 */
export function giveBackSlab(piece: Uint8Array): void {
  if (!lent.delete(piece.buffer) || free.length >= MOST_FREE) return;
  free.push(Buffer.from(piece.buffer, 0, SLAB_SIZE));
  timer.refresh();
}
