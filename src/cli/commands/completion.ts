import { type Command, ExitError } from "../command.ts";
import { COMPLETION_SCRIPTS } from "../completion/scripts.ts";
import { print } from "../output/print.ts";

export const completion: Command = {
  usage: "bash|zsh|fish",
  args: { rule: "exactly", count: 1 },
  offline: true,
  long: "Print the script that completes commands, flags and names of what the engine has.\n\n  bash:  source <(gantry completion bash)\n  zsh:   source <(gantry completion zsh)\n  fish:  gantry completion fish | source",
  flags: [],
  async run(call) {
    const [shell = ""] = call.args;
    const script = COMPLETION_SCRIPTS[shell];
    if (script === undefined)
      throw new ExitError(1, `unknown shell ${JSON.stringify(shell)}: must be bash, zsh or fish`);
    print(script);
    return 0;
  },
};
