/** What the header X-Docker-Container-Path-Stat tells of a path in a container: base64 of its JSON. */
export interface ContainerPathStat {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Bits of Go's os.FileMode. */
  readonly mode: number;
  /** RFC 3339 with nanoseconds. */
  readonly mtime: string;
  /** Where a symbolic link leads in the end, from the container's root; empty for anything else. */
  readonly linkTarget: string;
}

/** Base64 of a `ContainerPathStat`, in answers about paths of containers. */
export const PATH_STAT_HEADER = "X-Docker-Container-Path-Stat";

/** One change of a container's root filesystem, as GET /containers/{id}/changes lists them. */
export interface FilesystemChange {
  readonly Path: string;
  /** 0: modified, 1: added, 2: deleted. */
  readonly Kind: 0 | 1 | 2;
}
