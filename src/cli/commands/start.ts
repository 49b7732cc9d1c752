import type { ContainerInspect } from "../../api/container.ts";
import { type Call, type Command, ExitError } from "../command.ts";
import { errorLine } from "../error-line.ts";
import { boolFlag, textFlag } from "../flags/spec.ts";
import { complain, printLine } from "../output/print.ts";
import { startFailureCode } from "../run/exit-code.ts";
import { beginWait } from "../run/wait.ts";
import { DEFAULT_KEYS } from "../streams/keys.ts";
import { runSession } from "../streams/session.ts";
import { forwardSignals } from "../streams/signals.ts";
import { isTerminal } from "../streams/terminal.ts";
import { segment } from "./lifecycle.ts";
import { resizer } from "./run.ts";

export const start: Command = {
  usage: "[OPTIONS] CONTAINER [CONTAINER...]",
  args: { rule: "at-least", count: 1 },
  flags: [
    boolFlag("a,attach", "Attach standard output and error, and pass signals on"),
    textFlag("checkpoint", "Restore from this checkpoint", { hidden: true }),
    textFlag("checkpoint-dir", "Folder of the checkpoints", { hidden: true }),
    textFlag("detach-keys", "Keys that detach from the container"),
    boolFlag("i,interactive", "Attach the container's standard input"),
  ],
  async run(call) {
    if (call.flags.bool("attach") || call.flags.bool("interactive")) {
      if (call.args.length > 1) throw new ExitError(1, "you cannot start and attach multiple containers at once");
      return await startAttached(call, call.args[0] ?? "");
    }
    const query = checkpointQuery(call);
    if (query.checkpoint !== "" && call.args.length > 1) {
      throw new ExitError(1, "you cannot restore multiple containers at once");
    }
    const failed: string[] = [];
    for (const name of call.args) {
      try {
        await call.client.done("POST", `/containers/${segment(name)}/start`, { query });
        printLine(name);
      } catch (error) {
        complain(errorLine(error));
        failed.push(name);
      }
    }
    if (failed.length > 0) throw new ExitError(1, `Error: failed to start containers: ${failed.join(", ")}`);
    return 0;
  },
};

function checkpointQuery(call: Call): { readonly checkpoint: string; readonly "checkpoint-dir": string } {
  return { checkpoint: call.flags.text("checkpoint"), "checkpoint-dir": call.flags.text("checkpoint-dir") };
}

async function startAttached(call: Call, name: string): Promise<number> {
  const { client, flags } = call;
  const container = await client.json<ContainerInspect>("GET", `/containers/${segment(name)}/json`);
  const { Tty: tty, OpenStdin } = container.Config;
  const stdin = flags.bool("interactive") && OpenStdin;
  if (tty && stdin && !isTerminal(0)) throw new ExitError(1, "the input device is not a TTY");
  const keys = flags.text("detach-keys") || (call.settings.config().detachKeys ?? "");
  const stopSignals = tty
    ? () => {}
    : forwardSignals(
        (signal) => void client.done("POST", `/containers/${container.Id}/kill`, { query: { signal } }).catch(() => {}),
      );
  try {
    const attaching = client.hijack(`/containers/${container.Id}/attach`, {
      query: { stream: true, stdin, stdout: true, stderr: true, detachKeys: keys },
    });
    const waiting = beginWait(client, container.Id, container.HostConfig.AutoRemove ? "removed" : "next-exit");
    waiting.catch(() => {});
    const hijacked = await attaching;
    const wait = await waiting;
    const session = runSession({ hijacked, tty, stdin, stdout: true, stderr: true, detachKeys: keys || DEFAULT_KEYS });
    session.catch(() => {});
    try {
      await client.done("POST", `/containers/${container.Id}/start`, { query: checkpointQuery(call) });
    } catch (error) {
      hijacked.socket.destroy();
      await session;
      wait.cancel();
      const text = errorLine(error);
      throw new ExitError(startFailureCode(text) === 125 ? 1 : startFailureCode(text), text);
    }
    const stopResize = tty ? resizer(call, `/containers/${container.Id}/resize`) : () => {};
    try {
      if ((await session) === "detached") {
        wait.cancel();
        return 0;
      }
    } finally {
      stopResize();
    }
    return await wait.code;
  } finally {
    stopSignals();
  }
}
