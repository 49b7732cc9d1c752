import assert from "node:assert/strict";
import { test } from "node:test";
import type { GantryError } from "../base/errors.ts";
import { EventBus } from "../events/bus.ts";
import { MEDIA_TYPE } from "../oci/image.ts";
import { describe, parseManifest } from "../oci/image-config.ts";
import { parseNormalized } from "../oci/reference.ts";
import { ANONYMOUS } from "../remote/credentials.ts";
import { refused } from "../remote/failure.ts";
import type { Repository } from "../remote/repository.ts";
import { LAYERS, openImages } from "./image-store.fixture.ts";
import { ImageStore } from "./image-store.ts";
import type { ImagePorts } from "./ports.ts";
import { pullError } from "./pull-error.ts";

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

test("a refused pull is told in Docker's words and with its statuses", () => {
  const reference = parseNormalized("127.0.0.1:1/a/b:1");
  const told = (status: number, body: string): unknown => {
    const error = pullError(refused(status, Buffer.from(body)), reference) as GantryError;
    return `${error.kind} ${error.message}`;
  };
  const code = (name: string): string => JSON.stringify({ errors: [{ code: name, message: "no" }] });
  const denied =
    "not-found pull access denied for 127.0.0.1:1/a/b, repository does not exist or may require 'docker login': denied: ";
  assert.equal(told(403, code("DENIED")), `${denied}no`);
  assert.equal(told(403, "go away\nplease"), `${denied}go away`);
  assert.equal(told(403, ""), `${denied}requested access to the resource is denied`);
  assert.equal(told(403, code("PAYMENT_DUE")), "internal payment due: no");
  assert.equal(told(401, code("UNAUTHORIZED")), "unauthenticated unauthorized: no");
  assert.equal(told(429, code("TOOMANYREQUESTS")), "too-many-requests toomanyrequests: no");
  assert.equal(told(404, "nothing"), "not-found manifest for 127.0.0.1:1/a/b:1 not found: unknown: nothing");
});

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
