/** Names of SPDX's list that packages have often; what is not here is told as it is written, as a reference. */
const KNOWN = new Map(
  `0BSD AFL-2.1 AFL-3.0 AGPL-3.0-only AGPL-3.0-or-later Apache-1.1 Apache-2.0 Artistic-1.0 Artistic-1.0-Perl Artistic-2.0
  BSD-1-Clause BSD-2-Clause BSD-2-Clause-Patent BSD-3-Clause BSD-3-Clause-Clear BSD-4-Clause BSD-4-Clause-UC BSL-1.0
  BlueOak-1.0.0 CC-BY-3.0 CC-BY-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0 CC0-1.0 CDDL-1.0 CDDL-1.1 CPL-1.0 EPL-1.0 EPL-2.0 EUPL-1.1
  EUPL-1.2 GFDL-1.1-only GFDL-1.1-or-later GFDL-1.2-only GFDL-1.2-or-later GFDL-1.3-only GFDL-1.3-or-later GPL-1.0-only
  GPL-1.0-or-later GPL-2.0-only GPL-2.0-or-later GPL-3.0-only GPL-3.0-or-later HPND ICU IJG IPL-1.0 ISC JSON LGPL-2.0-only
  LGPL-2.0-or-later LGPL-2.1-only LGPL-2.1-or-later LGPL-3.0-only LGPL-3.0-or-later LPPL-1.3c Libpng MIT MIT-0 MPL-1.0
  MPL-1.1 MPL-2.0 MS-PL MS-RL NCSA NTP OFL-1.0 OFL-1.1 OLDAP-2.8 OSL-3.0 OpenSSL PHP-3.0 PHP-3.01 PSF-2.0 PostgreSQL
  Python-2.0 Python-2.0.1 QPL-1.0 RPL-1.5 Ruby SISSL SMLNJ SSH-OpenSSH SSPL-1.0 Sleepycat TCL UPL-1.0 Unicode-3.0
  Unicode-DFS-2016 Unlicense Vim W3C WTFPL X11 Xnet ZPL-2.0 ZPL-2.1 Zlib blessing bzip2-1.0.6 curl libtiff
  mpich2 zlib-acknowledgement`
    .split(/\s+/)
    .map((id) => [id.toLowerCase(), id]),
);
/** As distributions and older packages write them. */
const OTHERWISE: Readonly<Record<string, string>> = {
  "agpl-3": "AGPL-3.0-only",
  "agpl-3+": "AGPL-3.0-or-later",
  "apache 2.0": "Apache-2.0",
  "apache license 2.0": "Apache-2.0",
  "apache license, version 2.0": "Apache-2.0",
  "apache software license": "Apache-2.0",
  "apache-2": "Apache-2.0",
  artistic: "Artistic-1.0-Perl",
  "bsd license": "BSD-3-Clause",
  "bsd-2-clause license": "BSD-2-Clause",
  "bsd-3-clause license": "BSD-3-Clause",
  expat: "MIT",
  "isc license (iscl)": "ISC",
  "mit license": "MIT",
  "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
  "public-domain": "LicenseRef-public-domain",
  "the mit license": "MIT",
  "the unlicense (unlicense)": "Unlicense",
};
const EXCEPTIONS = new Map(
  `Autoconf-exception-2.0 Autoconf-exception-3.0 Bison-exception-2.2 Classpath-exception-2.0 Font-exception-2.0
  GCC-exception-2.0 GCC-exception-3.1 LLVM-exception Libtool-exception Linux-syscall-note OpenJDK-assembly-exception-1.0
  openvpn-openssl-exception u-boot-exception-2.0`
    .split(/\s+/)
    .map((id) => [id.toLowerCase(), id]),
);
const LONGEST = 2000;
const DEEPEST = 20;

/** Licences that SPDX's list has not, by the references that stand for them. */
export class Licences {
  readonly #extracted = new Map<string, string>();

  get extracted(): readonly { readonly licenseId: string; readonly extractedText: string; readonly name: string }[] {
    return [...this.#extracted]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([licenseId, name]) => ({ licenseId, extractedText: name, name }));
  }

  /** An expression of SPDX's for what a package says. */
  expression(text: string | undefined): string {
    const whole = text?.trim().slice(0, LONGEST) ?? "";
    if (whole === "") return "NOASSERTION";
    const single = this.#known(whole);
    if (single !== undefined) return single;
    return new Parser(whole, (name) => this.#known(name) ?? this.#reference(name)).read() ?? this.#reference(whole);
  }

  #known(name: string): string | undefined {
    const small = name.toLowerCase();
    const other = OTHERWISE[small];
    if (other?.startsWith("LicenseRef-")) return this.#reference(name);
    const known = KNOWN.get(small) ?? other;
    if (known !== undefined) return known;
    // GPL-2, GPL-2+, GPL-2.0+, LGPLv2.1+ and their likes.
    const [, family, number, later] =
      /^(A?GPL|LGPL|GFDL)[- ]?v?(\d(?:\.\d)?)(?:\.0)?(\+|-only|-or-later)?$/i.exec(name) ?? [];
    if (family === undefined) return undefined;
    const version = number!.includes(".") ? number : `${number}.0`;
    const end = later === "+" || later?.toLowerCase() === "-or-later" ? "or-later" : "only";
    return KNOWN.get(`${family}-${version}-${end}`.toLowerCase());
  }

  #reference(name: string): string {
    const id = `LicenseRef-${
      name
        .replace(/[^A-Za-z0-9.-]+/g, "-")
        .replace(/^-+|-+$/g, "")
        .slice(0, 100) || "unnamed"
    }`;
    const taken = this.#extracted.get(id);
    if (taken === undefined || taken === name) {
      this.#extracted.set(id, name);
      return id;
    }
    // Two names that are alike but for signs which ids can't have.
    for (let number = 2; ; number++) {
      const next = `${id}-${number}`;
      const other = this.#extracted.get(next);
      if (other !== undefined && other !== name) continue;
      this.#extracted.set(next, name);
      return next;
    }
  }
}

/** `(A OR B) AND C WITH x`, or what is written with commas and slashes in the place of words. */
class Parser {
  readonly #words: readonly string[];
  readonly #nameOf: (name: string) => string;
  #at = 0;

  constructor(text: string, nameOf: (name: string) => string) {
    const words = text.match(/[()]|[^\s()]+/g) ?? [];
    this.#words = words;
    this.#nameOf = nameOf;
  }

  read(): string | undefined {
    const found = this.#either(0);
    return this.#at === this.#words.length ? found : undefined;
  }

  #either(depth: number): string | undefined {
    return this.#joined("OR", () => this.#joined("AND", () => this.#one(depth)));
  }

  #joined(word: "AND" | "OR", next: () => string | undefined): string | undefined {
    const parts = [next()];
    while (this.#words[this.#at]?.toUpperCase() === word) {
      this.#at++;
      parts.push(next());
    }
    return parts.includes(undefined) ? undefined : parts.join(` ${word} `);
  }

  #one(depth: number): string | undefined {
    const word = this.#words[this.#at++];
    if (word === undefined || word === ")" || /^(?:AND|OR|WITH)$/i.test(word) || depth > DEEPEST) return undefined;
    if (word === "(") {
      const inner = this.#either(depth + 1);
      return inner !== undefined && this.#words[this.#at++] === ")" ? `(${inner})` : undefined;
    }
    if (!/^[A-Za-z0-9][A-Za-z0-9.+-]*$/.test(word)) return undefined;
    if (this.#words[this.#at]?.toUpperCase() !== "WITH") return this.#nameOf(word);
    const exception = this.#words[this.#at + 1] ?? "";
    this.#at += 2;
    const known = EXCEPTIONS.get(exception.toLowerCase());
    return known === undefined ? this.#nameOf(`${word} WITH ${exception}`) : `${this.#nameOf(word)} WITH ${known}`;
  }
}
