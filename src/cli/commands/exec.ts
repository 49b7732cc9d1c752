import type { ExecConfig, ExecInspect } from "../../api/container.ts";
import { type Command, ExitError } from "../command.ts";
import { boolFlag, listFlag, textFlag } from "../flags/spec.ts";
import { checkEnv, readEnvironment } from "../run/environment.ts";
import { DEFAULT_KEYS } from "../streams/keys.ts";
import { runSession } from "../streams/session.ts";
import { isTerminal, terminalSize } from "../streams/terminal.ts";
import { segment } from "./lifecycle.ts";
import { resizer } from "./run.ts";

export const exec: Command = {
  usage: "[OPTIONS] CONTAINER COMMAND [ARG...]",
  args: { rule: "at-least", count: 2 },
  interspersed: false,
  flags: [
    boolFlag("d,detach", "Run the command in the background"),
    textFlag("detach-keys", "Keys that detach from the command"),
    listFlag("e,env", "Set environment variables", { check: checkEnv }),
    listFlag("env-file", "Read environment variables from a file"),
    boolFlag("i,interactive", "Keep STDIN open even if not attached"),
    boolFlag("privileged", "Give extended privileges to the command"),
    boolFlag("t,tty", "Allocate a pseudo-TTY"),
    textFlag("u,user", "User name or UID (<name|uid>[:<group|gid>])"),
    textFlag("w,workdir", "Working directory in the container"),
  ],
  async run(call) {
    const { client, flags } = call;
    const [name = "", ...command] = call.args;
    const detach = flags.bool("detach");
    const tty = flags.bool("tty");
    const stdin = flags.bool("interactive") && !detach;
    if (tty && stdin && !isTerminal(0)) throw new ExitError(1, "the input device is not a TTY");
    const keys = flags.text("detach-keys") || (call.settings.config().detachKeys ?? "");
    const environment = readEnvironment(flags.list("env-file"), flags.list("env"));
    const size = tty ? terminalSize() : undefined;
    const config: ExecConfig = {
      User: flags.text("user"),
      Privileged: flags.bool("privileged"),
      Tty: tty,
      AttachStdin: stdin,
      AttachStdout: !detach,
      AttachStderr: !detach,
      DetachKeys: keys,
      Env: environment.length === 0 ? null : environment,
      WorkingDir: flags.text("workdir"),
      Cmd: command,
      ...(size === undefined ? {} : { ConsoleSize: [size[0], size[1]] }),
    };
    const { Id: id } = await client.json<{ Id: string }>("POST", `/containers/${segment(name)}/exec`, { json: config });
    const start = { Detach: detach, Tty: tty, ...(size === undefined ? {} : { ConsoleSize: size }) };
    if (detach) {
      await client.done("POST", `/exec/${id}/start`, { json: start });
      return 0;
    }
    const hijacked = await client.hijack(`/exec/${id}/start`, { json: start });
    const stopResize = tty ? resizer(call, `/exec/${id}/resize`) : () => {};
    try {
      const options = { hijacked, tty, stdin, stdout: true, stderr: true, detachKeys: keys || DEFAULT_KEYS };
      if ((await runSession(options)) === "detached") throw new ExitError(1, "read escape sequence");
    } finally {
      stopResize();
    }
    return (await client.json<ExecInspect>("GET", `/exec/${id}/json`)).ExitCode ?? 0;
  },
};
