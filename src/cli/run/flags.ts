import { parseUlimit, ramInBytes } from "../../base/units.ts";
import {
  boolFlag,
  bytesFlag,
  durationFlag,
  type FlagSpec,
  intFlag,
  listFlag,
  mapFlag,
  parseUnsigned,
  textFlag,
} from "../flags/spec.ts";
import { cutAt } from "./cut-at.ts";
import { checkDeviceRule, checkedBy, parseBytesRate, parseGpus, parseOperationsRate, parseWeight } from "./devices.ts";
import { checkEnv, checkLabel } from "./environment.ts";
import { checkOnFailure } from "./health.ts";
import { parseMount } from "./mounts.ts";
import { checkAddress, checkExtraHost, checkLink, checkSearchDomain, parseNetwork } from "./networks.ts";

const EMPTY_LIST = { shownDefault: "[]" };

/** The flags that `run` and `create` share. */
export const CREATE_FLAGS: readonly FlagSpec[] = [
  listFlag("add-host", "Add a host name and its address (host:ip)", { check: checkExtraHost }),
  mapFlag("annotation", "Add an annotation that is passed to the OCI runtime", { since: "1.43" }),
  listFlag("a,attach", "Attach to STDIN, STDOUT or STDERR", { check: checkStream }),
  intFlag("blkio-weight", "Block IO weight, 10 to 1000, 0 for none", {
    type: "uint16",
    check: parseUnsigned(16),
    shownDefault: "0",
  }),
  listFlag("blkio-weight-device", "Block IO weight of a device", { ...EMPTY_LIST, check: checkedBy(parseWeight) }),
  listFlag("cap-add", "Add Linux capabilities"),
  listFlag("cap-drop", "Drop Linux capabilities"),
  textFlag("cgroup-parent", "Parent cgroup of the container"),
  textFlag("cgroupns", "Cgroup namespace to use (host|private)"),
  textFlag("cidfile", "Write the container's ID to this file"),
  intFlag("cpu-count", "CPU count (Windows only)", { windows: true }),
  intFlag("cpu-percent", "CPU percent (Windows only)", { windows: true }),
  intFlag("cpu-period", "CPU period of the CFS scheduler in microseconds"),
  intFlag("cpu-quota", "CPU quota of the CFS scheduler in microseconds"),
  intFlag("cpu-rt-period", "CPU real-time period in microseconds", { since: "1.25" }),
  intFlag("cpu-rt-runtime", "CPU real-time runtime in microseconds", { since: "1.25" }),
  intFlag("c,cpu-shares", "CPU shares (relative weight)"),
  textFlag("cpus", "Number of CPUs", {
    type: "decimal",
    check: checkCpus,
    initial: "0",
    shownDefault: "",
    since: "1.25",
  }),
  textFlag("cpuset-cpus", "CPUs to run on (0-3, 0,1)"),
  textFlag("cpuset-mems", "Memory nodes to use (0-3, 0,1)"),
  listFlag("device", "Add a device of the host"),
  listFlag("device-cgroup-rule", "Add a rule to the list of allowed devices", { check: checkDeviceRule }),
  listFlag("device-read-bps", "Limit bytes read per second from a device", {
    ...EMPTY_LIST,
    check: checkedBy(parseBytesRate),
  }),
  listFlag("device-read-iops", "Limit reads per second from a device", {
    ...EMPTY_LIST,
    check: checkedBy(parseOperationsRate),
  }),
  listFlag("device-write-bps", "Limit bytes written per second to a device", {
    ...EMPTY_LIST,
    check: checkedBy(parseBytesRate),
  }),
  listFlag("device-write-iops", "Limit writes per second to a device", {
    ...EMPTY_LIST,
    check: checkedBy(parseOperationsRate),
  }),
  boolFlag("disable-content-trust", "Skip image verification", { initial: "true", shownDefault: "true" }),
  listFlag("dns", "Set DNS servers", { check: checkAddress }),
  listFlag("dns-opt", "Set DNS options", { hidden: true, into: "dns-option" }),
  listFlag("dns-option", "Set DNS options"),
  listFlag("dns-search", "Set DNS search domains", { check: checkSearchDomain }),
  textFlag("domainname", "NIS domain name of the container"),
  textFlag("entrypoint", "Replace the entrypoint of the image"),
  listFlag("e,env", "Set environment variables", { check: checkEnv }),
  listFlag("env-file", "Read environment variables from a file"),
  listFlag("expose", "Expose a port or a range of ports"),
  textFlag("gpus", "GPUs to add ('all' for all of them)", { type: "gpu-request", check: checkedBy(parseGpus) }),
  listFlag("group-add", "Add groups for the process"),
  textFlag("health-cmd", "Command that checks the container's health"),
  durationFlag("health-interval", "Time between two checks (ms|s|m|h)"),
  textFlag("health-on-failure", "What to do when the container turns unhealthy (none|kill|restart|stop)", {
    check: checkOnFailure,
  }),
  intFlag("health-retries", "Failures in a row that mean unhealthy"),
  durationFlag("health-start-interval", "Time between two checks while starting (ms|s|m|h)", { since: "1.44" }),
  durationFlag("health-start-period", "Time to start in, before failures count (ms|s|m|h)", { since: "1.29" }),
  durationFlag("health-timeout", "Longest time a check may take (ms|s|m|h)"),
  textFlag("h,hostname", "Host name of the container"),
  boolFlag("init", "Run an init in the container that forwards signals and reaps processes", { since: "1.25" }),
  boolFlag("i,interactive", "Keep STDIN open even if not attached"),
  bytesFlag("io-maxbandwidth", "Largest IO bandwidth of the system drive (Windows only)", { windows: true }),
  intFlag("io-maxiops", "Largest IOps of the system drive (Windows only)", {
    type: "uint",
    check: parseUnsigned(64),
    windows: true,
  }),
  textFlag("ip", "IPv4 address (e.g., 172.30.100.104)"),
  textFlag("ip6", "IPv6 address (e.g., 2001:db8::33)"),
  textFlag("ipc", "IPC namespace to use"),
  textFlag("isolation", "Isolation technology of the container"),
  bytesFlag("kernel-memory", "Kernel memory limit"),
  listFlag("l,label", "Set a label on the container", { check: checkLabel }),
  listFlag("label-file", "Read labels from a file, one a line"),
  listFlag("link", "Link to another container", { check: checkLink }),
  listFlag("link-local-ip", "Link-local addresses, IPv4 or IPv6", { check: checkAddress }),
  textFlag("log-driver", "Logging driver of the container"),
  listFlag("log-opt", "Options of the logging driver"),
  textFlag("mac-address", "MAC address (e.g., 92:d0:c6:0a:29:33)"),
  bytesFlag("m,memory", "Memory limit"),
  bytesFlag("memory-reservation", "Memory soft limit"),
  bytesFlag("memory-swap", "Limit of memory plus swap: '-1' for unlimited swap", { check: checkSwap }),
  intFlag("memory-swappiness", "Swappiness (0 to 100)", { initial: "-1" }),
  textFlag("mount", "Mount a volume, a path of the host, a tmpfs or an image", {
    type: "mount",
    check: checkedBy(parseMount),
  }),
  textFlag("name", "Name of the container"),
  textFlag("net", "Connect to a network", {
    type: "network",
    hidden: true,
    into: "network",
    check: checkedBy(parseNetwork),
  }),
  listFlag("net-alias", "Add an alias on the network", { hidden: true, into: "network-alias" }),
  textFlag("network", "Connect to a network", { type: "network", check: checkedBy(parseNetwork) }),
  listFlag("network-alias", "Add an alias on the network"),
  boolFlag("no-healthcheck", "Disable the image's health check"),
  boolFlag("oom-kill-disable", "Disable the OOM killer"),
  intFlag("oom-score-adj", "Tune the host's OOM preferences (-1000 to 1000)"),
  textFlag("pid", "PID namespace to use"),
  intFlag("pids-limit", "Limit the number of processes (-1 for unlimited)"),
  textFlag("platform", "Platform of the image, os[/arch[/variant]]", { since: "1.32" }),
  boolFlag("privileged", "Give extended privileges to the container"),
  listFlag("p,publish", "Publish ports of the container on the host"),
  boolFlag("P,publish-all", "Publish all exposed ports on random ports"),
  textFlag("pull", 'Pull the image first ("always", "missing", "never")', { initial: "missing" }),
  boolFlag("q,quiet", "Suppress the output of the pull"),
  boolFlag("read-only", "Mount the root filesystem read-only"),
  textFlag("restart", "Restart policy after the container's exit", { initial: "no" }),
  boolFlag("rm", "Remove the container and its anonymous volumes when it exits"),
  textFlag("runtime", "Runtime of the container"),
  listFlag("security-opt", "Security options"),
  bytesFlag("shm-size", "Size of /dev/shm"),
  textFlag("stop-signal", "Signal that stops the container"),
  intFlag("stop-timeout", "Seconds to wait for the container to stop", { since: "1.25" }),
  listFlag("storage-opt", "Options of the storage driver"),
  mapFlag("sysctl", "Kernel parameters", { check: checkSysctl }),
  listFlag("tmpfs", "Mount a tmpfs folder"),
  boolFlag("t,tty", "Allocate a pseudo-TTY"),
  textFlag("ulimit", "Resource limits", { type: "ulimit", shownDefault: "[]", check: checkUlimit }),
  boolFlag("use-api-socket", "Mount the engine's socket and the registries' credentials"),
  textFlag("u,user", "User name or UID (<name|uid>[:<group|gid>])"),
  textFlag("userns", "User namespace to use"),
  textFlag("uts", "UTS namespace to use"),
  listFlag("v,volume", "Mount a volume or a path of the host"),
  textFlag("volume-driver", "Driver of the container's volumes"),
  listFlag("volumes-from", "Mount the volumes of other containers"),
  textFlag("w,workdir", "Working directory in the container"),
];

/** What only `run` has. */
export const RUN_FLAGS: readonly FlagSpec[] = [
  ...CREATE_FLAGS,
  boolFlag("d,detach", "Run in the background and print the container's ID"),
  textFlag("detach-keys", "Keys that detach from the container"),
  boolFlag("sig-proxy", "Pass signals on to the process", { initial: "true", shownDefault: "true" }),
];

function checkStream(text: string): string {
  const stream = text.toLowerCase();
  if (["stdin", "stdout", "stderr"].includes(stream)) return stream;
  throw new Error("valid streams are STDIN, STDOUT and STDERR");
}

function checkSwap(text: string): string {
  return text === "-1" ? "-1" : String(ramInBytes(text));
}

/** Keeps billionths of a CPU; what is finer can't be said to the kernel. */
function checkCpus(text: string): string {
  const match = /^([+-]?)(\d+)(?:\.(\d*))?$|^([+-]?)\.(\d+)$/.exec(text);
  if (match === null) throw new Error(`failed to parse ${text} as a rational number`);
  const fraction = (match[3] ?? match[5] ?? "").replace(/0+$/, "");
  if (fraction.length > 9) throw new Error("value is too precise");
  const nano = BigInt(match[2] ?? "0") * 1_000_000_000n + BigInt(fraction.padEnd(9, "0"));
  return String((match[1] ?? match[4]) === "-" ? -nano : nano);
}

function checkUlimit(text: string): string {
  if (!text.includes("=")) throw new Error(`invalid ulimit argument: ${text}`);
  parseUlimit(text);
  return text;
}

const SYSCTLS = new Set([
  "kernel.msgmax",
  "kernel.msgmnb",
  "kernel.msgmni",
  "kernel.sem",
  "kernel.shmall",
  "kernel.shmmax",
  "kernel.shmmni",
  "kernel.shm_rmid_forced",
]);

function checkSysctl(text: string): string {
  const [key, value] = cutAt(text, "=");
  const known = SYSCTLS.has(key) || key.startsWith("net.") || key.startsWith("fs.mqueue.");
  if (value === undefined || !known) throw new Error(`sysctl '${text}' is not allowed`);
  return text;
}
