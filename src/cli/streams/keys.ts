/** What docker detaches with unless told otherwise: control-p, control-q. */
export const DEFAULT_KEYS = "ctrl-p,ctrl-q";

/** Reads `ctrl-p,q`: letters as they are, `ctrl-` with a-z or one of `@[\]^_`; the answer is the bytes. */
export function parseKeys(text: string): readonly number[] {
  return text.split(",").map((key) => {
    if (key.length === 1) return key.charCodeAt(0);
    const control = /^ctrl-([a-zA-Z@[\\\]^_])$/.exec(key)?.[1];
    if (control === undefined) throw new Error(`Unknown character: '${key}'`);
    return control.toUpperCase().charCodeAt(0) & 0x1f;
  });
}

/**
 * Watches typed bytes for the keys that detach. A beginning of them is held back until the next byte tells; without
 * the keys everything passes.
 */
export class KeyWatch {
  readonly #keys: readonly number[];
  #matched = 0;

  constructor(keys: readonly number[]) {
    this.#keys = keys;
  }

  /** What to send on, and whether the keys were met. */
  take(data: Uint8Array): { readonly send: Uint8Array; readonly detach: boolean } {
    if (this.#keys.length === 0) return { send: data, detach: false };
    if (this.#matched === 0 && !data.includes(this.#keys[0] as number)) return { send: data, detach: false };
    const out: number[] = [];
    for (const byte of data) {
      if (byte !== this.#keys[this.#matched]) {
        out.push(...this.#keys.slice(0, this.#matched));
        this.#matched = 0;
      }
      if (byte === this.#keys[this.#matched]) {
        this.#matched++;
        if (this.#matched === this.#keys.length) return { send: Uint8Array.from(out), detach: true };
      } else {
        out.push(byte);
      }
    }
    return { send: Uint8Array.from(out), detach: false };
  }
}
