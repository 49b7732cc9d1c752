import type { ImageConfig, Platform } from "../oci/image.ts";

/** A build as data: plain JSON values, so that they can be digested, kept and shown. */
export interface Graph {
  /** Inputs come before what reads them. */
  readonly vertices: readonly Vertex[];
}

/** `sha256:…` of the operation and of its inputs' ids: equal ids are equal work, whichever build they are of. */
export type VertexId = string;

export interface Vertex {
  readonly id: VertexId;
  readonly operation: Operation;
  /** Roots that the operation's `input` numbers mean. */
  readonly inputs: readonly VertexId[];
  /** As progress shows it: `[build 2/5] RUN make`. */
  readonly name: string;
  /** Stage's name or number; empty for sources. */
  readonly stage: string;
  /** What is the same step in two builds of a changed Dockerfile, for `--explain`: `<stage>/<n-th step>` and platform. */
  readonly site: string;
  readonly source?: SourceRange;
  /** Never taken from the cache; what it makes is still kept. */
  readonly ignoreCache?: boolean;
}

/** Lines of a Dockerfile, the first is 1. */
export interface SourceRange {
  readonly file: string;
  readonly start: number;
  readonly end: number;
}

export type Operation =
  | ImageOperation
  | LayoutOperation
  | ResultOperation
  | LocalOperation
  | GitOperation
  | HttpOperation
  | ExecOperation
  | FilesOperation
  | MergeOperation;

/** The root filesystem of an image, pinned by the plan. */
export interface ImageOperation {
  readonly kind: "image";
  /** In its normal form with a tag, as it was written. */
  readonly reference: string;
  /** `sha256:…` of the image's config. */
  readonly id: string;
  readonly platform: Platform;
}

/** An image in an OCI layout that the client has (`--build-context x=oci-layout://…`). */
export interface LayoutOperation {
  readonly kind: "layout";
  /** The session's name of the content store. */
  readonly store: string;
  readonly digest: string;
  readonly platform: Platform;
}

/** The root filesystem that another build makes, which is a context of this one. */
export interface ResultOperation {
  readonly kind: "result";
  /** By the name that the request has for it. */
  readonly input: string;
  readonly platform: Platform;
  /** Of what was made; empty where only what is read of it counts. */
  readonly key: string;
}

/** A folder of the client's, or the archive that came with the request. */
export interface LocalOperation {
  readonly kind: "local";
  /** `context`, `dockerfile` or a named context's. */
  readonly name: string;
  /** Patterns of .dockerignore's kind; what they match is not there. */
  readonly exclude: readonly string[];
  /** Paths and wildcards of which the files are needed, links followed; undefined is all. */
  readonly followPaths: readonly string[] | undefined;
}

export interface GitOperation {
  readonly kind: "git";
  readonly remote: string;
  /** Branch, tag, commit or full reference; empty is the default branch. */
  readonly ref: string;
  readonly subdir: string;
  readonly keepGitDir: boolean;
  /** The commit it has to be, or its tag's own object; or a prefix of them. */
  readonly checksum?: string;
  readonly skipSubmodules?: true;
  /** All files have the time of the commit. */
  readonly commitTimes?: true;
  /** What the checksum names is asked for, not what the ref means now. */
  readonly fetchByCommit?: true;
  /** Of secrets that hold a token or an authorization header. */
  readonly secrets?: { readonly token?: string; readonly header?: string };
  /** Keys of SSH hosts, as ssh's own files have them: no other is taken. */
  readonly knownHosts?: string;
}

export interface HttpOperation {
  readonly kind: "http";
  readonly url: string;
  readonly checksum?: string;
  /** The file's name in the root; else the URL's or the answer's. */
  readonly filename?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

/** RUN. Input 0 is the root it changes (-1 for an empty one); its changes become a layer. */
export interface ExecOperation {
  readonly kind: "exec";
  readonly root: InputIndex;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly user: string;
  readonly hostname?: string;
  /** `default` is the build's network. */
  readonly network: "default" | "none" | "host";
  readonly security: "sandbox" | "insecure";
  readonly mounts: readonly ExecMount[];
  /** Environment that is not part of the key: proxies. */
  readonly proxyEnv?: readonly string[];
  readonly secretEnv: readonly SecretEnv[];
  readonly platform: Platform;
}

/** A number of the vertex's inputs; -1 is an empty root. */
export type InputIndex = number;

export type ExecMount =
  | {
      readonly type: "bind";
      readonly target: string;
      readonly input: InputIndex;
      /** Path in the input. */
      readonly source: string;
      /** Writes are allowed and lost. */
      readonly writable: boolean;
    }
  | {
      readonly type: "cache";
      readonly target: string;
      readonly id: string;
      readonly sharing: "shared" | "private" | "locked";
      readonly readonly: boolean;
      /** What a new one begins with; -1 is nothing. */
      readonly input: InputIndex;
      readonly source: string;
      readonly mode: number;
      readonly uid: number;
      readonly gid: number;
    }
  | { readonly type: "tmpfs"; readonly target: string; readonly size: number }
  | {
      readonly type: "secret";
      readonly target: string;
      readonly id: string;
      readonly required: boolean;
      readonly mode: number;
      readonly uid: number;
      readonly gid: number;
    }
  | {
      readonly type: "ssh";
      readonly target: string;
      readonly id: string;
      readonly required: boolean;
      readonly mode: number;
      readonly uid: number;
      readonly gid: number;
    };

export interface SecretEnv {
  readonly name: string;
  readonly id: string;
  readonly required: boolean;
}

/** COPY, ADD and WORKDIR: actions in order on input `root`; together they become one layer. */
export interface FilesOperation {
  readonly kind: "files";
  readonly root: InputIndex;
  readonly actions: readonly FileAction[];
  readonly platform: Platform;
}

export type FileAction =
  | {
      readonly type: "copy";
      readonly input: InputIndex;
      /** Absolute in the input; wildcards as Go's filepath.Match has them where `wildcard`. */
      readonly sources: readonly string[];
      /** Absolute; a folder if it ends in a slash. */
      readonly target: string;
      readonly wildcard: boolean;
      /** No match is no error. */
      readonly allowEmpty: boolean;
      /** Follow a link that a source itself is. */
      readonly followLinks: boolean;
      /** Copy what a folder contains, not the folder. */
      readonly contentsOnly: boolean;
      readonly createTarget: boolean;
      /** Keep the sources' folders; those before `/./` of a source are left out. */
      readonly parents: boolean;
      /** Patterns of .dockerignore's kind, against the path below each source. */
      readonly exclude: readonly string[];
      /** Unpack a local archive, or (true) refuse what is none. */
      readonly unpack: "auto" | "always" | "never";
      readonly owner: Owner | undefined;
      /** An octal number or chmod(1)'s symbols. */
      readonly mode: number | string | undefined;
    }
  | {
      readonly type: "mkfile";
      readonly target: string;
      readonly data: string;
      /** Of data that is no text. */
      readonly encoding?: "utf8" | "base64";
      readonly mode: number | string;
      readonly owner: Owner | undefined;
    }
  | {
      readonly type: "mkdir";
      readonly path: string;
      readonly mode: number;
      readonly owner: Owner | undefined;
    }
  | {
      readonly type: "symlink";
      readonly path: string;
      /** What is written in it, wherever that leads. */
      readonly leads: string;
      readonly owner: Owner | undefined;
    }
  | {
      readonly type: "remove";
      readonly path: string;
      readonly wildcard: boolean;
      readonly allowMissing: boolean;
    };

/** Numbers, or names that are looked up in `/etc/passwd` and `/etc/group` of the operation's root. */
export interface Owner {
  readonly user: string | number;
  readonly group: string | number | undefined;
}

/** COPY --link: input 1's layer, which stands on nothing, laid on input 0. */
export interface MergeOperation {
  readonly kind: "merge";
}

/** What a plan makes for one platform. */
export interface PlannedTarget {
  readonly platform: Platform;
  /** undefined is an empty root. */
  readonly root: VertexId | undefined;
  /** All but `rootfs` and `history`. */
  readonly config: ImageConfig;
  /** In order, the base image's own first; rows with `vertex` have a layer if that changed anything. */
  readonly history: readonly PlannedHistory[];
  /** The image it was made of, where its stage began with one. */
  readonly base?: { readonly reference: string; readonly id: string };
  /** What else a bill of materials is wanted of, by the names of stages, or `context`. */
  readonly scans?: readonly { readonly name: string; readonly root: VertexId | undefined }[];
}

export interface PlannedHistory {
  readonly createdBy: string;
  readonly comment?: string;
  readonly author?: string;
  /** RFC 3339; of rows that come from a base image. */
  readonly created?: string;
  /** The step that made the layer; undefined for rows without one, and for those of the base image. */
  readonly vertex?: VertexId;
  /** Of base rows. */
  readonly emptyLayer?: boolean;
}
