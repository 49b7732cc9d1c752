import type { ContentStore } from "../content/content-store.ts";
import type { EventBus } from "../events/bus.ts";
import type { Snapshotter } from "../snapshots/snapshotter.ts";
import type { Store } from "../state/store.ts";
import type { Claims } from "./claims.ts";
import type { ImageUse } from "./image.ts";
import type { ImageRecords } from "./record.ts";

/** What `bootstrap` makes images of. */
export interface BootstrapConfig {
  /** Folder of the machine's package sources; `/etc/apt`. */
  readonly aptRoot: string;
  /** `/usr/bin/mmdebstrap`. */
  readonly mmdebstrap: string;
  /** A static busybox; `/bin/busybox`. */
  readonly busybox: string;
  /** For what is made on the way; under the data root, emptied at start. */
  readonly tempRoot: string;
}

/** What an `ImageStore` is made of. */
export interface ImagePorts {
  readonly content: ContentStore;
  readonly snapshots: Snapshotter;
  readonly store: Store;
  readonly events: EventBus;
  /** Containers by the id of the image that they were made of. */
  readonly inUse: () => ReadonlyMap<string, readonly ImageUse[]>;
  readonly bootstrap: BootstrapConfig;
  /** Blobs and committed snapshots that others need, such as a build's cache. */
  readonly keep?: () => Iterable<string>;
}

/** What the files of this folder share: the ports, the records and the claims of one store. */
export interface ImageContext extends ImagePorts {
  readonly records: ImageRecords;
  readonly claims: Claims;
}
