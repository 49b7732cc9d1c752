import type { ContainerInspect } from "./container.ts";
import type { ImageInspect } from "./image.ts";
import { olderAnswer } from "./older-answers.ts";
import type { RouteName } from "./routes.ts";

/**
 * What a client must be told otherwise, lest it fail on an engine that is right: known by the User-Agent, whatever its
 * version of the API.
 */
interface Quirk {
  readonly route: RouteName;
  readonly agent: RegExp;
  readonly change: (value: never) => unknown;
}

const QUIRKS: readonly Quirk[] = [
  {
    // Its run() reads the output of these two drivers only, and returns nothing else: it looks at the driver's name.
    route: "containerInspect",
    agent: /^docker-sdk-python\//,
    change: (container: ContainerInspect) => {
      const { LogConfig } = container.HostConfig;
      if (LogConfig.Type !== "local") return container;
      return { ...container, HostConfig: { ...container.HostConfig, LogConfig: { ...LogConfig, Type: "json-file" } } };
    },
  },
  {
    // It asks for the newest version, and makes a container anew only if its image tells what 1.45 left out.
    route: "imageInspect",
    agent: /^docker-compose\/1\./,
    change: (image: ImageInspect) => olderAnswer("imageInspect", "1.44", image),
  },
];

/** An answer as the client of this User-Agent needs it. `value` is left as it is. */
export function answerFor(agent: string | undefined, route: RouteName, value: unknown): unknown {
  if (agent === undefined) return value;
  return QUIRKS.filter((quirk) => quirk.route === route && quirk.agent.test(agent)).reduce(
    (changed, { change }) => change(changed as never),
    value,
  );
}
