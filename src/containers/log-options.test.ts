import assert from "node:assert/strict";
import { test } from "node:test";
import {
  checkLogOptions,
  readFluentdOptions,
  readGelfOptions,
  readPatience,
  readSyslogOptions,
} from "./log-options.ts";

const GELF_UDP = { "gelf-address": "udp://127.0.0.1:12201" };
const GELF_TCP = { "gelf-address": "tcp://127.0.0.1:12201" };

// Each of dockerd's own words, for what it refuses at create or at start.
for (const [driver, options, message] of [
  ["papyrus", {}, 'error looking up logging plugin papyrus: plugin "papyrus" not found'],
  ["toString", {}, 'error looking up logging plugin toString: plugin "toString" not found'],
  ["json-file", { bogus: "1" }, "unknown log opt 'bogus' for json-file log driver"],
  ["local", { bogus: "1" }, "unknown log opt 'bogus' for log driver local"],
  ["syslog", { bogus: "1" }, "unknown log opt 'bogus' for syslog log driver"],
  ["gelf", { bogus: "1" }, "gelf-address is a required parameter"],
  ["gelf", { ...GELF_UDP, "syslog-address": "x" }, "unknown log opt 'syslog-address' for gelf log driver"],
  ["json-file", { "max-size": "x" }, "invalid size: 'x'"],
  ["json-file", { "max-size": "0" }, "max-size must be a positive number"],
  ["json-file", { "max-file": "0" }, "max-file cannot be less than 1"],
  ["json-file", { "max-file": "x" }, 'strconv.Atoi: parsing "x": invalid syntax'],
  ["json-file", { compress: "maybe" }, 'strconv.ParseBool: parsing "maybe": invalid syntax'],
  ["json-file", { compress: "true" }, "compress cannot be true when max-file is less than 2 or max-size is not set"],
  ["local", { "max-size": "x" }, "invalid value for max-size: x: invalid size: 'x'"],
  ["local", { compress: "x" }, 'error reading compress log option: strconv.ParseBool: parsing "x": invalid syntax'],
  ["json-file", { mode: "x" }, "logger: logging mode not supported: x"],
  ["none", { mode: "x" }, "logger: logging mode not supported: x"],
  ["local", { "max-buffer-size": "1m" }, "logger: max-buffer-size option is only supported with 'mode=non-blocking'"],
  [
    "local",
    { mode: "non-blocking", "max-buffer-size": "x" },
    "error parsing option max-buffer-size: invalid size: 'x'",
  ],
  ["journald", { "cache-disabled": "x" }, "invalid value for option cache-disabled: x"],
  ["syslog", { "syslog-address": "foo://x" }, "syslog-address should be in form proto://address, got foo://x"],
  ["syslog", { "syslog-address": "unix:///nope" }, "stat /nope: no such file or directory"],
  ["syslog", { "syslog-address": "tcp://1.2.3.4:5:6" }, "address 1.2.3.4:5:6: too many colons in address"],
  ["syslog", { "syslog-facility": "24" }, "invalid syslog facility"],
  ["syslog", { "syslog-facility": "." }, "invalid syslog facility"],
  ["syslog", { "syslog-format": "x" }, "Invalid syslog format"],
  ["gelf", { "gelf-address": "http://x:1" }, "gelf-address should be in form proto://address, got http://x:1"],
  ["gelf", { "gelf-address": "udp://127.0.0.1" }, "gelf: please provide gelf-address as proto://host:port"],
  ["gelf", { ...GELF_TCP, "gelf-compression-level": "1" }, "compression is only supported on UDP"],
  [
    "gelf",
    { ...GELF_UDP, "gelf-compression-level": "10" },
    'unknown value "10" for log opt "gelf-compression-level" for gelf log driver',
  ],
  ["gelf", { ...GELF_UDP, "gelf-tcp-max-reconnect": "1" }, '"gelf-tcp-max-reconnect" is only valid for TCP'],
  ["gelf", { ...GELF_TCP, "gelf-tcp-max-reconnect": "x" }, '"gelf-tcp-max-reconnect" must be a positive integer'],
  [
    "fluentd",
    { "fluentd-address": "::1:24224" },
    "invalid fluentd-address ::1:24224: address ::1:24224: too many colons in address",
  ],
  ["fluentd", { "fluentd-async": "x" }, 'strconv.ParseBool: parsing "x": invalid syntax'],
  ["fluentd", { "fluentd-buffer-limit": "x" }, "invalid size: 'x'"],
  ["fluentd", { "fluentd-retry-wait": "x" }, 'time: invalid duration "x"'],
  ["fluentd", { "fluentd-retry-wait": "1sx" }, 'time: unknown unit "sx" in duration "1sx"'],
  ["fluentd", { "fluentd-max-retries": "-1" }, 'strconv.ParseUint: parsing "-1": invalid syntax'],
] as readonly (readonly [string, Record<string, string>, string])[]) {
  test(`${driver} ${JSON.stringify(options)} is refused: ${message}`, () => {
    assert.throws(() => checkLogOptions(driver, options), { kind: "invalid", message });
  });
}

test("addresses are read with their defaults", () => {
  const syslog = (address: string) => readSyslogOptions({ "syslog-address": address }).addresses;
  assert.deepEqual(syslog("udp://host"), [{ network: "udp", host: "host", port: 514 }]);
  assert.deepEqual(syslog("tcp://[::1]:99"), [{ network: "tcp", host: "::1", port: 99 }]);
  assert.deepEqual(syslog("tcp+tls://h:1"), [
    { network: "tcp", host: "h", port: 1, tls: { ca: "", cert: "", key: "", skipVerify: false } },
  ]);
  assert.equal(readSyslogOptions({ "syslog-facility": "local7" }).facility, 23);
  assert.equal(readSyslogOptions({}).addresses.length, 6);
  assert.equal(readGelfOptions(GELF_UDP).compression, "gzip");
  const fluentd = (address: string) => readFluentdOptions({ "fluentd-address": address }).address;
  assert.deepEqual(fluentd(""), { network: "tcp", host: "127.0.0.1", port: 24_224 });
  assert.deepEqual(fluentd("host:1"), { network: "tcp", host: "host", port: 1 });
  assert.deepEqual(fluentd("unix:///run/x"), { network: "unix", path: "/run/x" });
});

test("what may wait for a service, and for how long, is what the options say", () => {
  assert.deepEqual(readPatience("syslog", {}), {});
  assert.deepEqual(readPatience("syslog", { mode: "non-blocking", "max-buffer-size": "2m" }), { mostBytes: 2 << 20 });
  assert.deepEqual(readPatience("gelf", GELF_TCP), {});
  assert.deepEqual(readPatience("gelf", { ...GELF_TCP, "gelf-tcp-max-reconnect": "0" }), {
    firstPauseMs: 1000,
    lastPauseMs: 1000,
    mostRetries: 0,
  });
  assert.deepEqual(readPatience("gelf", { ...GELF_TCP, "gelf-tcp-reconnect-delay": "5" }), {
    firstPauseMs: 5000,
    lastPauseMs: 5000,
  });
  assert.deepEqual(readPatience("fluentd", { "fluentd-retry-wait": "1m1.5s" }), { firstPauseMs: 61_500 });
  const limits = { "fluentd-max-retries": "7", "fluentd-buffer-limit": "1k" };
  assert.deepEqual(readPatience("fluentd", limits), { firstPauseMs: 1000, mostRetries: 7 });
  assert.equal(readPatience("fluentd", { ...limits, "fluentd-async": "true" }).mostLines, 1024);
  assert.equal(readPatience("fluentd", { "fluentd-max-retries": "0" }).mostRetries, 13);
  const often = { "fluentd-async-reconnect-interval": "300ms" };
  assert.equal(readFluentdOptions(often).reconnectMs, 0);
  assert.equal(readFluentdOptions({ ...often, "fluentd-async": "1" }).reconnectMs, 300);
});
