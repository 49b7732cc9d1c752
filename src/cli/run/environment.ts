import { readFileSync } from "node:fs";
import { hasCode, messageOf } from "../../base/errors.ts";
import { cutAt } from "./cut-at.ts";

/** Checks one `--env`; a bare name takes its value from this process's environment, if it has one. */
export function checkEnv(value: string): string {
  const [name, given] = cutAt(value, "=");
  if (name === "") throw new Error(`invalid environment variable: ${value}`);
  const inherited = process.env[value];
  return given === undefined && inherited !== undefined ? `${value}=${inherited}` : value;
}

/** Files first, then what the command line says, which so wins. */
export function readEnvironment(files: readonly string[], given: readonly string[]): string[] {
  const lines = files.flatMap((file) =>
    readPairs(file).flatMap((line) => {
      if (line.includes("=")) return [line];
      const inherited = process.env[line];
      return inherited === undefined ? [] : [`${line}=${inherited}`];
    }),
  );
  return [...lines, ...given];
}

export function readLabels(files: readonly string[], given: readonly string[]): Record<string, string> {
  // A name alone on a line of the file says nothing and is left out, as Docker does.
  return pairs([...files.flatMap(readPairs).filter((line) => line.includes("=")), ...given]);
}

/** `key=value` texts as a map; a key alone has the empty value. */
export function pairs(values: readonly string[]): Record<string, string> {
  return Object.fromEntries(values.map((value) => cutAt(value, "=")).map(([key, text]) => [key, text ?? ""]));
}

export function checkLabel(value: string): string {
  if (value.startsWith("=")) throw new Error(`invalid label '${value}': empty name`);
  return value;
}

/** The `key=value` or `key` lines of a file, without comments and empty lines. */
function readPairs(file: string): readonly string[] {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    if (hasCode(error, "ENOENT")) throw new Error(`open ${file}: no such file or directory`);
    throw new Error(`open ${file}: ${messageOf(error)}`);
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    const line =
      bytes
        .toString("latin1")
        .split("\n")
        .findIndex((row) => !isUtf8(row)) + 1;
    throw new Error(`invalid env file (${file}): invalid utf8 bytes at line ${line}`);
  }
  const lines: string[] = [];
  for (const raw of text.split(/\r?\n/)) {
    const line = raw.replace(/^\s+/, "");
    if (line === "" || line.startsWith("#")) continue;
    const name = cutAt(line, "=")[0];
    if (/\s/.test(name)) throw new Error(`invalid env file (${file}): variable '${name}' contains whitespaces`);
    if (name === "") throw new Error(`invalid env file (${file}): no variable name on line '${line}'`);
    lines.push(line);
  }
  return lines;
}

function isUtf8(latin: string): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(latin, "latin1"));
    return true;
  } catch {
    return false;
  }
}

const PROXIES: Readonly<Record<string, string>> = {
  httpProxy: "HTTP_PROXY",
  httpsProxy: "HTTPS_PROXY",
  noProxy: "NO_PROXY",
  ftpProxy: "FTP_PROXY",
  allProxy: "ALL_PROXY",
};

/** The proxy variables that the configuration file hands to each container, unless the user set them. */
export function proxyVariables(
  proxies: Readonly<Record<string, Readonly<Record<string, string>>>> | undefined,
  host: string,
  given: readonly string[],
): readonly string[] {
  const chosen = proxies?.[host] ?? proxies?.default ?? {};
  const set = new Set(given.map((line) => cutAt(line, "=")[0]));
  return Object.entries(chosen).flatMap(([key, value]) => {
    const name = PROXIES[key];
    if (name === undefined || value === "") return [];
    return [name, name.toLowerCase()].filter((each) => !set.has(each)).map((each) => `${each}=${value}`);
  });
}
