import type { Logger } from "../base/log.ts";
import type { EventBus } from "../events/bus.ts";
import type { ImageStore } from "../images/image-store.ts";
import { quietly } from "./quietly.ts";

/** Snapshots that a removed container was the last to need are looked for this long after a removal. */
const COLLECT_AFTER_MS = 10_000;

/** An image that was removed while a container stood on it leaves its snapshots to that container's removal. */
export function collectAfterRemovals(
  events: EventBus,
  images: Pick<ImageStore, "collectSnapshots">,
  log: Logger,
): Disposable {
  let timer: NodeJS.Timeout | undefined;
  const end = events.subscribe((event) => {
    if (event.Type !== "container" || event.Action !== "destroy" || timer !== undefined) return;
    timer = setTimeout(() => {
      timer = undefined;
      void quietly(log, "collect snapshots", () => images.collectSnapshots());
    }, COLLECT_AFTER_MS);
    timer.unref();
  });
  return {
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      end();
    },
  };
}

/** Layers that are served for containers are given back when these have ended. */
export function releaseAfterExits(events: EventBus, images: Pick<ImageStore, "releaseLayers">): Disposable {
  const end = events.subscribe(({ Action, Type }) => {
    if (Type === "container" && (Action === "die" || Action === "destroy")) images.releaseLayers();
  });
  return { [Symbol.dispose]: end };
}
