import { EngineError } from "../../client/client.ts";
import type { Call } from "../command.ts";
import { printLine } from "../output/print.ts";
import { isTerminal } from "../streams/terminal.ts";
import { keyOf } from "./address.ts";
import { encoded, registryAuth } from "./headers.ts";
import { askForLogin } from "./prompt.ts";

const REFUSED = /no basic auth credentials|^unauthorized\b|authentication required/;

/**
 * Does something that needs a registry's leave, with what is kept for it. A person at a terminal whom the registry
 * doesn't let in is asked who they are and has one more try; what they say is not kept.
 */
export async function withLogin<T>(
  call: Call,
  domain: string,
  doing: "list" | "pull" | "push" | "remove" | "search",
  act: (headers: Readonly<Record<string, string>>) => Promise<T>,
): Promise<T> {
  try {
    return await act(await registryAuth(call, domain));
  } catch (error) {
    const isRefused = error instanceof EngineError && error.status === 401;
    if (!isRefused || !isTerminal(0) || !isTerminal(1)) throw advised(error, domain);
    printLine(`\nLogin to ${domain} prior to ${doing}:`);
    const { username, password } = await askForLogin({ key: keyOf(domain) });
    return await act({ "X-Registry-Auth": encoded({ username, password, serveraddress: keyOf(domain) }) });
  }
}

/** To a person it is said what would help; what programs read stays as it is. */
function advised(error: unknown, domain: string): unknown {
  if (!(error instanceof Error) || !isTerminal(2) || !REFUSED.test(error.message)) return error;
  const message = `${error.message}: log in by 'gantry login ${domain}'`;
  return error instanceof EngineError ? new EngineError(error.status, message) : new Error(message, { cause: error });
}
