import { ExitError } from "../command.ts";
import { writeAll } from "../output/print.ts";
import { enterRawMode, isTerminal } from "../streams/terminal.ts";
import { HUB_KEY } from "./address.ts";

const INTERRUPTED = 130;

/** Asks at the terminal for what isn't given. `known` is the user name that an empty answer means. */
export async function askForLogin(given: {
  readonly key: string;
  readonly username?: string;
  readonly password?: string;
  readonly known?: string;
}): Promise<{ readonly username: string; readonly password: string }> {
  let { username = "", password = "" } = given;
  if (username !== "" && password !== "") return { username, password };
  if (!isTerminal(0)) throw new ExitError(1, "Error: Cannot perform an interactive login from a non TTY device");
  using keyboard = new Keyboard();
  if (username === "") {
    if (given.key === HUB_KEY) {
      say("Log in with your Docker ID or email address. An access token may take the place of the password:\n");
      say("https://docs.docker.com/go/access-tokens/\n\n");
    }
    say(given.known ? `Username (${given.known}): ` : "Username: ");
    const line = await keyboard.line();
    if (line === undefined) say("\n");
    username = (line ?? "").trim() || (given.known ?? "");
    if (username === "") throw new ExitError(1, "Error: Non-null Username Required");
  }
  if (password === "") {
    password = await keyboard.hiddenLine("Password: ");
    if (password === "") throw new ExitError(1, "Error: Password Required");
  }
  return { username, password };
}

/** Secrets that a person types, such as a key's password, an answer to each question; they may be empty. */
export async function askForSecrets(questions: readonly string[]): Promise<string[]> {
  using keyboard = new Keyboard();
  const answers: string[] = [];
  for (const question of questions) answers.push(await keyboard.hiddenLine(question));
  return answers;
}

/** Where a person sees it, also when standard output goes elsewhere. */
function say(text: string): void {
  writeAll(isTerminal(1) ? 1 : 2, text);
}

/** Lines that a person types. What was typed beyond a line is kept for the next one. */
class Keyboard implements Disposable {
  #held: Buffer = Buffer.alloc(0);
  readonly #pieces: AsyncIterator<Buffer>;

  constructor() {
    this.#pieces = process.stdin[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }

  /** A line without its end; undefined if there is none any more. */
  async line(): Promise<string | undefined> {
    for (;;) {
      const end = this.#held.indexOf("\n");
      if (end !== -1) return this.#take(end).toString("utf8").replace(/\r$/, "");
      const { value, done } = await this.#pieces.next();
      if (done) return this.#held.length === 0 ? undefined : this.#take(this.#held.length).toString("utf8");
      this.#held = Buffer.concat([this.#held, value]);
    }
  }

  /** A line that the terminal doesn't show, edited as terminals do. The end of the input is its end. */
  async hiddenLine(question: string): Promise<string> {
    // First of all: whoever is asked may be quick to answer.
    const restore = enterRawMode({ passesOutput: false });
    const typed: string[] = [];
    try {
      say(question);
      for (;;) {
        const key = await this.#key();
        if (key === undefined || key === "\r" || key === "\n") break;
        if (key === "\x04" && typed.length === 0) break;
        if (key === "\x03") throw new ExitError(INTERRUPTED);
        if (key === "\x7f" || key === "\b") typed.pop();
        else if (key === "\x15") typed.length = 0;
        else if (key >= " ") typed.push(key);
      }
    } finally {
      restore();
      say("\n");
    }
    return typed.join("");
  }

  [Symbol.dispose](): void {
    process.stdin.pause();
  }

  /** A character; keys that send more, as the arrows, are one. */
  async #key(): Promise<string | undefined> {
    if (!(await this.#hold(1))) return undefined;
    const first = this.#held[0] ?? 0;
    if (first === 0x1b) {
      const sequence = /^\x1b(?:[[O][0-9;]*[A-Za-z~])?/.exec(this.#held.toString("latin1"))?.[0] ?? "\x1b";
      return this.#take(sequence.length, 0).toString("latin1");
    }
    const length = first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    await this.#hold(length);
    return this.#take(length, 0).toString("utf8");
  }

  /** False if the input ends before so many bytes are there. */
  async #hold(length: number): Promise<boolean> {
    while (this.#held.length < length) {
      const { value, done } = await this.#pieces.next();
      if (done) return false;
      this.#held = Buffer.concat([this.#held, value]);
    }
    return true;
  }

  /** Cuts off the first bytes and as many after them as are to be left out. */
  #take(length: number, separator = 1): Buffer {
    const taken = this.#held.subarray(0, length);
    this.#held = this.#held.subarray(length + separator);
    return taken;
  }
}
