import manifest from "../../package.json" with { type: "json" };

/** The engine's own version, as the package says it. */
export const ENGINE_VERSION: string = manifest.version;
