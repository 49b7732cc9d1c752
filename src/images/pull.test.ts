import assert from "node:assert/strict";
import { test } from "node:test";
import { EventBus } from "../events/bus.ts";
import { MEDIA_TYPE } from "../oci/image.ts";
import { describe, parseManifest } from "../oci/image-config.ts";
import { ANONYMOUS } from "../remote/credentials.ts";
import type { Repository } from "../remote/repository.ts";
import { LAYERS, openImages } from "./image-store.fixture.ts";
import { ImageStore } from "./image-store.ts";
import type { ImagePorts } from "./ports.ts";

const config = Buffer.from(
  JSON.stringify({ architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: [] } }),
);
const bytes = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.ociManifest,
    config: describe(MEDIA_TYPE.ociConfig, config),
    layers: [],
  }),
);
const descriptor = describe(MEDIA_TYPE.ociManifest, bytes);

/** One image without layers, under whatever tag. */
const repository = {
  resolve: async () => descriptor,
  manifest: async () => ({ kind: "image", descriptor, bytes, manifest: parseManifest(bytes) }),
  distrust: () => false,
  document: async () => config,
} as unknown as Repository;

test("an image that is removed while another name of it is pulled is there under that", async (t) => {
  const { content, snapshots, store, uses } = openImages(t);
  let admit = async (): Promise<void> => {};
  const registries = {
    reading: (_reference: unknown, _credentials: unknown, act: (from: Repository) => unknown) => act(repository),
  };
  const images = new ImageStore({
    ...{ content, snapshots, store, events: new EventBus(), inUse: () => uses, ...LAYERS },
    registries: registries as unknown as ImagePorts["registries"],
    bootstrap: { aptRoot: "", mmdebstrap: "", busybox: "", tempRoot: "" },
    admit: () => admit(),
  });
  const pull = (name: string) => images.pull(name, { allTags: false, credentials: ANONYMOUS }, {});
  await pull("127.0.0.1:1/app:1");
  admit = async () => {
    await images.remove("127.0.0.1:1/app:1", { force: true, prune: true });
    assert.deepEqual(await images.list({ all: true }), []);
  };
  await pull("127.0.0.1:1/app:2");
  const [row, ...more] = await images.list({ all: true });
  assert.deepEqual(row?.RepoTags, ["127.0.0.1:1/app:2"]);
  assert.deepEqual(more, []);
  assert.equal(images.inspect("127.0.0.1:1/app:2").Os, "linux");
  assert.equal((await content.list()).length, 2);
});
