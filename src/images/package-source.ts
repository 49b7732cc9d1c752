import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { hasCode } from "../base/errors.ts";

/** One archive of packages that the machine is configured with (sources.list(5)). */
export interface PackageSource {
  readonly uri: string;
  readonly suite: string;
  readonly components: readonly string[];
  /** A keyring's path or an armoured key; undefined trusts apt's own keyrings. */
  readonly signedBy?: string;
  readonly trusted: boolean;
}

/** The enabled `deb` sources under `/etc/apt`, in both formats. */
export function readPackageSources(aptRoot: string): PackageSource[] {
  const files = [join(aptRoot, "sources.list"), ...folder(join(aptRoot, "sources.list.d"))];
  return files.flatMap((file) => {
    const text = readOptional(file);
    return file.endsWith(".sources") ? parseStanzas(text) : parseLines(text);
  });
}

/** The one-line format: `deb [options] uri suite component …`. */
export function parseLines(text: string): PackageSource[] {
  return text.split("\n").flatMap((line) => {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)((?:\s+[^#\s]+)*)/.exec(line);
    if (match === null) return [];
    const [, options = "", uri = "", suite = "", components = ""] = match;
    const option = new Map(options.split(/\s+/).map((row) => [row.split("=")[0]?.toLowerCase(), row.split("=")[1]]));
    const signedBy = option.get("signed-by");
    return [
      {
        uri,
        suite,
        components: words(components),
        trusted: option.get("trusted") === "yes",
        ...(signedBy !== undefined && { signedBy }),
      },
    ];
  });
}

/** The stanzas of deb822. */
export function parseStanzas(text: string): PackageSource[] {
  const isComment = (line: string): boolean => line.startsWith("#");
  const plain = text.split("\n").filter((line) => !isComment(line));
  return plain
    .join("\n")
    .split(/\n[ \t]*\n/)
    .flatMap((stanza) => {
      const field = fieldsOf(stanza);
      if (!words(field.get("types") ?? "").includes("deb") || /^(no|false|off)$/.test(field.get("enabled") ?? ""))
        return [];
      const signedBy = field.get("signed-by");
      const rest = {
        components: words(field.get("components") ?? ""),
        trusted: field.get("trusted") === "yes",
        ...(signedBy !== undefined && { signedBy }),
      };
      return words(field.get("uris") ?? "").flatMap((uri) =>
        words(field.get("suites") ?? "").map((suite) => ({ uri, suite, ...rest })),
      );
    });
}

/**
 * The sources of a suite, by those of the machine's own: the archive, its updates and its security updates, where the
 * machine has them. `own` is the machine's suite.
 */
export function sourcesForSuite(sources: readonly PackageSource[], own: string, suite: string): PackageSource[] {
  const main = sources.filter((source) => source.components.includes("main"));
  const configured = main.filter((source) => isSuite(source.suite, suite));
  if (configured.some((source) => source.suite === suite)) return configured.map(onlyMain);
  const isRolling = suite === "sid" || suite === "unstable" || suite === "experimental";
  return main
    .filter((source) => isSuite(source.suite, own) && (!isRolling || source.suite === own))
    .map((source) => onlyMain({ ...source, suite: suite + source.suite.slice(own.length) }));
}

function isSuite(text: string, suite: string): boolean {
  return [suite, `${suite}-updates`, `${suite}-security`].includes(text);
}

function onlyMain(source: PackageSource): PackageSource {
  return { ...source, components: ["main"] };
}

function fieldsOf(stanza: string): Map<string, string> {
  const fields = new Map<string, string>();
  let name = "";
  for (const line of stanza.split("\n")) {
    const match = /^([A-Za-z][A-Za-z0-9-]*):\s*(.*)$/.exec(line);
    if (match !== null) {
      name = (match[1] ?? "").toLowerCase();
      fields.set(name, match[2] ?? "");
    } else if (name !== "" && /^\s/.test(line)) fields.set(name, `${fields.get(name)}\n${continued(line)}`);
  }
  return fields;
}

/** A lone dot stands for an empty line. */
function continued(line: string): string {
  const text = line.trim();
  return text === "." ? "" : text;
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== "");
}

function folder(path: string): string[] {
  try {
    const names = readdirSync(path).filter((name) => /^[A-Za-z0-9_.-]+\.(list|sources)$/.test(name));
    return names.sort().map((name) => join(path, name));
  } catch (error) {
    if (hasCode(error, "ENOENT")) return [];
    throw error;
  }
}

function readOptional(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT")) return "";
    throw error;
  }
}
