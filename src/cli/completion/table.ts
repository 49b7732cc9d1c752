import {
  among,
  anyOf,
  containers,
  contexts,
  files,
  filterKeys,
  folders,
  images,
  networks,
  nothing,
  plugins,
  prefixed,
  registries,
  runtimes,
  type Source,
  snapshots,
  volumes,
} from "./sources.ts";

/** What these read with is loaded only where it is asked for. */
const ofBuilds =
  (name: "bakeTargets" | "builds" | "stages"): Source =>
  async (asked, word) =>
    await (await import("./build-sources.ts"))[name](asked, word);
const [bakeTargets, builds, stages] = [ofBuilds("bakeTargets"), ofBuilds("builds"), ofBuilds("stages")];

const running = containers("running");
const containerObjects = containers();
const any = anyOf(containerObjects, images, networks, volumes);

const BY_TYPE: Readonly<Record<string, Source>> = {
  container: containerObjects,
  image: images,
  network: networks,
  volume: volumes,
};

/** The arguments of commands in their order; the last goes on for all that follow. */
export const ARGUMENTS: Readonly<Record<string, readonly Source[]>> = {
  "container attach": [running, nothing],
  "container commit": [containerObjects, images, nothing],
  "container cp": [anyOf(files, containerObjects), anyOf(files, containerObjects), nothing],
  "container create": [images, nothing],
  "container diff": [containerObjects, nothing],
  "container exec": [running, nothing],
  "container export": [containerObjects, nothing],
  "container inspect": [containerObjects],
  "container kill": [running],
  "container logs": [containerObjects, nothing],
  "container pause": [running],
  "container port": [containerObjects, nothing],
  "container rename": [containerObjects, nothing],
  "container restart": [containerObjects],
  "container rm": [
    (asked, word) =>
      (asked.flag("force") === "true" ? containerObjects : containers("created", "exited", "dead"))(asked, word),
  ],
  "container run": [images, nothing],
  "container start": [containers("created", "exited")],
  "container stats": [running],
  "container stop": [running],
  "container top": [running, nothing],
  "container unpause": [containers("paused")],
  "container update": [containerObjects],
  "container wait": [containerObjects],
  "healthcheck run": [running, nothing],
  "image bootstrap": [among("busybox", "debian:bookworm", "debian:trixie"), nothing],
  "image copy": [images, images, nothing],
  "image history": [images, nothing],
  "image import": [files, nothing],
  "image inspect": [images],
  "image keygen": [nothing],
  "image ls": [images, nothing],
  "image pull": [images, nothing],
  "image push": [images, nothing],
  "image rm": [images],
  "image save": [images],
  "image sign": [images],
  "image tag": [images, images, nothing],
  "image verify": [images],
  "manifest annotate": [images],
  "manifest create": [images],
  "manifest inspect": [images, images, nothing],
  "manifest push": [images, nothing],
  "manifest rm": [images],
  "network connect": [networks, containerObjects, nothing],
  "network disconnect": [networks, containerObjects, nothing],
  "network inspect": [networks],
  "network rm": [networks],
  "volume clone": [volumes, nothing],
  "volume du": [volumes],
  "volume export": [volumes, nothing],
  "volume import": [volumes, files, nothing],
  "volume inspect": [volumes],
  "volume rename": [volumes, nothing],
  "volume restore": [volumes, snapshots, nothing],
  "volume rm": [volumes],
  "volume snapshot": [
    anyOf(among("create", "ls", "rm"), volumes),
    (asked, word) => (["create", "ls", "rm"].includes(asked.args[0] ?? "") ? volumes : nothing)(asked, word),
    (asked, word) => (asked.args[0] === "rm" ? snapshots : nothing)(asked, word),
  ],
  "volume update": [volumes, nothing],
  "context export": [contexts, files, nothing],
  "context import": [nothing, files, nothing],
  "context inspect": [contexts],
  "context rm": [contexts],
  "context update": [contexts, nothing],
  "context use": [contexts, nothing],
  "system doctor": [among("kernel", "cgroup", "storage", "network", "dns", "clock", "limits", "version", "engine")],
  "image build": [folders, nothing],
  "builder build": [folders, nothing],
  "builder history inspect": [builds, nothing],
  "builder history logs": [builds, nothing],
  "builder history open": [builds, nothing],
  "builder history rm": [builds],
  " bake": [bakeTargets],
  " completion": [among("bash", "fish", "zsh"), nothing],
  " login": [registries, nothing],
  " logout": [registries, nothing],
  " inspect": [(asked, word) => (BY_TYPE[asked.flag("type")] ?? any)(asked, word)],
};

const SIGNALS = ["SIGHUP", "SIGINT", "SIGKILL", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGCONT"];
const CAPABILITIES =
  "ALL AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH " +
  "FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN " +
  "NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT " +
  "SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM";
const PLATFORMS = among("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6", "linux/386", "linux/riscv64");
/** Options of `network create` by the network's driver. */
const NETWORK_OPTIONS: Readonly<Record<string, readonly string[]>> = {
  bridge: [
    ...["enable_icc=", "enable_ip_masquerade=", "gateway_mode_ipv4=", "gateway_mode_ipv6=", "host_binding_ipv4="],
    ...["inhibit_ipv4=", "name=", "trusted_host_interfaces="],
  ]
    .map((key) => `com.docker.network.bridge.${key}`)
    .concat("com.docker.network.container_iface_prefix=", "com.docker.network.driver.mtu="),
  ipvlan: ["ipvlan_flag=", "ipvlan_mode=", "parent="],
  macvlan: ["macvlan_mode=", "parent="],
};
/** What is to be written on: no space follows it. */
const begun =
  (...values: readonly string[]): Source =>
  () => ({ values, also: "nospace" });
const BUILD_NETWORKS = among("default", "host", "none");
const BUILD_OUTPUTS = begun(
  "type=docker",
  "type=image",
  "type=local,dest=",
  "type=oci,dest=",
  "type=registry",
  "type=tar,dest=",
);
const YES_NO = among("true", "false");
const shared = prefixed("container:", containerObjects);
const capabilities = among(...CAPABILITIES.split(" "));

/** Values of flags, alike for all commands unless the command is named. */
export const FLAG_VALUES: Readonly<Record<string, Source>> = {
  "": nothing,
  allow: among("network.host", "security.insecure"),
  "cache-from": begun("type=inline", "type=local,src=", "type=registry,ref="),
  "cache-to": begun("type=inline", "type=local,dest=", "type=registry,ref="),
  call: among("build", "check", "outline", "targets"),
  "cap-add": capabilities,
  "cap-drop": capabilities,
  cgroupns: among("host", "private"),
  cidfile: files,
  config: folders,
  context: contexts,
  "container inspect --format": among("json"),
  "detach-keys": nothing,
  "container create --driver": nothing,
  "network create --driver": plugins("Network"),
  "network create --opt": (asked, word) =>
    begun(...(NETWORK_OPTIONS[asked.flag("driver") || "bridge"] ?? []))(asked, word),
  "volume create --driver": plugins("Volume"),
  "volume create --opt": begun("device=", "o=", "size=", "type="),
  deny: among("private"),
  "env-file": files,
  file: files,
  format: among("json", "table"),
  from: contexts,
  "health-on-failure": among("kill", "none", "restart", "stop"),
  iidfile: files,
  input: files,
  "image verify --output": among("json", "text"),
  ipc: anyOf(among("host", "none", "private", "shareable"), shared),
  key: files,
  "label-file": files,
  link: containerObjects,
  " bake --list": among("targets", "variables"),
  "log-driver": anyOf(plugins("Log"), among("none")),
  "log-level": among("debug", "info", "warn", "error", "fatal"),
  "log-opt": (asked) => ({
    values: ["max-size=", "max-file=", "labels=", "env=", "tag="].filter(() => asked.flag("log-driver") !== "none"),
    also: "nospace",
  }),
  "metadata-file": files,
  mount: begun("type=bind,src=", "type=image,src=", "type=tmpfs,dst=", "type=volume,src="),
  network: anyOf(networks, shared),
  "image build --network": BUILD_NETWORKS,
  "builder build --network": BUILD_NETWORKS,
  "no-cache-filter": stages,
  "on-failure": among("shell"),
  output: files,
  "image build --output": BUILD_OUTPUTS,
  "builder build --output": BUILD_OUTPUTS,
  pid: anyOf(among("host"), shared),
  platform: PLATFORMS,
  policy: files,
  progress: among("auto", "none", "plain", "quiet", "rawjson", "tty"),
  pull: among("always", "missing", "never"),
  restart: among("always", "no", "on-failure", "unless-stopped"),
  runtime: runtimes,
  "security-opt": anyOf(
    among("apparmor=", "label=", "no-new-privileges", "seccomp=", "seccomp=unconfined", "systempaths=unconfined"),
  ),
  signal: among(...SIGNALS),
  "stop-signal": among(...SIGNALS),
  secret: begun("id="),
  ssh: among("default"),
  "storage-opt": among("size="),
  tlscacert: files,
  tlscert: files,
  tlskey: files,
  target: stages,
  tail: among("all", "10", "100", "1000"),
  type: among("container", "image", "network", "volume"),
  userns: among("host"),
  uts: among("host"),
  volume: anyOf(volumes, files),
  "volume-driver": plugins("Volume"),
  "volumes-from": containerObjects,
  workdir: nothing,
  "container ls --filter": filterKeys({
    ancestor: images,
    before: containerObjects,
    exited: nothing,
    expose: nothing,
    health: among("healthy", "none", "starting", "unhealthy"),
    id: nothing,
    "is-task": YES_NO,
    label: nothing,
    name: containerObjects,
    network: networks,
    publish: nothing,
    since: containerObjects,
    status: among("created", "dead", "exited", "paused", "removing", "restarting", "running"),
    volume: volumes,
  }),
  "image ls --filter": filterKeys({
    before: images,
    dangling: YES_NO,
    label: nothing,
    reference: images,
    since: images,
    until: nothing,
  }),
  " search --filter": filterKeys({ "is-official": YES_NO, stars: nothing }),
  "manifest annotate --arch": among("386", "amd64", "arm", "arm64", "ppc64le", "riscv64", "s390x"),
  "manifest annotate --os": among("darwin", "freebsd", "linux", "windows"),
  "manifest annotate --variant": among("v5", "v6", "v7", "v8"),
  "network ls --filter": filterKeys({
    dangling: YES_NO,
    driver: plugins("Network"),
    id: nothing,
    label: nothing,
    name: networks,
    scope: among("global", "local", "swarm"),
    type: among("builtin", "custom"),
  }),
  "volume ls --filter": filterKeys({
    dangling: YES_NO,
    driver: plugins("Volume"),
    label: nothing,
    name: volumes,
  }),
  "system events --filter": filterKeys({
    container: containerObjects,
    event: among(
      "attach",
      "create",
      "destroy",
      "die",
      "exec_create",
      "exec_start",
      "kill",
      "oom",
      "pause",
      "start",
      "stop",
    ),
    image: images,
    label: nothing,
    network: networks,
    type: among("builder", "container", "daemon", "image", "network", "volume"),
    volume: volumes,
  }),
  filter: filterKeys({ label: nothing, "label!": nothing, until: nothing }),
};
