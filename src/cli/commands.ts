import type { Command } from "./command.ts";

/** A command's place in the tree. Only the one that is called is loaded. */
export interface CommandRow {
  /** The group and the name in it; a root command has the group "". */
  readonly group: string;
  readonly name: string;
  readonly aliases: readonly string[];
  /** Its name directly under `gantry`, if it has one. */
  readonly shortcut: string | undefined;
  readonly short: string;
  /** Listed first in the help. */
  readonly common: boolean;
  /** In no help; for other programs. */
  readonly hidden: boolean;
  readonly load: () => Promise<Command>;
}

export interface GroupRow {
  /** Of two words: a group within a group. */
  readonly name: string;
  readonly short: string;
}

export const GROUPS: readonly GroupRow[] = [
  { name: "builder", short: "Manage builds and their cache" },
  { name: "builder history", short: "Manage the history of builds" },
  { name: "container", short: "Manage containers" },
  { name: "context", short: "Manage contexts" },
  { name: "healthcheck", short: "Check the health of containers" },
  { name: "image", short: "Manage images" },
  { name: "manifest", short: "Manage manifests of images and lists of them" },
  { name: "network", short: "Manage networks" },
  { name: "system", short: "Manage Gantry" },
  { name: "volume", short: "Manage volumes" },
];

/** The groups within a group; within "", those directly under `gantry`. */
export function groupsIn(group: string): readonly GroupRow[] {
  const prefix = group === "" ? "" : `${group} `;
  return GROUPS.filter(({ name }) => name.startsWith(prefix) && !name.slice(prefix.length).includes(" "))
    .map(({ name, short }) => ({ name: name.slice(prefix.length), short }))
    .filter(({ name }) => name !== "");
}

/** `names`: `group name alias…` [=shortcut]`, a `*` at the end for the common ones, a `/` for the hidden. */
function row(names: string, short: string, load: () => Promise<Command>): CommandRow {
  const words = names.split(" ");
  const shortcut = words.find((word) => word.startsWith("="))?.slice(1);
  const [group = "", name = "", ...aliases] = words.filter(
    (word) => !word.startsWith("=") && word !== "*" && word !== "/",
  );
  return {
    group: group === "-" ? "" : group.replace("/", " "),
    name,
    aliases,
    shortcut,
    short,
    common: words.includes("*"),
    hidden: words.includes("/"),
    load,
  };
}

export const COMMANDS: readonly CommandRow[] = [
  row(
    "container commit =commit",
    "Create a new image from a container's changes",
    async () => (await import("./commands/container-files.ts")).commit,
  ),
  row(
    "container cp =cp",
    "Copy files/folders between a container and the local filesystem",
    async () => (await import("./commands/cp.ts")).cp,
  ),
  row(
    "container diff =diff",
    "Inspect changes to files or directories on a container's filesystem",
    async () => (await import("./commands/container-files.ts")).diff,
  ),
  row(
    "container export =export",
    "Export a container's filesystem as a tar archive",
    async () => (await import("./commands/container-files.ts")).exportContainer,
  ),
  row(
    "container run =run *",
    "Create and run a new container from an image",
    async () => (await import("./commands/run.ts")).run,
  ),
  row("container create =create", "Create a new container", async () => (await import("./commands/create.ts")).create),
  row(
    "container exec =exec *",
    "Execute a command in a running container",
    async () => (await import("./commands/exec.ts")).exec,
  ),
  row("container ls list ps =ps *", "List containers", async () => (await import("./commands/ps.ts")).ps),
  row(
    "container start =start",
    "Start one or more stopped containers",
    async () => (await import("./commands/start.ts")).start,
  ),
  row(
    "container attach =attach",
    "Attach to the input and output of a running container",
    async () => (await import("./commands/attach.ts")).attach,
  ),
  row("container logs =logs", "Fetch the logs of a container", async () => (await import("./commands/logs.ts")).logs),
  row(
    "container inspect",
    "Display detailed information on one or more containers",
    async () => (await import("./commands/inspect.ts")).inspectContainers,
  ),
  row(
    "container kill =kill",
    "Kill one or more running containers",
    async () => (await import("./commands/lifecycle.ts")).kill,
  ),
  row(
    "container pause =pause",
    "Pause all processes within one or more containers",
    async () => (await import("./commands/lifecycle.ts")).pause,
  ),
  row(
    "container port =port",
    "List port mappings or a specific mapping for the container",
    async () => (await import("./commands/lifecycle.ts")).port,
  ),
  row(
    "container prune",
    "Remove all stopped containers",
    async () => (await import("./commands/prune.ts")).pruneContainers,
  ),
  row("container rename =rename", "Rename a container", async () => (await import("./commands/lifecycle.ts")).rename),
  row(
    "container restart =restart",
    "Restart one or more containers",
    async () => (await import("./commands/lifecycle.ts")).restart,
  ),
  row(
    "container rm remove =rm",
    "Remove one or more containers",
    async () => (await import("./commands/lifecycle.ts")).rm,
  ),
  row(
    "container stats =stats",
    "Display a live stream of what containers use",
    async () => (await import("./commands/stats.ts")).stats,
  ),
  row(
    "container stop =stop",
    "Stop one or more running containers",
    async () => (await import("./commands/lifecycle.ts")).stop,
  ),
  row(
    "container top =top",
    "Display the running processes of a container",
    async () => (await import("./commands/lifecycle.ts")).top,
  ),
  row(
    "container unpause =unpause",
    "Unpause all processes within one or more containers",
    async () => (await import("./commands/lifecycle.ts")).unpause,
  ),
  row(
    "container update =update",
    "Change the limits and the restart policy of containers",
    async () => (await import("./commands/update.ts")).update,
  ),
  row(
    "container wait =wait",
    "Block until containers stop, then print their exit codes",
    async () => (await import("./commands/lifecycle.ts")).wait,
  ),
  row(
    "healthcheck run",
    "Run a container's health check at once",
    async () => (await import("./commands/healthcheck.ts")).runHealthcheck,
  ),
  row(
    "image bootstrap",
    "Make a base image from a distribution's packages",
    async () => (await import("./commands/image-transfer.ts")).bootstrap,
  ),
  row(
    "image copy",
    "Copy an image from one registry to another",
    async () => (await import("./commands/image-copy.ts")).copyImage,
  ),
  row(
    "image history =history",
    "Show the history of an image",
    async () => (await import("./commands/history.ts")).history,
  ),
  row(
    "image import =import",
    "Make an image from a tar archive of a filesystem",
    async () => (await import("./commands/image-transfer.ts")).importImage,
  ),
  row(
    "image inspect",
    "Display detailed information on one or more images",
    async () => (await import("./commands/inspect.ts")).inspectImages,
  ),
  row(
    "image load =load",
    "Load images from a tar archive or standard input",
    async () => (await import("./commands/image-transfer.ts")).load,
  ),
  row(
    "image keygen",
    "Make a pair of keys to sign images with",
    async () => (await import("./commands/image-keygen.ts")).keygen,
  ),
  row("image ls list =images *", "List images", async () => (await import("./commands/images.ts")).images),
  row("image prune", "Remove unused images", async () => (await import("./commands/prune.ts")).pruneImages),
  row("image pull =pull *", "Download an image from a registry", async () => (await import("./commands/pull.ts")).pull),
  row("image push =push *", "Upload an image to a registry", async () => (await import("./commands/push.ts")).push),
  row("image rm remove =rmi", "Remove one or more images", async () => (await import("./commands/image-names.ts")).rmi),
  row(
    "image save =save",
    "Save images to a tar archive or standard output",
    async () => (await import("./commands/image-transfer.ts")).save,
  ),
  row("image sign", "Sign images at their registries", async () => (await import("./commands/image-sign.ts")).sign),
  row("image tag =tag", "Give an image another name", async () => (await import("./commands/image-names.ts")).tag),
  row(
    "image tags",
    "List the tags that a repository has at its registry",
    async () => (await import("./commands/image-tags.ts")).tags,
  ),
  row("image unpush", "Remove tags from their registry", async () => (await import("./commands/image-tags.ts")).unpush),
  row(
    "image verify",
    "Check the signatures of images at their registries",
    async () => (await import("./commands/image-verify.ts")).verify,
  ),
  row(
    "manifest annotate",
    "Say for which platform an image of a manifest list is",
    async () => (await import("./commands/manifest.ts")).annotateManifest,
  ),
  row(
    "manifest create",
    "Begin a manifest list, to annotate it and push it to a registry",
    async () => (await import("./commands/manifest.ts")).createManifest,
  ),
  row(
    "manifest inspect",
    "Display a manifest, or a manifest list",
    async () => (await import("./commands/manifest.ts")).inspectManifest,
  ),
  row(
    "manifest push",
    "Push a manifest list to a repository",
    async () => (await import("./commands/manifest.ts")).pushManifest,
  ),
  row(
    "manifest rm",
    "Delete one or more manifest lists that were begun here",
    async () => (await import("./commands/manifest.ts")).removeManifests,
  ),
  row(
    "network connect",
    "Connect a container to a network",
    async () => (await import("./commands/network-members.ts")).connectNetwork,
  ),
  row("network create", "Create a network", async () => (await import("./commands/network-create.ts")).createNetwork),
  row(
    "network disconnect",
    "Disconnect a container from a network",
    async () => (await import("./commands/network-members.ts")).disconnectNetwork,
  ),
  row(
    "network inspect",
    "Display detailed information on one or more networks",
    async () => (await import("./commands/inspect.ts")).inspectNetworks,
  ),
  row("network ls list", "List networks", async () => (await import("./commands/networks.ts")).networks),
  row("network prune", "Remove all unused networks", async () => (await import("./commands/prune.ts")).pruneNetworks),
  row(
    "network rm remove",
    "Remove one or more networks",
    async () => (await import("./commands/networks.ts")).removeNetworks,
  ),
  row("system df", "Show disk usage", async () => (await import("./commands/disk-usage.ts")).diskUsage),
  row(
    "system doctor",
    "Check whether this machine can run containers",
    async () => (await import("./commands/doctor.ts")).doctor,
  ),
  row(
    "system events =events",
    "Get real time events from the engine",
    async () => (await import("./commands/events.ts")).events,
  ),
  row("system info =info *", "Display system-wide information", async () => (await import("./commands/info.ts")).info),
  row(
    "system dial-stdio /",
    "Join standard input and output to the engine's socket",
    async () => (await import("./commands/dial-stdio.ts")).dialStdio,
  ),
  row("system prune", "Remove unused data", async () => (await import("./commands/system-prune.ts")).pruneSystem),
  row(
    "image build =build *",
    "Build an image from a Dockerfile",
    async () => (await import("./commands/build.ts")).build,
  ),
  row("- bake =bake", "Build what a Bake or Compose file says", async () => (await import("./commands/bake.ts")).bake),
  row("builder build", "Build an image from a Dockerfile", async () => (await import("./commands/build.ts")).build),
  row(
    "builder du",
    "Show what the builder keeps",
    async () => (await import("./commands/builder-cache.ts")).builderUsage,
  ),
  row("builder prune", "Remove build cache", async () => (await import("./commands/prune.ts")).pruneBuilder),
  row(
    "builder export-cache",
    "Export a cache mount as a tar archive",
    async () => (await import("./commands/builder-cache.ts")).exportCacheMount,
  ),
  row(
    "builder import-cache",
    "Import a cache mount from a tar archive",
    async () => (await import("./commands/builder-cache.ts")).importCacheMount,
  ),
  row(
    "builder/history ls list",
    "List builds",
    async () => (await import("./commands/builder-history.ts")).listHistory,
  ),
  row(
    "builder/history logs",
    "Print the log of a build",
    async () => (await import("./commands/builder-history.ts")).historyLogs,
  ),
  row(
    "builder/history inspect",
    "Show a build and its steps",
    async () => (await import("./commands/builder-history.ts")).inspectHistory,
  ),
  row(
    "builder/history open",
    "Draw a build over time",
    async () => (await import("./commands/builder-history.ts")).openHistory,
  ),
  row(
    "builder/history rm",
    "Remove builds from the history",
    async () => (await import("./commands/builder-history.ts")).removeHistory,
  ),
  row("context create", "Create a context", async () => (await import("./commands/context.ts")).createContext),
  row(
    "context export",
    "Export a context to a tar archive",
    async () => (await import("./commands/context.ts")).exportContext,
  ),
  row(
    "context import",
    "Import a context from a tar or zip archive",
    async () => (await import("./commands/context.ts")).importContext,
  ),
  row(
    "context inspect",
    "Display detailed information on one or more contexts",
    async () => (await import("./commands/context.ts")).inspectContexts,
  ),
  row("context ls list", "List contexts", async () => (await import("./commands/context.ts")).listContexts),
  row(
    "context rm remove",
    "Remove one or more contexts",
    async () => (await import("./commands/context.ts")).removeContexts,
  ),
  row(
    "context show",
    "Print the name of the current context",
    async () => (await import("./commands/context.ts")).showContext,
  ),
  row("context update", "Update a context", async () => (await import("./commands/context.ts")).updateContext),
  row("context use", "Set the current context", async () => (await import("./commands/context.ts")).useContext),
  row(
    "volume clone",
    "Make a volume with the content of another",
    async () => (await import("./commands/volume-care.ts")).cloneVolume,
  ),
  row("volume create", "Create a volume", async () => (await import("./commands/volumes.ts")).createVolume),
  row(
    "volume du",
    "Show what volumes hold and who uses them",
    async () => (await import("./commands/volume-usage.ts")).volumeUsage,
  ),
  row(
    "volume export",
    "Export the content of a volume as a tar archive",
    async () => (await import("./commands/volume-care.ts")).exportVolume,
  ),
  row(
    "volume import",
    "Fill a volume from a tar archive",
    async () => (await import("./commands/volume-care.ts")).importVolume,
  ),
  row(
    "volume inspect",
    "Display detailed information on one or more volumes",
    async () => (await import("./commands/inspect.ts")).inspectVolumes,
  ),
  row("volume prune", "Remove unused local volumes", async () => (await import("./commands/prune.ts")).pruneVolumes),
  row("volume rename", "Rename a volume", async () => (await import("./commands/volume-care.ts")).renameVolume),
  row(
    "volume restore",
    "Give a volume the content of one of its snapshots",
    async () => (await import("./commands/volume-care.ts")).restoreVolume,
  ),
  row(
    "volume snapshot",
    "Keep a volume as it is now",
    async () => (await import("./commands/volume-care.ts")).snapshotVolume,
  ),
  row(
    "volume update",
    "Make a volume of limited size larger, or update one of a cluster",
    async () => (await import("./commands/volumes.ts")).updateVolume,
  ),
  row("volume ls list", "List volumes", async () => (await import("./commands/volumes.ts")).volumes),
  row(
    "volume rm remove",
    "Remove one or more volumes",
    async () => (await import("./commands/volumes.ts")).removeVolumes,
  ),
  row(
    "- completion =completion",
    "Print the script that completes commands in a shell",
    async () => (await import("./commands/completion.ts")).completion,
  ),
  row(
    "- inspect =inspect",
    "Return low-level information on containers, images, networks and volumes",
    async () => (await import("./commands/inspect.ts")).inspect,
  ),
  row("- login =login *", "Authenticate to a registry", async () => (await import("./commands/login.ts")).login),
  row("- logout =logout *", "Log out from a registry", async () => (await import("./commands/login.ts")).logout),
  row("- search =search *", "Search a registry for images", async () => (await import("./commands/search.ts")).search),
  row(
    "- version =version *",
    "Show the versions of client and engine",
    async () => (await import("./commands/version.ts")).version,
  ),
];

/** The command of a group (or "" for directly under `gantry`) by name or alias. */
export function findCommand(group: string, name: string): CommandRow | undefined {
  if (group === "") return COMMANDS.find((command) => command.shortcut === name);
  return COMMANDS.find(
    (command) => command.group === group && (command.name === name || command.aliases.includes(name)),
  );
}
