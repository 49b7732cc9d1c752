import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { machinePlatform } from "../../src/oci/machine-platform.ts";
import { bytesOf } from "../both-engines.ts";
import { startEngine, type TestEngine } from "../engine.ts";
import { layoutOf } from "../oci-archive.ts";
import { HOST_PLATFORM, imageOf, indexOf, layerOf, pushTo, type TestIndex } from "../oci-image.ts";
import { pull, pullWell } from "../pulling.ts";
import { push, pushWell } from "../pushing.ts";
import { registryMissing, startRegistry, type TestRegistry } from "../registry.ts";

const ARM = { os: "linux", architecture: HOST_PLATFORM.architecture === "arm64" ? "amd64" : "arm64" };
const TAR = { "Content-Type": "application/x-tar" };
const INDEX = "application/vnd.oci.image.index.v1+json";

interface Row {
  readonly Kind: string;
  readonly Available: boolean;
  readonly ID: string;
  readonly ImageData?: { readonly Platform: object; readonly Containers: readonly string[] };
  readonly AttestationData?: { readonly For: string };
}

/** Two images that share a layer, each attested; `text` makes them others than those of other tests. */
function pairOf(text: string): TestIndex {
  const shared = layerOf([{ name: "shared", body: text }]);
  const own = imageOf({ layers: [shared, layerOf([{ name: "own", body: text }])] });
  const arm = imageOf({ layers: [shared, layerOf([{ name: "arm", body: text }])], platform: ARM });
  return indexOf([own, arm], { attestations: true });
}

describe("indexes of images", { skip: registryMissing() }, () => {
  let engine: TestEngine;
  let registry: TestRegistry;

  before(async () => {
    registry = await startRegistry();
    engine = await startEngine();
  });

  after(async () => {
    await engine?.[Symbol.asyncDispose]();
    await registry?.[Symbol.asyncDispose]();
  });

  const get = async (path: string) => (await engine.request("GET", path)).json;
  const load = async (index: TestIndex, name: string, query = "") => {
    const answer = await engine.request("POST", `/images/load${query}`, layoutOf({ [name]: index }), TAR);
    assert.equal(answer.status, 200, answer.text);
    assert.doesNotMatch(answer.text, /errorDetail/);
    return answer.text;
  };
  const rows = async (name: string): Promise<readonly Row[]> =>
    (await get(`/images/${encodeURIComponent(name)}/json?manifests=1`)).Manifests;
  const platform = (asked: object): string => encodeURIComponent(JSON.stringify(asked));
  const manifest = async (repository: string, reference: string) => {
    const headers = { Accept: `${INDEX}, application/vnd.oci.image.manifest.v1+json` };
    const answer = await fetch(`http://${registry.host}/v2/${repository}/manifests/${reference}`, { headers });
    return { status: answer.status, digest: answer.headers.get("docker-content-digest"), text: await answer.text() };
  };
  const create = async (image: string, wanted = "") => {
    const query = wanted === "" ? "" : `?platform=${wanted}`;
    const answer = await engine.request("POST", `/containers/create${query}`, { Image: image, Cmd: ["x"] });
    assert.equal(answer.status, 201, answer.text);
    return answer.json.Id as string;
  };
  const imageOfContainer = async (id: string) => (await get(`/containers/${id}/json`)).Image;

  test("are loaded, told of, saved and pushed with all that they have", async () => {
    const index = pairOf("whole");
    const [own, arm, first] = index.members;
    const name = `${registry.host}/made/whole:1`;
    assert.match(await load(index, name), /Loaded image: .*\/made\/whole:1/);
    const told = await get(`/images/${name}/json`);
    assert.deepEqual(told.Descriptor.digest, index.manifest.digest);
    assert.deepEqual(
      (await rows(name)).map(({ Available, Kind, ID }) => [Kind, Available, ID]),
      [
        ["image", true, own!.manifest.digest],
        ["image", true, arm!.manifest.digest],
        ["attestation", true, first!.manifest.digest],
        ["attestation", true, index.members[3]!.manifest.digest],
      ],
    );
    assert.equal((await rows(name))[3]?.AttestationData?.For, arm!.manifest.digest);
    const listed = (await get("/images/json?all=1&manifests=1")).filter((one: { RepoTags: string[] }) =>
      one.RepoTags.includes(name),
    );
    assert.equal(listed.length, 1);
    assert.deepEqual([listed[0].Id, listed[0].Manifests.length], [told.Id, 4]);
    const other = await get(`/images/${name}/json?platform=${platform(ARM)}`);
    assert.deepEqual([other.Architecture, other.RepoTags], [ARM.architecture, [name]]);
    const pushed = await pushWell(engine, `${registry.host}/made/whole`, "1");
    assert.equal(pushed.digest, index.manifest.digest);
    assert.equal((await manifest("made/whole", "1")).text, index.manifest.bytes.toString());
    for (const member of index.members) {
      assert.equal((await manifest("made/whole", member.manifest.digest)).status, 200);
    }
    // A second push asks for the index alone.
    registry.forget();
    await pushWell(engine, `${registry.host}/made/whole`, "1");
    assert.deepEqual(
      registry.requests.map(({ method }) => method).filter((method) => method !== "GET"),
      ["HEAD", "PUT"],
    );
    // What is saved is loaded as the same.
    const archive = await bytesOf(engine.socket, "GET", `/images/get?names=${name}`);
    await engine.request("DELETE", `/images/${name}`);
    assert.equal((await engine.request("GET", `/images/${name}/json`)).status, 404);
    await engine.request("POST", "/images/load", archive, TAR);
    assert.deepEqual((await get(`/images/${name}/json`)).Descriptor.digest, index.manifest.digest);
    assert.deepEqual(
      (await rows(name)).map(({ Available }) => Available),
      [true, true, true, true],
    );
  });

  test("give who asks for no platform what suits this machine's processor best, and who asks for one that", async (context) => {
    const level = machinePlatform().variant;
    if (level === undefined) return context.skip("this machine's processor has no level");
    const variants = [undefined, "v2", "v3", "v4"].slice(0, Number(level.slice(1)));
    const imageFor = (variant: string | undefined) =>
      imageOf({
        platform: { ...HOST_PLATFORM, ...(variant !== undefined && { variant }) },
        layers: [layerOf([{ name: "levels", body: String(variant) }])],
      });
    const images = variants.map(imageFor);
    const [base, second] = images;
    const name = `${registry.host}/made/levels`;
    await pushTo(registry, "made/levels:1", indexOf([...images, imageFor("v9")]));
    await pushTo(registry, "made/levels:2", indexOf([second!]));
    const pulled = async (tag: string, wanted?: string): Promise<string> => {
      await pullWell(engine, name, { tag, ...(wanted !== undefined && { platform: wanted }) });
      return (await get(`/images/${name}:${tag}/json`)).Id;
    };
    const plain = `linux/${HOST_PLATFORM.architecture}`;
    assert.equal(await pulled("1", plain), base!.config.digest);
    assert.equal(await pulled("1"), images.at(-1)!.config.digest);
    // All of it is known now: of either only the tag is asked for.
    registry.forget();
    for (const wanted of [undefined, plain]) await pulled("1", wanted);
    assert.deepEqual(
      registry.requests.map(({ method, path }) => `${method} ${path}`),
      Array(2).fill("HEAD /v2/made/levels/manifests/1"),
    );
    assert.equal(await pulled("2"), second!.config.digest);
    const refused = await pull(engine, name, { tag: "2", platform: plain });
    assert.match(refused.error, new RegExp(`^no matching manifest for ${plain} in the manifest list entries: `));
  });

  test("give each platform its image, to containers as to whoever saves or pushes it", async () => {
    const index = pairOf("platforms");
    const [own, arm] = index.members;
    const name = `${registry.host}/made/platforms:1`;
    await load(index, name);
    const config = (member: TestIndex["members"][number]) => (member.kind === "image" ? member.config.digest : "");
    const [one, two] = [await create(name), await create(name, `linux/${ARM.architecture}`)];
    assert.deepEqual([await imageOfContainer(one), await imageOfContainer(two)], [config(own!), config(arm!)]);
    const refused = await engine.request("POST", "/containers/create?platform=linux/s390x", {
      Image: name,
      Cmd: ["x"],
    });
    assert.equal(refused.status, 404);
    const shown = await get("/containers/json?all=1");
    assert.deepEqual(
      shown.filter(({ Id }: { Id: string }) => Id === two).map(({ Image }: { Image: string }) => Image),
      [name],
    );
    const manifests = await Promise.all([one, two].map((id) => get(`/containers/${id}/json`)));
    const described = (member: TestIndex["members"][number] | undefined) => {
      assert.ok(member?.kind === "image");
      const { architecture, os } = member.platform;
      return [member.manifest.digest, member.manifest.bytes.length, architecture, os];
    };
    const seen = ({ ImageManifestDescriptor: { digest, platform: own, size } }: (typeof manifests)[number]) => [
      digest,
      size,
      own.architecture,
      own.os,
    ];
    assert.deepEqual(manifests.map(seen), [described(own), described(arm)]);
    for (const container of shown.filter(({ Id }: { Id: string }) => [one, two].includes(Id)))
      assert.deepEqual(seen(container), container.Id === one ? described(own) : described(arm));
    const older = await get(`/v1.47/containers/${one}/json`);
    assert.equal(older.ImageManifestDescriptor, undefined);
    assert.deepEqual(
      (await rows(name)).slice(0, 2).map(({ ImageData }) => ImageData?.Containers),
      [[one], [two]],
    );
    // Who asks for a platform is told of its own manifest, who doesn't of the index; both by the name they asked for.
    for (const [member, wanted] of [
      [own, HOST_PLATFORM],
      [arm, ARM],
    ] as const) {
      const { Descriptor, RepoTags } = await get(`/images/${name}/json?platform=${platform(wanted)}`);
      const [youngest] = await get(`/images/${name}/history?platform=${platform(wanted)}`);
      assert.deepEqual([Descriptor.digest, RepoTags], [member!.manifest.digest, [name]]);
      assert.deepEqual([youngest.Id, youngest.Tags], [config(member!), [name]]);
    }
    assert.equal((await get(`/images/${name}/json`)).Descriptor.digest, index.manifest.digest);
    const gone = await engine.request("DELETE", `/images/${name}?force=1&platforms=${platform(ARM)}`);
    assert.equal(gone.status, 200, gone.text);
    assert.deepEqual(
      (await rows(name)).map(({ Available }) => Available),
      [true, false, true, false],
    );
    for (const id of [one, two]) await engine.request("DELETE", `/containers/${id}`);
    const alone = await push(engine, `${registry.host}/made/platforms`, "1");
    const aux = alone.lines.map(({ aux: each }) => each as unknown as Record<string, unknown> | undefined);
    const note = aux.find((each) => each?.manifestPushedInsteadOfIndex === true) as
      | { originalIndex: { digest: string }; selectedManifest: { digest: string; platform: unknown } }
      | undefined;
    assert.deepEqual(
      [note?.originalIndex.digest, note?.selectedManifest.digest, note?.selectedManifest.platform],
      [index.manifest.digest, own!.manifest.digest, { ...HOST_PLATFORM }],
    );
    assert.equal((await manifest("made/platforms", "1")).digest, own!.manifest.digest);
    await load(index, name);
    await engine.request("POST", `/images/${name}/tag?repo=${registry.host}/made/platforms&tag=arm`);
    const chosen = await pushWell(engine, `${registry.host}/made/platforms`, "arm", { platform: ARM });
    assert.equal(chosen.digest, arm!.manifest.digest);
    const archive = await bytesOf(engine.socket, "GET", `/images/get?names=${name}&platform=${platform(ARM)}`);
    await engine.request("DELETE", `/images/${registry.host}/made/platforms:arm`);
    await engine.request("DELETE", `/images/${name}`);
    await engine.request("POST", "/images/load", archive, TAR);
    assert.equal((await get(`/images/${name}/json`)).Descriptor.digest, arm!.manifest.digest);
  });

  test("are pulled a platform at a time, with what is attested of it, and pushed again as they came", async () => {
    const alone = indexOf([imageOf({ layers: [layerOf([{ name: "alone", body: "1" }])] })], { attestations: true });
    await pushTo(registry, "from/alone:1", alone);
    await pullWell(engine, `${registry.host}/from/alone`, { tag: "1" });
    await engine.request("POST", `/images/${registry.host}/from/alone:1/tag?repo=${registry.host}/to/alone&tag=2`);
    const same = await pushWell(engine, `${registry.host}/to/alone`, "2");
    assert.equal(same.digest, alone.manifest.digest);
    const pair = pairOf("pulled");
    await pushTo(registry, "from/pair:1", pair);
    const name = `${registry.host}/from/pair:1`;
    await pullWell(engine, `${registry.host}/from/pair`, { tag: "1", platform: `linux/${ARM.architecture}` });
    assert.equal((await get(`/images/${name}/json`)).Architecture, ARM.architecture);
    assert.deepEqual(
      (await rows(name)).map(({ Available }) => Available),
      [false, true, false, true],
    );
    // In the repository that it came from nothing is missing; elsewhere one image has to do.
    await engine.request("POST", `/images/${name}/tag?repo=${registry.host}/from/pair&tag=again`);
    assert.equal((await pushWell(engine, `${registry.host}/from/pair`, "again")).digest, pair.manifest.digest);
    await engine.request("POST", `/images/${name}/tag?repo=${registry.host}/to/pair&tag=1`);
    const { lines } = await pushWell(engine, `${registry.host}/to/pair`, "1");
    assert.ok(lines.some(({ aux }) => "manifestPushedInsteadOfIndex" in (aux ?? {})));
    await pullWell(engine, `${registry.host}/from/pair`, { tag: "1" });
    const told = await get(`/images/${name}/json`);
    assert.deepEqual([told.Architecture, told.Descriptor.digest], [HOST_PLATFORM.architecture, pair.manifest.digest]);
    assert.ok(told.RepoDigests.includes(`${registry.host}/from/pair@${pair.manifest.digest}`));
    const whole = await pushWell(engine, `${registry.host}/to/pair`, "1");
    assert.equal(whole.digest, pair.manifest.digest);
    registry.forget();
    await pullWell(engine, `${registry.host}/from/pair`, { tag: "1", platform: `linux/${ARM.architecture}` });
    assert.equal(registry.requests.length, 1, "both are here");
  });

  test("go with their last name, by their digest too, and leave nothing; restarts keep them", async () => {
    const index = pairOf("going");
    const [, arm] = index.members;
    const used = await get("/system/df");
    await load(index, "going:1");
    await engine.restart();
    assert.equal((await get("/images/going:1/json")).Descriptor.digest, index.manifest.digest);
    const more = await get("/system/df");
    assert.equal(more.LayersSize - used.LayersSize, 3 * "going".length, "the layer of both counts once");
    const { digest } = index.manifest;
    const refused = await engine.request("DELETE", `/images/${arm!.kind === "image" ? arm!.config.digest : ""}`);
    assert.match(refused.json.message, /\(must be forced\) - image is that of \w{12} for linux\//);
    await engine.request("POST", `/images/${digest}/tag?repo=staying&tag=1`);
    assert.equal((await get("/images/staying:1/json")).Descriptor.digest, digest);
    const conflict = await engine.request("DELETE", `/images/${digest}`);
    assert.equal(conflict.status, 409, conflict.text);
    const gone = await engine.request("DELETE", `/images/${digest.slice(7, 19)}?force=1`);
    assert.equal(gone.status, 200, gone.text);
    assert.ok(gone.json.some(({ Deleted }: { Deleted?: string }) => Deleted === digest));
    assert.equal((await get("/system/df")).LayersSize, used.LayersSize);
    assert.equal((await get("/images/json?all=1")).length, used.Images.length);
    // A name that moves leaves an index for prune to take.
    await load(index, "going:1");
    await load(pairOf("coming"), "going:1");
    const dangling = await get(`/images/json?filters=${encodeURIComponent('{"dangling":["true"]}')}`);
    const own = index.members[0]!;
    const former = dangling.find(({ Id }: { Id: string }) => own.kind === "image" && Id === own.config.digest);
    assert.deepEqual([former?.RepoTags, former?.Descriptor.digest], [[], digest]);
    await engine.request("POST", "/images/prune");
    assert.equal((await engine.request("GET", `/images/${digest}/json`)).status, 404);
    await engine.request("DELETE", "/images/going:1");
    const chosen = await load(index, "going:1", `?platform=${platform(ARM)}`);
    assert.match(chosen, /Loaded image: going:1/);
    assert.deepEqual(
      (await rows("going:1")).map(({ Available }) => Available),
      [false, true, false, true],
    );
    await engine.request("DELETE", "/images/going:1");
  });

  test("are shown as a tree by docker's CLI and the engine's own", async () => {
    await load(pairOf("tree"), "tree:1");
    const own = await engine.gantry("images", "--tree", "tree");
    assert.match(own.stdout, /tree:1[\s\S]*├─ linux\/\w+[\s\S]*└─ linux\/\w+/);
    if ((await engine.docker("version", "--format", "{{.Client.APIVersion}}")).code === 0) {
      const tree = await engine.docker("images", "--tree", "tree:1");
      assert.match(tree.stdout, /tree:1[\s\S]*├─ linux\/\w+[\s\S]*└─ linux\/\w+/);
    }
    await engine.request("DELETE", "/images/tree:1");
  });
});
