import { GantryError, messageOf } from "../../base/errors.ts";
import { readKeyFile } from "../../trust/policy-file.ts";
import { type PrivateKey, readPrivateKey } from "../../trust/private-key.ts";
import { type PublicKey, readPublicKey } from "../../trust/public-key.ts";
import { ExitError } from "../command.ts";
import { askForSecrets } from "../credentials/prompt.ts";
import { isTerminal } from "../streams/terminal.ts";

const FROM_ENVIRONMENT = "env://";
const PASSWORDS = ["GANTRY_KEY_PASSWORD", "COSIGN_PASSWORD"] as const;

/** The key that images are signed with: a file, or `env://NAME`. Its password is asked for if it has one. */
export async function signingKey(source: string): Promise<PrivateKey> {
  return readPrivateKey(textOf(source), source, () => keyPassword(source));
}

/** The key that signatures are checked with: a file, or `env://NAME`. */
export function verifyingKey(source: string): PublicKey {
  return readPublicKey(textOf(source), source);
}

/** The password of a new key; a person types it twice. */
export async function newKeyPassword(): Promise<string> {
  const given = givenPassword();
  if (given !== undefined) return given;
  const [first = "", second] = await typed(["Enter a password for the new key: ", "Enter it again: "]);
  if (first !== second) throw new ExitError(1, "the two passwords differ: nothing was written");
  return first;
}

async function keyPassword(source: string): Promise<string> {
  return givenPassword() ?? (await typed([`Enter the password of ${source}: `]))[0] ?? "";
}

/** The environment's. An empty one is a password, too: that of keys whose owners want none. */
function givenPassword(): string | undefined {
  return PASSWORDS.map((name) => process.env[name]).find((given) => given !== undefined);
}

async function typed(questions: readonly string[]): Promise<string[]> {
  if (isTerminal(0)) return askForSecrets(questions);
  throw new ExitError(
    1,
    `the key has a password, and there is no terminal to ask for it: set ${PASSWORDS.join(" or ")}`,
  );
}

function textOf(source: string): string {
  if (source.startsWith(FROM_ENVIRONMENT)) {
    const name = source.slice(FROM_ENVIRONMENT.length);
    const text = process.env[name];
    if (text === undefined) throw new GantryError("invalid", `the key ${source} cannot be read: ${name} is not set`);
    return text;
  }
  if (/^[a-z0-9+]+:\/\//.test(source)) {
    throw new GantryError("unsupported", `the key ${source} cannot be read: keys are files or ${FROM_ENVIRONMENT}NAME`);
  }
  try {
    return readKeyFile(source);
  } catch (error) {
    throw new GantryError("invalid", messageOf(error));
  }
}
