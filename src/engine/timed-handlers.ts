import type { RouteName } from "../api/routes.ts";
import type { Histogram } from "../base/metrics.ts";
import type { Answer } from "./answer.ts";
import type { Handlers } from "./route-request.ts";

/** The routes whose time is a container's action, by the action's name. */
const TIMED: Partial<Record<RouteName, string>> = {
  containerCreate: "create",
  containerStart: "start",
  containerStop: "stop",
  containerRestart: "restart",
  containerKill: "kill",
  containerPause: "pause",
  containerUnpause: "unpause",
  containerUpdate: "update",
  containerRemove: "delete",
};

/** The same handlers; those of containers' actions tell how long each took that went well. */
export function timedHandlers(handlers: Handlers, seconds: Histogram): Handlers {
  const timed: Record<string, (request: never) => Promise<Answer>> = {};
  for (const [route, action] of Object.entries(TIMED)) {
    const handler = handlers[route as RouteName] as (request: never) => Promise<Answer> | Answer;
    timed[route] = async (request) => {
      const since = performance.now();
      const answer = await handler(request);
      seconds.observe((performance.now() - since) / 1000, { action });
      return answer;
    };
  }
  return { ...handlers, ...timed };
}
