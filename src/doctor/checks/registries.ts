import { X509Certificate } from "node:crypto";
import { join } from "node:path";
import { messageOf } from "../../base/errors.ts";
import { maskProxy, proxyOf } from "../../remote/proxy.ts";
import type { RateLimit } from "../../remote/rate-limit.ts";
import { type Check, type Finding, failure, note, ok, warning } from "../check.ts";
import type { Files } from "../machine.ts";

const MOST_HOSTS = 200;
const MOST_TOLD = 3;
const DAY_MS = 86_400_000;
const EXPIRES_SOON_MS = 14 * DAY_MS;
/** A failure that is older says little about now. */
const LATELY_MS = 3_600_000;
/** Certificates and tokens are given for minutes at least. */
const MOST_SKEW_MS = 120_000;
const PEM = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

interface Fault {
  readonly found: string;
  readonly mend: string;
}

const certificates: Check = {
  id: "registries.certificates",
  title: "certificates of registries",
  run({ files, clock }, { certificateFolders }) {
    const hosts = certificateFolders.flatMap((folder) =>
      files.list(folder).map((host) => ({ host, folder: join(folder, host), names: files.list(join(folder, host)) })),
    );
    const used = hosts.filter(({ names }) => names.length > 0).slice(0, MOST_HOSTS);
    if (used.length === 0) return ok("none of their own: the machine's authorities hold");
    const faults = used.flatMap(({ folder, names }) => [
      ...pairFaults(folder, names),
      ...names.flatMap((name) => fileFaults(files, folder, name, clock.now())),
    ]);
    return verdict(faults, `${[...new Set(used.map(({ host }) => host))].join(", ")}: in order`);
  },
};

/** What the engine would refuse the whole folder for, and what it passes over. */
function pairFaults(folder: string, names: readonly string[]): readonly Fault[] {
  return names.flatMap((name) => {
    const path = join(folder, name);
    const [, stem, ending] = /^(.*)\.(cert|key)$/.exec(name) ?? [];
    if (ending !== undefined) {
      const other = `${stem}.${ending === "cert" ? "key" : "cert"}`;
      if (names.includes(other)) return [];
      const mend = ending === "cert" ? "Put the key there; authorities end in .crt" : "Put the certificate there";
      return [{ found: `${path} has no ${other} beside it, so that its registry can't be used`, mend }];
    }
    if (!/\.(pem|cer|ca|der)$/.test(name)) return [];
    const mend = `Name an authority .crt: mv ${path} ${path.replace(/\.[a-z]+$/, ".crt")}`;
    return [{ found: `${path} is passed over`, mend }];
  });
}

function fileFaults(files: Files, folder: string, name: string, now: number): readonly Fault[] {
  if (!/\.(crt|cert)$/.test(name)) return [];
  const path = join(folder, name);
  const blocks = files.read(path)?.match(PEM) ?? [];
  if (blocks.length === 0) {
    return [{ found: `${path} holds no certificate in PEM`, mend: `See: openssl x509 -in ${path} -noout -text` }];
  }
  try {
    const ends = Math.min(...blocks.map((block) => new X509Certificate(block).validToDate.getTime()));
    if (ends > now + EXPIRES_SOON_MS) return [];
    const word = ends <= now ? "ended" : "ends";
    const found = `a certificate in ${path} ${word} on ${new Date(ends).toISOString().slice(0, 10)}`;
    return [{ found, mend: "Put its successor there: it is read at the next connection" }];
  } catch (error) {
    return [{ found: `${path} can't be read: ${messageOf(error)}`, mend: "Put a certificate in PEM there" }];
  }
}

const proxies: Check = {
  id: "registries.proxies",
  title: "proxies to registries",
  run(_machine, { proxies: settings }) {
    const { exceptions, http, https } = settings;
    if (http === "" && https === "") return ok("none: registries are asked directly");
    for (const scheme of ["http", "https"] as const) {
      try {
        proxyOf(new URL(`${scheme}://registry.invalid`), { ...settings, exceptions: "" });
      } catch (error) {
        return failure(messageOf(error), `Give ${scheme}-proxy as http://[user:password@]host:port`);
      }
    }
    const words = exceptions.split(",").map((word) => word.trim());
    const odd = words.find((word) => word !== "" && !isException(word));
    if (odd !== undefined) {
      const mend = "Name hosts, domains, addresses or ranges there, with commas between them: no URLs";
      return warning(`no-proxy has ${JSON.stringify(odd.slice(0, 100))}, which is no host and no range`, mend);
    }
    const ways = [http !== "" && `${maskProxy(http)} for http`, https !== "" && `${maskProxy(https)} for https`];
    const direct = words.filter((word) => word !== "").join(", ");
    return ok(ways.filter((way) => way !== false).join(", ") + (direct === "" ? "" : `; directly ${direct}`));
  },
};

/** As the rules of exceptions have them. */
function isException(word: string): boolean {
  return (
    word === "*" ||
    /^(\*?\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?(:\d+)?$|^[0-9a-f:.]+(\/\d+)?$|^\[[0-9a-f:.]+\](:\d+)?$/i.test(word)
  );
}

const answers: Check = {
  id: "registries.answers",
  title: "registries used lately",
  run({ clock }, { engine }) {
    if (engine === undefined) return note("no engine was asked: only it knows");
    const all = engine.registries();
    if (all.length === 0) return ok("none");
    const now = clock.now();
    const faults: Fault[] = [];
    for (const { aheadMs = 0, at, host, problem, rateLimit } of all) {
      if (problem !== undefined && now - at < LATELY_MS) {
        faults.push({ found: `${host} could not be reached ${ago(now - at)}: ${problem}`, mend: adviceOn(problem) });
      } else if (Math.abs(aheadMs) > MOST_SKEW_MS) {
        const found = `the clock of ${host} is ${span(Math.abs(aheadMs))} ${aheadMs > 0 ? "ahead of" : "behind"} this one`;
        faults.push({
          found,
          mend: "Have the clocks kept: timedatectl set-ntp true; tokens and certificates depend on them",
        });
      } else if (rateLimit !== undefined && now - at < LATELY_MS && isShort(rateLimit)) {
        const found = `${host} lets ${rateLimit.remaining} of ${rateLimit.limit} pulls through for now`;
        faults.push({ found, mend: `Log in there, or set a mirror for it: gantry login ${host}` });
      }
    }
    return verdict(faults, `${all.map(({ host }) => host).join(", ")}: in order`);
  },
};

function isShort({ limit, remaining }: RateLimit): boolean {
  return remaining < limit / 10;
}

/** The failures of connections end in what to do about them, where there is one thing to do. */
function adviceOn(problem: string): string {
  if (/\b(x509|tls): /.test(problem)) {
    const [, advice = ""] = /: (put [^:]*|use a name [^:]*|add [^:]*)$/.exec(problem) ?? [];
    return advice === "" ? "See to its certificate" : `${advice[0]?.toUpperCase()}${advice.slice(1)}`;
  }
  return "See that it runs, and that firewalls let the engine through, or set http-proxy and https-proxy";
}

/** The first faults in one sentence, with what mends the first of them; else that all is well. */
function verdict(faults: readonly Fault[], fine: string): Finding {
  const [first] = faults;
  if (first === undefined) return ok(fine);
  const told = faults.slice(0, MOST_TOLD).map(({ found }) => found);
  const more = faults.length > MOST_TOLD ? `; and ${faults.length - MOST_TOLD} more` : "";
  return warning(told.join("; ") + more, first.mend);
}

function ago(milliseconds: number): string {
  return milliseconds < 1000 ? "just now" : `${span(milliseconds)} ago`;
}

function span(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  const [count, unit] =
    seconds < 120
      ? [seconds, "second"]
      : seconds < 7200
        ? [Math.round(seconds / 60), "minute"]
        : [Math.round(seconds / 3600), "hour"];
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

export const registryChecks: readonly Check[] = [certificates, proxies, answers];
