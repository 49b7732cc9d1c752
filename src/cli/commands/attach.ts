import type { ContainerInspect } from "../../api/container.ts";
import { type Command, ExitError } from "../command.ts";
import { boolFlag, textFlag } from "../flags/spec.ts";
import { beginWait } from "../run/wait.ts";
import { DEFAULT_KEYS } from "../streams/keys.ts";
import { runSession } from "../streams/session.ts";
import { forwardSignals } from "../streams/signals.ts";
import { isTerminal } from "../streams/terminal.ts";
import { segment } from "./lifecycle.ts";
import { resizer } from "./run.ts";

export const attach: Command = {
  usage: "[OPTIONS] CONTAINER",
  args: { rule: "exactly", count: 1 },
  flags: [
    textFlag("detach-keys", "Keys that detach from the container"),
    boolFlag("no-stdin", "Do not attach standard input"),
    boolFlag("sig-proxy", "Pass signals on to the process", { initial: "true", shownDefault: "true" }),
  ],
  async run(call) {
    const { client, flags } = call;
    const container = await client.json<ContainerInspect>("GET", `/containers/${segment(call.args[0] ?? "")}/json`);
    const { State: state, Config: config, Id: id } = container;
    if (!state.Running) throw new ExitError(1, "You cannot attach to a stopped container, start it first");
    if (state.Paused) throw new ExitError(1, "You cannot attach to a paused container, unpause it first");
    if (state.Restarting)
      throw new ExitError(1, "You cannot attach to a restarting container, wait until it is running");
    const stdin = !flags.bool("no-stdin") && config.OpenStdin;
    if (config.Tty && stdin && !isTerminal(0)) throw new ExitError(1, "the input device is not a TTY");
    const keys = flags.text("detach-keys") || (call.settings.config().detachKeys ?? "");
    const stopSignals =
      flags.bool("sig-proxy") && !config.Tty
        ? forwardSignals(
            (signal) => void client.done("POST", `/containers/${id}/kill`, { query: { signal } }).catch(() => {}),
          )
        : () => {};
    try {
      const [wait, hijacked] = await Promise.all([
        beginWait(client, id, "not-running"),
        client.hijack(`/containers/${id}/attach`, {
          query: { stream: true, stdin, stdout: true, stderr: true, detachKeys: keys },
        }),
      ]);
      const stopResize = config.Tty ? resizer(call, `/containers/${id}/resize`) : () => {};
      try {
        const options = {
          hijacked,
          tty: config.Tty,
          stdin,
          stdout: true,
          stderr: true,
          detachKeys: keys || DEFAULT_KEYS,
        };
        if ((await runSession(options)) === "detached") {
          wait.cancel();
          throw new ExitError(1, "read escape sequence");
        }
      } finally {
        stopResize();
      }
      return await wait.code;
    } finally {
      stopSignals();
    }
  },
};
