import { type Check, failure, note, ok, warning } from "../check.ts";

/** Versions below these have faults that let a container out, each in its newest known line of fixes. */
const SAFE: Readonly<Record<string, { readonly from: string; readonly why: string }>> = {
  runc: { from: "1.1.12", why: "CVE-2024-21626, a leaked descriptor that leads out of containers" },
  crun: { from: "1.4.4", why: "CVE-2022-27650, capabilities that outlive an exec" },
};
const LEAST_KERNEL = "5.10";
const LEAST_NODE = "24.0";

/** Orders versions by their numbers. */
export function isOlder(version: string, than: string): boolean {
  const numbers = (text: string) => (/^\d+(\.\d+)*/.exec(text)?.[0] ?? "0").split(".").map(Number);
  const [a, b] = [numbers(version), numbers(than)];
  for (let at = 0; at < Math.max(a.length, b.length); at++) {
    const difference = (a[at] ?? 0) - (b[at] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

const runtime: Check = {
  id: "version.runtime",
  title: "OCI runtime",
  async run({ programs }, { runtime: { name, path } }) {
    if (path === undefined) return failure(`${name} is not installed`, `Install it: apt-get install ${name}`);
    const text = await programs.run(path, ["--version"]);
    const [, program = name, version] = /^(\S+) version (\S+)/m.exec(text ?? "") ?? [];
    if (version === undefined)
      return failure(`${path} does not say its version`, `Install it again: apt-get install --reinstall ${name}`);
    const safe = SAFE[program];
    if (safe === undefined || !isOlder(version, safe.from)) return ok(`${program} ${version}`);
    // A distribution mends faults without a new number.
    const isPatched = /[+~-](ds|deb|ubuntu|dfsg|el|fc)/i.test(version);
    const found = `${program} ${version} is older than ${safe.from}: ${safe.why}`;
    return isPatched
      ? note(`${found}; the distribution may have mended it`, `Look: apt-get changelog ${program}`)
      : warning(found, `Install a later one: apt-get install --only-upgrade ${program}`);
  },
};

const nftables: Check = {
  id: "version.libnftables",
  title: "libnftables",
  run({ files }) {
    const folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/lib"];
    const library = folders
      .map((folder) => files.resolve(`${folder}/libnftables.so.1`))
      .find((path) => path !== undefined);
    if (library === undefined) return failure("it is not installed", "Install it: apt-get install libnftables1");
    return ok(library.split("/").at(-1) ?? library);
  },
};

const kernel: Check = {
  id: "version.kernel",
  title: "Linux",
  run({ files }) {
    const version = files.read("/proc/sys/kernel/osrelease")?.trim() ?? "";
    if (version === "") return note("the kernel doesn't say its version");
    return isOlder(version, LEAST_KERNEL)
      ? warning(
          `${version} is older than ${LEAST_KERNEL}, the oldest that the engine is tried on`,
          "Upgrade the machine.",
        )
      : ok(version);
  },
};

const node: Check = {
  id: "version.node",
  title: "Node",
  async run({ programs }) {
    const version = (await programs.run(process.execPath, ["--version"]))?.trim().replace(/^v/, "") ?? "";
    return isOlder(version, LEAST_NODE)
      ? failure(
          `${version || "it"} is older than ${LEAST_NODE}`,
          "Run npm run setup again, which fetches the right one.",
        )
      : ok(version);
  },
};

export const versionChecks: readonly Check[] = [runtime, nftables, kernel, node];
