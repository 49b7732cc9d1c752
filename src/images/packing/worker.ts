// A thread that packs and lays layers. What it is told and tells is in messages.ts.
import { serveJobs } from "../../base/thread-jobs.ts";
import { GrowingFile } from "./growing-file.ts";
import { lay, pack } from "./jobs.ts";
import type { Laid, Packed, PackingNews, PackingOrder, PackingWord } from "./messages.ts";

type Grow = Extract<PackingWord, { do: "grow" }>;

serveJobs<PackingOrder, Packed | Laid, PackingNews, Grow>((order, { signal, tell }) => {
  if (order.job === "pack") return { done: pack(order, { signal, onWritten: (written) => tell({ written }) }) };
  const file = new GrowingFile(order.from);
  return { done: lay(order, file, signal), hear: ({ isWhole, size }) => file.grow(size, isWhole) };
});
