import type { BuildEvent, OnBuildEvent, VertexState } from "../progress.ts";
import { isSource, type Node } from "./node.ts";

/** What a client hears of its build's vertices while they are solved. */
export class Telling {
  readonly #onEvent: OnBuildEvent;
  #found = 0;

  constructor(onEvent: OnBuildEvent) {
    this.#onEvent = onEvent;
  }

  /** How many steps were found instead of being run. */
  get found(): number {
    return this.#found;
  }

  /** What another build's run tells is told of this build's vertex. */
  forward(node: Node, event: BuildEvent): void | Promise<void> {
    const vertex = node.vertex.id;
    switch (event.type) {
      case "status":
        return this.#onEvent({ type: "status", status: { ...event.status, vertex } });
      case "log":
        return this.#onEvent({ type: "log", log: { ...event.log, vertex } });
      case "warning":
        return this.#onEvent({ type: "warning", warning: { ...event.warning, vertex } });
      case "vertex":
        return this.#onEvent(event);
    }
  }

  begin(node: Node): void {
    if (node.started !== undefined) return;
    node.started = Date.now();
    this.tell(node, {});
  }

  tell(node: Node, state: Partial<VertexState>): void {
    const { id, inputs, name } = node.vertex;
    const started = node.started ?? (state.completed === undefined ? undefined : state.completed);
    if (state.completed !== undefined) node.isTold = true;
    const { explanation } = node;
    const vertex: VertexState = {
      ...{ digest: id, inputs, name, cached: false },
      ...(started !== undefined && { started }),
      ...(explanation !== undefined && { explanation }),
      ...state,
    };
    void this.#onEvent({ type: "vertex", vertex });
  }

  /** Says of a step that was found, and of all that it was made of, that nothing was done. */
  tellCached(node: Node): void {
    if (node.isTold === true) return;
    for (const input of node.inputs) this.tellCached(input);
    if (!isSource(node.vertex.operation)) this.#found++;
    this.tell(node, { cached: true, completed: Date.now() });
  }
}
