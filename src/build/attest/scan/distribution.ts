import type { Distribution, FoundPackage } from "./found.ts";

/** /etc/os-release. */
export function readOsRelease(text: string): Distribution | undefined {
  const values = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [, name, value] = /^([A-Z0-9_]+)=(.*)$/.exec(line.trim()) ?? [];
    if (name !== undefined) values.set(name, unquoted(value!));
  }
  const id = values.get("ID");
  if (id === undefined || id === "") return undefined;
  return { id, versionId: values.get("VERSION_ID") ?? "", name: values.get("PRETTY_NAME") ?? id };
}

function unquoted(value: string): string {
  const [, quote, inner] = /^(["'])(.*)\1$/.exec(value) ?? [];
  if (quote === undefined) return value;
  return quote === '"' ? inner!.replace(/\\(["\\$`])/g, "$1") : inner!;
}

/** What is common to all packages of a distribution. */
export interface PackageSurroundings {
  readonly distribution: Distribution | undefined;
  readonly path: string;
  /** The licence of a package, where it lies elsewhere. */
  readonly licenceOf?: (name: string) => string | undefined;
}

/** dpkg's status, or one of distroless images' status.d. */
export function readDpkg(text: string, { distribution, licenceOf, path }: PackageSurroundings): FoundPackage[] {
  return paragraphs(text).flatMap((paragraph) => {
    const fields = fieldsOf(paragraph);
    const name = fields.get("package");
    const version = fields.get("version");
    const status = fields.get("status");
    if (!name || !version || (status !== undefined && !/ installed$/.test(status))) return [];
    const source = /^(\S+)(?: \((.+)\))?$/.exec(fields.get("source") ?? "");
    const licence = licenceOf?.(name);
    const supplier = fields.get("maintainer");
    const found: FoundPackage = {
      ...{ type: "deb", namespace: distribution?.id ?? "debian", name, version, path },
      ...(licence !== undefined && { licence }),
      ...(supplier !== undefined && { supplier }),
      qualifiers: filled({
        arch: fields.get("architecture"),
        distro: distroOf(distribution),
        upstream: source === null ? undefined : source[2] === undefined ? source[1] : `${source[1]}@${source[2]}`,
      }),
    };
    return [found];
  });
}

/** The licences that a copyright file in Debian's format 1.0 names; undefined for one in no format. */
export function readCopyright(text: string): string | undefined {
  if (
    !/^Format:\s*https?:\/\/www\.debian\.org\/doc\/packaging-manuals\/copyright-format\/1\.0/m.test(text.slice(0, 1000))
  ) {
    return undefined;
  }
  const names = new Set<string>();
  for (const [, name] of text.matchAll(/^License:[ \t]*(\S[^\n]{0,200})$/gim)) names.add(name!.trim());
  if (names.size === 0) return undefined;
  return [...names]
    .sort()
    .map((name) => (/\s/.test(name) ? `(${name})` : name))
    .join(" AND ");
}

/** apk's list of what is installed. */
export function readApk(text: string, { distribution, path }: PackageSurroundings): FoundPackage[] {
  return paragraphs(text).flatMap((paragraph) => {
    const fields = new Map<string, string>();
    // Names are single letters whose case counts; a package's files come after what it is.
    for (const [, name, value] of paragraph.matchAll(/^([A-Za-z]):(.*)$/gm))
      if (!fields.has(name!)) fields.set(name!, value!);
    const name = fields.get("P");
    const version = fields.get("V");
    if (!name || !version) return [];
    const licence = fields.get("L");
    const supplier = fields.get("m");
    const origin = fields.get("o");
    return [
      {
        ...{ type: "apk", namespace: distribution?.id ?? "alpine", name, version, path },
        ...(licence !== undefined && licence !== "" && { licence }),
        ...(supplier !== undefined && supplier !== "" && { supplier }),
        qualifiers: filled({
          arch: fields.get("A"),
          distro: distroOf(distribution),
          upstream: origin === name ? undefined : origin,
        }),
      },
    ];
  });
}

/** `debian-12`. */
export function distroOf(distribution: Distribution | undefined): string | undefined {
  if (distribution === undefined) return undefined;
  return distribution.versionId === "" ? distribution.id : `${distribution.id}-${distribution.versionId}`;
}

export function filled(values: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) => (value === undefined || value === "" ? [] : [[name, value]])),
  );
}

function paragraphs(text: string): string[] {
  return text.split(/\n[ \t]*\n/);
}

/** The first line of each field, by its name in small letters. */
export function fieldsOf(paragraph: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const line of paragraph.split("\n")) {
    const [, name, value] = /^([A-Za-z][A-Za-z0-9-]*):[ \t]*(.*?)\r?$/.exec(line) ?? [];
    if (name !== undefined && !fields.has(name.toLowerCase())) fields.set(name.toLowerCase(), value!.trimEnd());
  }
  return fields;
}
