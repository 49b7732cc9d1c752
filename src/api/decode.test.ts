import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { GantryError } from "../base/errors.ts";
import { decodeCreateRequest } from "./create-request.ts";
import { checkJsonType, decodeJson } from "./decode.ts";
import { execConfig } from "./request.ts";

function refusal(body: string): string {
  try {
    decodeCreateRequest(body);
  } catch (error) {
    assert.ok(error instanceof GantryError && error.kind === "invalid", String(error));
    return error.message;
  }
  return "accepted";
}

test("a minimal create request becomes a complete one", () => {
  const request = decodeCreateRequest('{"Image":"busybox","Cmd":"true","Entrypoint":["/a","b"]}');
  assert.deepEqual(request.Config.Cmd, ["true"]);
  assert.deepEqual(request.Config.Entrypoint, ["/a", "b"]);
  assert.equal(request.HostConfig.NetworkMode, "default");
  assert.equal(request.HostConfig.PidsLimit, null);
  assert.deepEqual(request.HostConfig.RestartPolicy, { Name: "", MaximumRetryCount: 0 });
  assert.deepEqual(request.HostConfig.ConsoleSize, [0, 0]);
  assert.deepEqual(request.NetworkingConfig, { EndpointsConfig: {} });
  assert.equal("Healthcheck" in request.Config, false);
});

test("keys match in any case, the last one wins, unknown ones and nulls are passed over", () => {
  const request = decodeCreateRequest(
    '{"image":"a","IMAGE":"b","Bogus":{"x":1},"hostconfig":{"mEmory":5,"CpuShares":null,"Privileged":null},"Tty":null}',
  );
  assert.equal(request.Config.Image, "b");
  assert.equal(request.HostConfig.Memory, 5);
  assert.equal(request.HostConfig.CpuShares, 0);
  assert.equal(request.Config.Tty, false);
});

test("an empty list is told from an absent one", () => {
  assert.deepEqual(decodeCreateRequest('{"Image":"a","Entrypoint":[]}').Config.Entrypoint, []);
  assert.equal(decodeCreateRequest('{"Image":"a","Entrypoint":null}').Config.Entrypoint, null);
});

test("refusals name the field and the type as Go does", () => {
  const table: [string, string][] = [
    [
      '{"HostConfig":{"Memory":"1g"}}',
      "invalid JSON: json: cannot unmarshal string into Go struct field HostConfig.HostConfig.Memory of type int64",
    ],
    [
      '{"Hostname":1}',
      "invalid JSON: json: cannot unmarshal number into Go struct field CreateRequest.Hostname of type string",
    ],
    [
      '{"HostConfig":{"BlkioWeight":70000}}',
      "invalid JSON: json: cannot unmarshal number 70000 into Go struct field HostConfig.HostConfig.BlkioWeight of type uint16",
    ],
    [
      '{"HostConfig":{"Memory":1.5}}',
      "invalid JSON: json: cannot unmarshal number 1.5 into Go struct field HostConfig.HostConfig.Memory of type int64",
    ],
    [
      '{"HostConfig":{"Memory":9223372036854775808}}',
      "invalid JSON: json: cannot unmarshal number 9223372036854775808 into Go struct field HostConfig.HostConfig.Memory of type int64",
    ],
    [
      '{"Env":{}}',
      "invalid JSON: json: cannot unmarshal object into Go struct field CreateRequest.Env of type []string",
    ],
    ["[]", "invalid JSON: json: cannot unmarshal array into Go value of type container.CreateRequest"],
    ["", "invalid JSON: got EOF while reading request body"],
    ['{"Image":', "invalid JSON: unexpected EOF"],
    ["{} x", "unexpected content after JSON"],
    ["x", "invalid JSON: invalid character 'x' looking for beginning of value"],
    ["{}", "config cannot be empty in order to create a container"],
  ];
  for (const [body, message] of table) assert.equal(refusal(body), message);
});

test("64-bit limits are taken to their ends", () => {
  const limits = decodeCreateRequest(
    '{"Image":"a","HostConfig":{"Ulimits":[{"Name":"core","Soft":-1,"Hard":9223372036854775807}],"MemorySwap":-1}}',
  ).HostConfig;
  assert.equal(limits.Ulimits?.[0]?.Hard, 2 ** 63);
  assert.equal(limits.MemorySwap, -1);
});

test("keys that name parts of a prototype are only keys", () => {
  const request = decodeCreateRequest(
    '{"Image":"a","__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"Labels":{"__proto__":"x","constructor":"y"}}',
  );
  assert.equal(({} as { polluted?: number }).polluted, undefined);
  assert.equal((request.Config as { polluted?: number }).polluted, undefined);
  assert.deepEqual(Object.entries(request.Config.Labels ?? {}), [
    ["__proto__", "x"],
    ["constructor", "y"],
  ]);
});

test("ten thousand keys and a deep nesting are read or refused, quickly", () => {
  const labels = Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`k${i}`, "1.5"]));
  const request = decodeCreateRequest(JSON.stringify({ Image: "a", Labels: labels }));
  assert.equal(Object.keys(request.Config.Labels ?? {}).length, 10_000);
  assert.notEqual(refusal(`{"Image":${"[".repeat(200_000)}1.5${"]".repeat(200_000)}}`), "accepted");
});

test("a body's type must be JSON where there is one", () => {
  const message = (type: string | undefined, body: boolean): string => {
    try {
      checkJsonType(type, body);
      return "accepted";
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.equal(message(undefined, false), "accepted");
  assert.equal(message("application/json; charset=utf-8", true), "accepted");
  assert.equal(message(undefined, true), "malformed Content-Type header (): mime: no media type");
  assert.equal(message("text/plain", true), "unsupported Content-Type header (text/plain): must be 'application/json'");
});

test("no document makes the reader throw anything but a refusal", () => {
  const key = fc.constantFrom(
    "Image",
    "hostConfig",
    "Memory",
    "Env",
    "Cmd",
    "Mounts",
    "Labels",
    "__proto__",
    "Ulimits",
  );
  const { document } = fc.letrec((tie) => ({
    document: fc.oneof(
      { maxDepth: 5 },
      fc.constantFrom<unknown>(null, true, "", "x", -1, 1.5, 1e300),
      fc.array(tie("document"), { maxLength: 4 }),
      fc.array(fc.tuple(key, tie("document")), { maxLength: 6 }).map((rows) => Object.fromEntries(rows)),
    ),
  }));
  const read = (body: string) => {
    for (const act of [() => decodeCreateRequest(body), () => decodeJson(execConfig, body)]) {
      try {
        act();
      } catch (error) {
        assert.ok(error instanceof GantryError && error.kind === "invalid", String(error));
      }
    }
  };
  fc.assert(
    fc.property(document, (value) => read(JSON.stringify(value))),
    { numRuns: 1000 },
  );
  fc.assert(fc.property(fc.string(), read), { numRuns: 500 });
});
