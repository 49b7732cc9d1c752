/** A package that was found in a root filesystem. */
export interface FoundPackage {
  /** As purl calls it: deb, apk, rpm, npm, pypi, golang, maven, gem, composer, cargo. */
  readonly type: string;
  readonly namespace?: string;
  readonly name: string;
  readonly version: string;
  /** As the package says it: an expression, a name or a text. */
  readonly licence?: string;
  /** Who made it, where it says so. */
  readonly supplier?: string;
  readonly qualifiers?: Readonly<Record<string, string>>;
  /** The file that says so: absolute in the root. */
  readonly path: string;
}

/** What the distribution calls itself (os-release). */
export interface Distribution {
  readonly id: string;
  readonly versionId: string;
  readonly name: string;
}

export interface Found {
  readonly distribution: Distribution | undefined;
  /** Each once for each file that says so. */
  readonly packages: readonly FoundPackage[];
  /** What could not be read, and why: for people. */
  readonly notes: readonly string[];
}

/** Of one file. Nothing for what is no such file: it may be anything. */
export type ReadPackages = (text: string, path: string) => readonly FoundPackage[];
