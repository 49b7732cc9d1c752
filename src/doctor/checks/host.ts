import { type Check, note, ok, warning } from "../check.ts";
import type { Files } from "../machine.ts";

const resolvers: Check = {
  id: "dns.resolvers",
  title: "name servers",
  run({ files }) {
    const text = files.read("/etc/resolv.conf");
    if (text === undefined)
      return warning("/etc/resolv.conf can't be read", "Write one: echo nameserver ADDRESS > /etc/resolv.conf");
    const servers = [...text.matchAll(/^\s*nameserver\s+(\S+)/gm)].map(([, address = ""]) => address);
    if (servers.length === 0) {
      return warning("/etc/resolv.conf names none", "Name one: echo nameserver ADDRESS >> /etc/resolv.conf");
    }
    const local = servers.filter((address) => /^127\.|^::1$/.test(address));
    const deaf = local.filter((address) => !listens(files, address));
    if (deaf.length > 0 && local.length === servers.length) {
      return warning(
        `nothing listens at ${deaf.join(", ")}`,
        "Start the local resolver: systemctl start systemd-resolved",
      );
    }
    if (local.length === servers.length) return ok(`${servers.join(", ")}, a resolver on this machine`);
    return ok(servers.join(", "));
  },
};

/** /proc/net/udp writes an IPv4 address as a number of the machine's own byte order. */
function listens(files: Files, address: string): boolean {
  if (address.includes(":")) return /\s0{24}01000000:0035\s/i.test(files.read("/proc/net/udp6") ?? "");
  const hex = Buffer.from(address.split(".").map(Number).reverse()).toString("hex").toUpperCase();
  return (files.read("/proc/net/udp") ?? "")
    .split("\n")
    .some((row) => row.includes(` ${hex}:0035 `) || row.includes(" 00000000:0035 "));
}

const synchronization: Check = {
  id: "clock.synchronization",
  title: "time",
  run({ clock }) {
    const { isSynced, maxErrorMs } = clock.synchronization();
    if (isSynced) return ok(`synchronized, within ${Math.ceil(maxErrorMs)} ms`);
    return note(
      "nobody synchronizes it: certificates and logs need the right one",
      "Start a service for it: systemctl enable --now systemd-timesyncd",
    );
  },
};

const MOST_DRIFT_S = 60;
const QUARTER_HOUR_S = 900;

const drift: Check = {
  id: "clock.drift",
  title: "hardware clock",
  run({ clock, files }) {
    const hardware = Number(files.read("/sys/class/rtc/rtc0/since_epoch") ?? Number.NaN);
    if (Number.isNaN(hardware)) return ok("this machine has none");
    const apart = Math.abs(clock.now() / 1000 - hardware);
    // One that keeps local time is whole quarters of an hour apart.
    const real = Math.min(apart % QUARTER_HOUR_S, QUARTER_HOUR_S - (apart % QUARTER_HOUR_S));
    const seconds = apart > 26 * 3600 ? apart : real;
    if (seconds <= MOST_DRIFT_S) return ok(`${Math.round(seconds)} s apart`);
    return warning(
      `it is ${Math.round(seconds)} s apart: the machine may have slept`,
      "Set it after the time is right: hwclock --systohc",
    );
  },
};

const LEAST_FILES = 65_536;

const openFiles: Check = {
  id: "limits.files",
  title: "open files",
  run({ files }) {
    const row = /^Max open files\s+(\S+)\s+(\S+)/m.exec(files.read("/proc/self/limits") ?? "");
    const hard = row?.[2] === "unlimited" ? Number.POSITIVE_INFINITY : Number(row?.[2] ?? 0);
    if (hard >= LEAST_FILES) return ok(`up to ${row?.[2]}`);
    return warning(
      `no more than ${hard}: many containers need more`,
      "Set LimitNOFILE=infinity in the engine's systemd unit, or run ulimit -n 1048576 before it.",
    );
  },
};

const LEAST_TASKS = 4096;

const tasks: Check = {
  id: "limits.processes",
  title: "processes",
  run({ files }) {
    const read = (path: string) => Number(files.read(path)?.trim() ?? Number.NaN);
    const most = Math.min(read("/proc/sys/kernel/pid_max"), read("/proc/sys/kernel/threads-max"));
    if (Number.isNaN(most)) return note("the kernel doesn't say how many there can be");
    if (most >= LEAST_TASKS * 4) return ok(`up to ${most}`);
    return warning(`no more than ${most} on this machine`, "Allow more: sysctl -w kernel.pid_max=4194304");
  },
};

const LEAST_INSTANCES = 256;
const LEAST_WATCHES = 65_536;

const inotify: Check = {
  id: "limits.inotify",
  title: "watched files",
  run({ files }) {
    const read = (name: string) => Number(files.read(`/proc/sys/fs/inotify/${name}`)?.trim() ?? 0);
    const [instances, watches] = [read("max_user_instances"), read("max_user_watches")];
    if (instances >= LEAST_INSTANCES && watches >= LEAST_WATCHES) return ok(`${instances} watchers, ${watches} files`);
    return note(
      `${instances} watchers and ${watches} files for all containers of a user: tools that watch files may fail`,
      "Allow more: sysctl -w fs.inotify.max_user_instances=1024 fs.inotify.max_user_watches=524288",
    );
  },
};

export const hostChecks: readonly Check[] = [resolvers, synchronization, drift, openFiles, tasks, inotify];
