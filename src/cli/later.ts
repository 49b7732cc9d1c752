/** Commands of docker's that this version has not, and why: it runs containers on one host. */
const CLUSTER = "this version manages containers on one host and has no swarm";
const PLUGINS = "this version has no managed plugins";

const LATER: Readonly<Record<string, string>> = {
  swarm: CLUSTER,
  node: CLUSTER,
  service: CLUSTER,
  stack: CLUSTER,
  config: CLUSTER,
  secret: CLUSTER,
  buildx: "see `gantry build`, `gantry bake` and `gantry builder`; `docker buildx` works with its socket",
  trust: "Docker Content Trust is not available: see `gantry image sign` and `gantry image verify`",
  plugin: PLUGINS,
  compose: "this version has no compose: `docker compose` works with its socket",
  checkpoint: "this version has no checkpoints",
};

/** What to say of a command that docker has and this version has not; undefined for any other word. */
export function laterSentence(words: string): string | undefined {
  const why = LATER[words];
  return why === undefined ? undefined : `gantry: 'gantry ${words}' is not available: ${why}`;
}
