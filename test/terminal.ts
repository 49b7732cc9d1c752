import { type IPty, spawn } from "@lydell/node-pty";

/** A program on a terminal of its own, as a person would use it. */
export class Terminal implements AsyncDisposable {
  readonly exit: Promise<number>;
  readonly #pty: IPty;
  #text = "";
  #ended = false;
  readonly #waiting = new Set<() => void>();

  constructor(program: string, args: readonly string[], env: NodeJS.ProcessEnv) {
    const given = Object.entries(env).filter((row): row is [string, string] => row[1] !== undefined);
    this.#pty = spawn(program, [...args], { env: Object.fromEntries(given), cols: 100, rows: 30 });
    this.#pty.onData((data) => {
      this.#text += data;
      for (const check of this.#waiting) check();
    });
    this.exit = new Promise((resolve) => {
      this.#pty.onExit(({ exitCode, signal }) => {
        this.#ended = true;
        for (const check of this.#waiting) check();
        resolve(signal !== undefined && signal > 0 ? 128 + signal : exitCode);
      });
    });
  }

  get text(): string {
    return this.#text;
  }

  type(keys: string): void {
    this.#pty.write(keys);
  }

  resize(columns: number, rows: number): void {
    this.#pty.resize(columns, rows);
  }

  /** Resolves when the screen has shown what matches; rejects if the program ends first or takes too long. */
  shows(pattern: RegExp, timeoutMs = 15_000): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const check = (): void => {
      if (pattern.test(this.#text)) resolve();
      else if (this.#ended) reject(new Error(`ended without showing ${pattern}: ${JSON.stringify(this.#text)}`));
    };
    const timer = setTimeout(() => {
      reject(new Error(`did not show ${pattern} in time: ${JSON.stringify(this.#text)}`));
    }, timeoutMs);
    this.#waiting.add(check);
    check();
    return promise.finally(() => {
      clearTimeout(timer);
      this.#waiting.delete(check);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) this.#pty.kill("SIGKILL");
    await this.exit;
  }
}
