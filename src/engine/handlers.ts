import type { EnginePorts } from "./ports.ts";
import type { Handlers } from "./route-request.ts";
import { buildRoutes } from "./routes/build.ts";
import { buildCacheRoutes } from "./routes/build-cache.ts";
import { buildStepRoutes } from "./routes/build-steps.ts";
import { buildkitBuild, buildkitRoutes } from "./routes/buildkit.ts";
import { containerRoutes } from "./routes/containers.ts";
import { doctorRoutes } from "./routes/doctor.ts";
import { execRoutes } from "./routes/exec.ts";
import { imageRoutes } from "./routes/images.ts";
import { manifestRoutes } from "./routes/manifest.ts";
import { networkRoutes } from "./routes/networks.ts";
import { registryRoutes } from "./routes/registry.ts";
import { signatureRoutes } from "./routes/signatures.ts";
import { systemRoutes } from "./routes/system.ts";
import { usageRoutes } from "./routes/usage.ts";
import { volumeCareRoutes } from "./routes/volume-care.ts";
import { volumeRoutes } from "./routes/volumes.ts";
import { timedHandlers } from "./timed-handlers.ts";

/** A handler for each route of the API's table; a missing one fails to compile. */
export function engineHandlers(ports: EnginePorts): Handlers {
  const { containers } = ports;
  const usesVolume = async (name: string) => {
    const users = await containers.list({ all: true, limit: undefined, size: false, filters: { volume: [name] } });
    return users.length > 0;
  };
  const handlers = {
    ...systemRoutes(ports.system, ports.events),
    ...containerRoutes(containers),
    ...execRoutes(containers),
    ...buildCacheRoutes(ports.builder),
    ...buildStepRoutes(ports.failedSteps, ports.cacheArchives),
    ...imageRoutes(ports.images, ports.registries),
    ...buildRoutes(ports.builder, { buildkit: buildkitBuild(ports.buildWire) }),
    ...buildkitRoutes(ports.buildWire),
    ...networkRoutes(ports.networks, containers),
    ...signatureRoutes(ports.registries),
    ...manifestRoutes(ports.images, ports.registries),
    ...registryRoutes(ports.registries),
    ...doctorRoutes(ports.doctor),
    ...volumeRoutes(ports.volumes, usesVolume),
    ...volumeCareRoutes(ports.volumeCare),
    ...usageRoutes(ports.diskUsage, ports.metrics.registry),
  };
  return timedHandlers(handlers, ports.metrics.containerActions);
}
