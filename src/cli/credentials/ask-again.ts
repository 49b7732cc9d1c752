import { EngineError } from "../../client/client.ts";
import type { Call } from "../command.ts";
import { printLine } from "../output/print.ts";
import { isTerminal } from "../streams/terminal.ts";
import { keyOf } from "./address.ts";
import { encoded, registryAuth } from "./headers.ts";
import { askForLogin } from "./prompt.ts";

/**
 * Does something that needs a registry's leave, with what is kept for it. A person at a terminal whom the registry
 * doesn't let in is asked who they are and has one more try; what they say is not kept.
 */
export async function withLogin(
  call: Call,
  domain: string,
  doing: "list" | "pull" | "push" | "remove" | "search",
  act: (headers: Readonly<Record<string, string>>) => Promise<void>,
): Promise<void> {
  try {
    await act(await registryAuth(call, domain));
  } catch (error) {
    const isRefused = error instanceof EngineError && error.status === 401;
    if (!isRefused || !isTerminal(0) || !isTerminal(1)) throw error;
    printLine(`\nLogin to ${domain} prior to ${doing}:`);
    const { username, password } = await askForLogin({ key: keyOf(domain) });
    await act({ "X-Registry-Auth": encoded({ username, password, serveraddress: keyOf(domain) }) });
  }
}
