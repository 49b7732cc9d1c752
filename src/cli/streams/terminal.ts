import { fstatSync } from "node:fs";

// Major numbers of character devices (Linux, admin-guide/devices.txt).
const MEMORY = 1;
const FIRST_PTY = 136;
const LAST_PTY = 143;

/** Whether a descriptor is a terminal. Nearly always its kind of file says so: `node:tty` costs a start two milliseconds. */
export function isTerminal(fd: number): boolean {
  const major = characterDevice(fd);
  if (major === undefined || major === MEMORY) return false;
  return (major >= FIRST_PTY && major <= LAST_PTY) || process.getBuiltinModule("node:tty").isatty(fd);
}

/** Its major number; undefined for another file, or none. */
function characterDevice(fd: number): number | undefined {
  try {
    const stat = fstatSync(fd);
    return stat.isCharacterDevice() ? (stat.rdev >> 8) & 0xfff : undefined;
  } catch {
    return undefined;
  }
}

/** Whether lines on it can be redrawn: `TERM=dumb` says of a terminal that it has no way to. */
export function isScreen(fd: number): boolean {
  return isTerminal(fd) && process.env.TERM !== "dumb";
}

/** Rows and columns of the terminal on standard output; undefined if it is none. */
export function terminalSize(): readonly [number, number] | undefined {
  if (!isTerminal(1)) return undefined;
  const { rows, columns } = process.stdout;
  return rows > 0 && columns > 0 ? [rows, columns] : undefined;
}

/**
 * Puts the terminal on standard input into raw mode. The returned function restores it; so does any way this process
 * ends on its own, or by a signal that it can see. Unless `passesOutput` is false, output reaches it unchanged.
 */
export function enterRawMode(options: { readonly passesOutput?: boolean } = {}): () => void {
  if (!isTerminal(0)) return () => {};
  const signals = ["SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT"] as const;
  let raw = true;
  const restore = (): void => {
    if (!raw) return;
    raw = false;
    process.stdin.setRawMode(false);
    process.off("exit", restore);
    for (const signal of signals) process.off(signal, onSignal);
  };
  const onSignal = (signal: NodeJS.Signals): void => {
    restore();
    process.kill(process.pid, signal);
  };
  process.stdin.setRawMode(true);
  if (options.passesOutput ?? true) passOutputUnchanged();
  process.on("exit", restore);
  for (const signal of signals) process.on(signal, onSignal);
  return restore;
}

/**
 * What Node and Bun call raw still puts a carriage return before each line feed. The container's terminal has decided
 * on that already: a full-screen program may mean the bare one. `setRawMode(false)` undoes this too.
 */
function passOutputUnchanged(): void {
  // Loaded here since the module costs every start milliseconds.
  process.getBuiltinModule("node:child_process").spawnSync("stty", ["-opost"], {
    stdio: ["inherit", "ignore", "ignore"],
  });
}

/** Calls back with rows and columns now and at each change; the returned function ends it. */
export function watchSize(onSize: (rows: number, columns: number) => void): () => void {
  const tell = (): void => {
    const size = terminalSize();
    if (size !== undefined) onSize(size[0], size[1]);
  };
  // Node updates rows and columns on the stream's own event, which so comes first.
  process.stdout.on("resize", tell);
  tell();
  return () => void process.stdout.off("resize", tell);
}
