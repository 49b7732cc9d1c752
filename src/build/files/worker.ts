// A thread that copies and digests files. What it is told and tells is in messages.ts.
import { serveJobs } from "../../base/thread-jobs.ts";
import { doOrder } from "./job.ts";
import type { FilesNews, FilesOrder, FilesOutcome } from "./messages.ts";

serveJobs<FilesOrder, FilesOutcome, FilesNews>((order, { signal, tell }) => {
  return { done: doOrder(order, { signal, onWarning: (warning) => tell({ warning }) }) };
});
