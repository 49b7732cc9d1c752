import manifest from "../../package.json" with { type: "json" };

/** Gantry's version, of the engine and of the tools alike, as the package says it. */
export const VERSION: string = manifest.version;
