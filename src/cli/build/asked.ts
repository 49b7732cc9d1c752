/** What is to be built, whether flags said so or a Bake file. Lists are as flags have them. */
export interface Asked {
  /** A folder, `-`, or a git or http URL. */
  readonly context: string;
  /** Path of the Dockerfile, `-` for standard input; empty for the context's own. */
  readonly file: string;
  /** The Dockerfile itself, in place of a file. */
  readonly inline?: string;
  readonly target: string;
  readonly tags: readonly string[];
  readonly platforms: readonly string[];
  readonly buildArgs: readonly string[];
  readonly labels: readonly string[];
  readonly annotations: readonly string[];
  readonly contexts: readonly string[];
  readonly outputs: readonly string[];
  readonly cacheFrom: readonly string[];
  readonly cacheTo: readonly string[];
  readonly secrets: readonly string[];
  readonly ssh: readonly string[];
  readonly attest: readonly string[];
  readonly hosts: readonly string[];
  readonly ulimits: readonly string[];
  readonly allow: readonly string[];
  readonly noCache: boolean;
  readonly noCacheFilter: readonly string[];
  readonly pull: boolean;
  readonly push: boolean;
  readonly load: boolean;
  readonly network: string;
  /** Bytes, 0 for the engine's own. */
  readonly shmSize: number;
  readonly cgroupParent: string;
  readonly call: "build" | "check" | "outline" | "targets";
  readonly explain: boolean;
  readonly keepFailed: boolean;
  readonly squash: boolean;
  readonly deny: readonly string[];
  /** Further options of the frontend: `memory`, `cpuquota`, … */
  readonly limits: ReadonlyMap<string, string>;
}

/** A build of this folder, of which nothing else is said. */
export function emptyAsked(): Asked {
  return {
    context: ".",
    file: "",
    target: "",
    tags: [],
    platforms: [],
    buildArgs: [],
    labels: [],
    annotations: [],
    contexts: [],
    outputs: [],
    cacheFrom: [],
    cacheTo: [],
    secrets: [],
    ssh: [],
    attest: [],
    hosts: [],
    ulimits: [],
    allow: [],
    noCache: false,
    noCacheFilter: [],
    pull: false,
    push: false,
    load: false,
    network: "default",
    shmSize: 0,
    cgroupParent: "",
    call: "build",
    explain: false,
    keepFailed: false,
    squash: false,
    deny: [],
    limits: new Map(),
  };
}
