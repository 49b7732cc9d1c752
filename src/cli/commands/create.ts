import { messageOf } from "../../base/errors.ts";
import { type Command, ExitError } from "../command.ts";
import { printLine } from "../output/print.ts";
import type { CreateBody } from "../run/body.ts";
import { createContainer, requestOf } from "../run/create-container.ts";
import { CREATE_FLAGS } from "../run/flags.ts";

/** The text of an error before the engine was asked, and after it by `run`. */
export function withHelp(text: string, name: string): string {
  return `gantry: ${text}\n\nRun '${name} --help' for more information`;
}

export const create: Command = {
  usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
  args: { rule: "at-least", count: 1 },
  interspersed: false,
  flags: CREATE_FLAGS,
  async run(call) {
    let body: CreateBody;
    try {
      body = await requestOf(call);
    } catch (error) {
      throw new ExitError(125, withHelp(messageOf(error), "gantry create"));
    }
    printLine(await createContainer(call, body));
    return 0;
  },
};
