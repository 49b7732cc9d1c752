import { accessSync, constants } from "node:fs";
import { fileURLToPath } from "node:url";

const PLUGINS = new URL("../dist/test-clients/cli-plugins/", import.meta.url);

/** Plugins of a newer release that scripts/test-clients.sh fetches; undefined where they couldn't be had. */
export const BUILDX: string | undefined = plugin("docker-buildx");
export const COMPOSE_2: string | undefined = plugin("docker-compose");

/** For `skip` of tests: false, or why they can't run. */
export const NO_BUILDX: string | false = BUILDX === undefined && "docker-buildx could not be fetched";
export const NO_COMPOSE_2: string | false = COMPOSE_2 === undefined && "docker compose 2 could not be fetched";

function plugin(name: string): string | undefined {
  const path = fileURLToPath(new URL(name, PLUGINS));
  try {
    accessSync(path, constants.X_OK);
    return path;
  } catch {
    return undefined;
  }
}
