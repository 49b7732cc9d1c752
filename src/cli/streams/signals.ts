import { constants } from "node:os";

/** Not passed on: the runtime's own, those about this process's terminal or children, and those nobody can catch. */
const KEPT = new Set([
  "SIGCHLD",
  "SIGPIPE",
  "SIGURG",
  "SIGWINCH",
  "SIGKILL",
  "SIGSTOP",
  "SIGPROF",
  "SIGSEGV",
  "SIGBUS",
  "SIGFPE",
  "SIGILL",
  "SIGABRT",
  "SIGIOT",
  "SIGTRAP",
  "SIGSYS",
  "SIGSTKFLT",
  "SIGPOLL",
  "SIGUNUSED",
]);

/** Passes this process's signals on until the returned function is called; names are without `SIG`. */
export function forwardSignals(send: (name: string) => void): () => void {
  const handlers: [NodeJS.Signals, () => void][] = [];
  for (const signal of Object.keys(constants.signals) as NodeJS.Signals[]) {
    if (KEPT.has(signal)) continue;
    const handler = (): void => send(signal.slice(3));
    try {
      process.on(signal, handler);
      handlers.push([signal, handler]);
    } catch {
      // A runtime may refuse one that it needs itself; then that one isn't passed on.
    }
  }
  return () => {
    for (const [signal, handler] of handlers) process.off(signal, handler);
  };
}
