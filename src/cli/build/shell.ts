import type { BuildShell } from "../../api/build-shell.ts";
import type { Call } from "../command.ts";
import { complain } from "../output/print.ts";
import { DEFAULT_KEYS } from "../streams/keys.ts";
import { runSession } from "../streams/session.ts";
import { isTerminal, terminalSize, watchSize } from "../streams/terminal.ts";

/** A terminal in the step that failed, with its file system, environment and mounts. Ends when the shell does. */
export async function openFailedStep(call: Call, ref: string): Promise<void> {
  if (!isTerminal(0) || !isTerminal(1)) {
    complain("--on-failure shell needs a terminal: the failed step is not opened");
    return;
  }
  const size = terminalSize();
  complain("\nA shell in the step that failed; what is changed here is not kept. It ends with exit or Ctrl-D.");
  const hijacked = await call.client.hijack(`/gantry/build/${ref}/shell`, {
    query: size === undefined ? {} : { h: size[0], w: size[1] },
  });
  const stop = watchSize((rows, columns) => {
    void call.client
      .done("POST", `/gantry/build/${ref}/shell/resize`, { query: { h: rows, w: columns } })
      .catch(() => {});
  });
  try {
    await runSession({ hijacked, tty: true, stdin: true, stdout: true, stderr: true, detachKeys: DEFAULT_KEYS });
  } finally {
    stop();
  }
  const { ExitCode } = await call.client.json<BuildShell>("GET", `/gantry/build/${ref}/shell`);
  if (ExitCode !== null && ExitCode !== 0) complain(`the shell ended with ${ExitCode}`);
}
