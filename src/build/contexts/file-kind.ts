import { GO_MODE, hasGoMode } from "../../base/go-mode.ts";

export type FileKind = "file" | "folder" | "link" | "pipe" | "block" | "character" | "socket" | "unknown";

/** What a mode of Go's, as clients tell it, says that a file is. */
export function kindOf(goMode: number): FileKind {
  if (hasGoMode(goMode, GO_MODE.dir)) return "folder";
  if (hasGoMode(goMode, GO_MODE.symlink)) return "link";
  if (hasGoMode(goMode, GO_MODE.namedPipe)) return "pipe";
  if (hasGoMode(goMode, GO_MODE.socket)) return "socket";
  if (hasGoMode(goMode, GO_MODE.device)) return hasGoMode(goMode, GO_MODE.charDevice) ? "character" : "block";
  return hasGoMode(goMode, GO_MODE.irregular) ? "unknown" : "file";
}
