// The layers of the source (docs/architecture.md). A folder may import only what its row names.
const rows = {
  base: [],
  oci: ["base"],
  api: ["base"],
  dockerfile: ["base", "oci"],
  kernel: ["base"],
  state: ["base"],
  events: ["base", "api"],
  content: ["base", "oci"],
  remote: ["base", "oci"],
  trust: ["base", "oci"],
  snapshots: ["base", "oci", "kernel"],
  runtime: ["base", "oci", "kernel"],
  lazy: ["base", "oci", "kernel", "remote", "runtime"],
  images: ["base", "oci", "api", "dockerfile", "state", "events", "content", "remote", "snapshots", "lazy"],
  networks: ["base", "api", "kernel", "state", "events"],
  volumes: ["base", "oci", "api", "kernel", "state", "events", "snapshots"],
  containers: ["base", "oci", "api", "dockerfile", "kernel", "state", "events", "content", "snapshots", "runtime", "images", "networks", "volumes"],
  grpc: ["base"],
  buildkit: ["base", "grpc"],
  build: [
    "base", "oci", "api", "kernel", "state", "events", "content", "remote", "snapshots", "runtime",
    "images", "networks", "dockerfile", "grpc", "buildkit",
  ],
  doctor: ["base", "api", "kernel", "remote", "trust"],
  engine: [
    "base", "oci", "api", "kernel", "state", "events", "content", "snapshots", "runtime",
    "remote", "trust", "lazy", "images", "networks", "volumes", "containers", "build", "grpc", "buildkit", "dockerfile", "doctor",
  ],
  bake: ["base"],
  client: ["base", "api"],
  cli: ["base", "oci", "api", "trust", "client", "grpc", "buildkit", "dockerfile", "bake"],
};

const folders = Object.keys(rows).join("|");

export default {
  forbidden: [
    {
      name: "no-cycles",
      comment: "Two files that import each other cannot be read apart: move what both need into a third.",
      severity: "error",
      from: { path: "^src" },
      to: { circular: true },
    },
    {
      name: "known-folder",
      comment: "A new folder under src/ takes a row in .dependency-cruiser.mjs and in docs/architecture.md.",
      severity: "error",
      from: { path: "^src", pathNot: `^src/(${folders})/` },
      to: {},
    },
    ...Object.entries(rows).map(([folder, allowed]) => ({
      name: `layer-${folder}`,
      comment: `src/${folder} may import only: ${allowed.join(", ") || "nothing of src"}.`,
      severity: "error",
      from: { path: `^src/${folder}/`, pathNot: "\\.(test|suite|fixture)\\.ts$" },
      to: { path: "^src/", pathNot: `^src/(${[folder, ...allowed].join("|")})/` },
    })),
    {
      name: "depth-is-visibility",
      comment: "src/x/z/ is private to src/x: import what x exports beside it.",
      severity: "error",
      from: { path: "^src/([^/]+)/" },
      to: { path: "^src/([^/]+)/[^/]+/", pathNot: ["^src/$1/", "^src/oci/tar/", "^src/base/template/"] },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { extensions: [".ts", ".mjs", ".js"] },
  },
};
