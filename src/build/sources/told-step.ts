import { sentenceOf } from "../../base/errno-words.ts";
import { sha256Of } from "../../oci/digest.ts";
import type { OnBuildEvent, VertexState } from "../progress.ts";

/** Tells a row under a step: bytes that came, say. */
export type TellStatus = (id: string, current: number, total: number, isDone?: boolean) => void;

/** Runs what is no vertex of a graph and is shown as one: `[internal] load …`. */
export async function toldStep<T>(
  name: string,
  onEvent: OnBuildEvent,
  act: (tell: TellStatus) => Promise<T>,
): Promise<T> {
  const started = Date.now();
  const vertex: VertexState = { digest: sha256Of(name), inputs: [], name, cached: false, started };
  void onEvent({ type: "vertex", vertex });
  try {
    const result = await act(statusOf(vertex.digest, onEvent));
    void onEvent({ type: "vertex", vertex: { ...vertex, completed: Date.now() } });
    return result;
  } catch (error) {
    void onEvent({ type: "vertex", vertex: { ...vertex, completed: Date.now(), error: sentenceOf(error) } });
    throw error;
  }
}

const PAUSE_MS = 100;

/** Tells the rows of one vertex, at most ten times a second each, and their ends. */
export function statusOf(vertex: string, onEvent: OnBuildEvent): TellStatus {
  const rows = new Map<string, { readonly started: number; told: number }>();
  return (id, current, total, isDone = false) => {
    const now = Date.now();
    const row = rows.get(id) ?? { started: now, told: 0 };
    rows.set(id, row);
    if (!isDone && now - row.told < PAUSE_MS) return;
    row.told = now;
    const times = { started: row.started, timestamp: now, ...(isDone && { completed: now }) };
    void onEvent({ type: "status", status: { vertex, id, name: id, current, total, ...times } });
  };
}
