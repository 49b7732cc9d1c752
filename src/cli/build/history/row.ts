import type { BuildHistoryRow } from "../../../api/build-history.ts";

/** How a build stands, in a word. */
export function statusOf({
  CompletedAt,
  Error: error,
}: BuildHistoryRow): "Running" | "Completed" | "Canceled" | "Error" {
  if (CompletedAt === null) return "Running";
  if (error === "") return "Completed";
  return /cancel/i.test(error) ? "Canceled" : "Error";
}

/** Milliseconds that it took, or has taken until now. */
export function lengthOf({ CreatedAt, CompletedAt }: BuildHistoryRow, now: number): number {
  return (CompletedAt === null ? now : Date.parse(CompletedAt)) - Date.parse(CreatedAt);
}
