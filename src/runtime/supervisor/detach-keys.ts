/** Finds a key sequence in typed bytes, however they are cut. Bytes of an unfinished match are held back. */
export class DetachKeys {
  readonly #keys: Buffer;
  #matched = 0;

  constructor(keys: Buffer) {
    this.#keys = keys;
  }

  /** What may go on to the process, and whether the sequence was completed. */
  filter(typed: Buffer): { readonly bytes: Buffer; readonly detached: boolean } {
    if (this.#keys.length === 0) return { bytes: typed, detached: false };
    const passed: number[] = [];
    for (const byte of typed) {
      if (byte !== this.#keys[this.#matched] && this.#matched > 0) {
        passed.push(...this.#keys.subarray(0, this.#matched));
        this.#matched = 0;
      }
      if (byte !== this.#keys[this.#matched]) passed.push(byte);
      else if (++this.#matched === this.#keys.length) return { bytes: Buffer.from(passed), detached: true };
    }
    return { bytes: Buffer.from(passed), detached: false };
  }
}
