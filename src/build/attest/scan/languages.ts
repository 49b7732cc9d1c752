import { fieldsOf } from "./distribution.ts";
import type { FoundPackage, ReadPackages } from "./found.ts";

/** Files that name packages of languages, by the path in the root. The first row that matches counts. */
export const LANGUAGE_FILES: readonly { readonly path: RegExp; readonly read: ReadPackages }[] = [
  { path: /\/node_modules\/(?:@[^/]+\/)?[^/@][^/]*\/package\.json$/, read: readPackageJson },
  {
    path: /^(?!.*\/node_modules\/[^/]+\/).*\/(?:package-lock|npm-shrinkwrap|\.package-lock)\.json$/,
    read: readPackageLock,
  },
  { path: /\.dist-info\/METADATA$/, read: readPythonMetadata },
  { path: /\.egg-info(?:\/PKG-INFO)?$/, read: readPythonMetadata },
  { path: /\/specifications\/(?:default\/)?[^/]+\.gemspec$/, read: readGemspec },
  { path: /\/composer\/installed\.json$/, read: readComposer },
  { path: /\/Cargo\.lock$/, read: readCargoLock },
];

type Json = Readonly<Record<string, unknown>>;

export function readPackageJson(text: string, path: string): FoundPackage[] {
  const row = objectOf(parsed(text));
  return npm(textOf(row.name), textOf(row.version), path, npmLicence(row));
}

/** All three versions of the format. */
export function readPackageLock(text: string, path: string): FoundPackage[] {
  const lock = objectOf(parsed(text));
  if (typeof lock.packages === "object" && lock.packages !== null) {
    return Object.entries(objectOf(lock.packages)).flatMap(([place, value]) => {
      const row = objectOf(value);
      // The project itself, and folders that links lead to.
      const at = place.lastIndexOf("node_modules/");
      if (at < 0 || row.link === true) return [];
      return npm(
        textOf(row.name) || place.slice(at + "node_modules/".length),
        textOf(row.version),
        path,
        npmLicence(row),
      );
    });
  }
  const found: FoundPackage[] = [];
  const pending: unknown[] = [lock.dependencies];
  for (let level = pending.pop(); level !== undefined; level = pending.pop()) {
    for (const [name, value] of Object.entries(objectOf(level))) {
      const row = objectOf(value);
      found.push(...npm(name, textOf(row.version), path, undefined));
      if (row.dependencies !== undefined) pending.push(row.dependencies);
    }
  }
  return found;
}

function npm(name: string, version: string, path: string, licence: string | undefined): FoundPackage[] {
  if (!/^(?:@[^/\s]+\/)?[^/@\s][^/\s]*$/.test(name) || version === "") return [];
  const at = name.indexOf("/");
  return [
    {
      ...{ type: "npm", name: name.slice(at + 1), version, path },
      ...(at > 0 && { namespace: name.slice(0, at) }),
      ...(licence !== undefined && { licence }),
    },
  ];
}

/** An expression, or what older packages have: an object, or several of them. */
function npmLicence({ license, licenses }: Json): string | undefined {
  const names = (Array.isArray(licenses) ? licenses : [license ?? licenses]).flatMap((one) => {
    const name = typeof one === "string" ? one : textOf(objectOf(one).type);
    return name === "" ? [] : [name];
  });
  return names.length === 0 ? undefined : names.join(" OR ");
}

/** METADATA and PKG-INFO: headers as of a mail. */
export function readPythonMetadata(text: string, path: string): FoundPackage[] {
  const end = /\r?\n\r?\n/.exec(text)?.index ?? text.length;
  const head = text.slice(0, end);
  const fields = fieldsOf(head);
  const name = fields.get("name") ?? "";
  const version = fields.get("version") ?? "";
  if (name === "" || version === "") return [];
  const classified = [...head.matchAll(/^Classifier: License :: (?:OSI Approved :: )?(.+?)\r?$/gm)].map(
    ([, value]) => value!,
  );
  const own = fields.get("license-expression") || fields.get("license") || "";
  // Some put the whole text there.
  const licence = own === "" || own === "UNKNOWN" || own.length > 100 ? classified.join(" AND ") : own;
  return [
    {
      ...{ type: "pypi", name: name.toLowerCase().replace(/[-_.]+/g, "-"), version, path },
      ...(licence !== "" && { licence }),
    },
  ];
}

/** A gem's specification as RubyGems writes it, without running it. */
export function readGemspec(text: string, path: string): FoundPackage[] {
  const value = (field: string): string =>
    new RegExp(`^[ \\t]*s(?:pec)?\\.${field}[ \\t]*=[ \\t]*(?:Gem::Version\\.new\\()?["']([^"'\\n]+)["']`, "m").exec(
      text,
    )?.[1] ?? "";
  const name = value("name");
  const version = value("version");
  if (name === "" || version === "") return [];
  const list = /^[ \t]*s(?:pec)?\.licenses[ \t]*=[ \t]*\[([^\]\n]*)\]/m.exec(text)?.[1] ?? "";
  const licences = [...list.matchAll(/["']([^"']+)["']/g)].map(([, one]) => one!);
  if (licences.length === 0 && value("license") !== "") licences.push(value("license"));
  return [{ type: "gem", name, version, path, ...(licences.length > 0 && { licence: licences.join(" OR ") }) }];
}

/** Of composer 1, a list, and of composer 2. */
export function readComposer(text: string, path: string): FoundPackage[] {
  const whole = parsed(text);
  const rows = Array.isArray(whole) ? whole : objectOf(whole).packages;
  if (!Array.isArray(rows)) return [];
  return rows.flatMap((value) => {
    const row = objectOf(value);
    const [, namespace, name] = /^([^/\s]+)\/([^/\s]+)$/.exec(textOf(row.name)) ?? [];
    const version = textOf(row.version);
    if (name === undefined || version === "") return [];
    const licences = (Array.isArray(row.license) ? row.license : [row.license]).map(textOf).filter((one) => one !== "");
    return [
      {
        ...{ type: "composer", namespace: namespace!, name, version, path },
        ...(licences.length > 0 && { licence: licences.join(" OR ") }),
      },
    ];
  });
}

/** Its tables are of one kind and written by cargo alone. */
export function readCargoLock(text: string, path: string): FoundPackage[] {
  return text
    .split(/^\[\[package\]\]\s*$/m)
    .slice(1)
    .flatMap((table) => {
      const value = (field: string): string => new RegExp(`^${field} = "([^"\\n]+)"`, "m").exec(table)?.[1] ?? "";
      const name = value("name");
      const version = value("version");
      return name === "" || version === "" ? [] : [{ type: "cargo", name, version, path }];
    });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch {
    return undefined;
  }
}

function objectOf(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
