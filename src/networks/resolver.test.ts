import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { closeSync, mkdtempSync, readdirSync, readSync, rmSync, writeSync } from "node:fs";
import { createServer, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import packet from "dns-packet";
import { Logger } from "../base/log.ts";
import { bindSocket, connectSocket, setReceiveRoom } from "../kernel/bound-socket.ts";
import { inNetns } from "../kernel/namespace.ts";
import { enterPrivateHost } from "../kernel/private-host.fixture.ts";
import { Allowance } from "./allowance.ts";
import { NO_ADDRESS } from "./driver.ts";
import type { Endpoint } from "./endpoint.ts";
import type { Upstream } from "./host-dns.ts";
import { Names } from "./names.ts";
import { newNetwork } from "./record.ts";
import { RESOLVER_ADDRESS, Resolver, type ResolverPorts, resolversAllowance } from "./resolver.ts";
import { Sandboxes } from "./sandbox.ts";

enterPrivateHost();

const FRONT = { ...newNetwork("front", "bridge"), enableIPv6: true };
const BACK = newNetwork("back", "bridge");

function endpoint(network: typeof FRONT, names: readonly string[], more: Partial<Endpoint> = {}): Endpoint {
  const [containerName = ""] = names;
  const base = { id: names.join(), network, containerId: containerName, containerName, settings: {}, dnsNames: names };
  return { ...base, address: NO_ADDRESS, ...more };
}

/** Takes a datagram that waits, if there is one. */
function canRead(fd: number): boolean {
  try {
    return readSync(fd, Buffer.alloc(512)) > 0;
  } catch {
    return false;
  }
}

const at = (ipv4Address: string, ipv6Address = "") => ({ address: { ...NO_ADDRESS, ipv4Address, ipv6Address } });

describe("a sandbox's name server", () => {
  const root = mkdtempSync(join(tmpdir(), "gantry-resolver-"));
  const sandboxes = new Sandboxes(root);
  const names = new Names();
  const own = endpoint(FRONT, ["self"], {
    ...at("10.0.0.2"),
    settings: { Links: ["web:linked", `${"ab".repeat(32)}:by-id`] },
  });
  const upstreams: Upstream[] = [];
  let sandbox = "";
  let ports: ResolverPorts;
  let resolver: Resolver;
  before(() => {
    sandbox = sandboxes.create("one");
    names.add(own);
    names.add(endpoint(FRONT, ["web", "www", "0123456789ab"], at("10.0.0.3", "fd00::3")));
    names.add(endpoint(FRONT, ["twin", "www"], at("10.0.0.4")));
    names.add(endpoint(FRONT, ["ab".repeat(6)], at("10.0.0.5")));
    names.add(endpoint(BACK, ["hidden"], at("10.1.0.2")));
    for (let n = 0; n < 60; n++) names.add(endpoint(FRONT, [`c${n}`, "crowd"], at(`10.0.1.${n + 1}`)));
    ports = {
      sandbox,
      names,
      endpoints: () => [own],
      hostAddresses: () => ["10.0.0.1", "fd00::1"],
      upstreams: () => upstreams,
      logger: new Logger("error", () => {}),
      allowance: resolversAllowance(),
      isInherited: false,
    };
    resolver = new Resolver(ports);
  });
  beforeEach(() => {
    upstreams.length = 0;
  });
  after(() => {
    resolver.close();
    sandboxes.remove("one");
    rmSync(root, { recursive: true, force: true });
  });

  /** The raw answer over UDP, sent to the well-known port. */
  async function ask(query: Buffer): Promise<Buffer> {
    const socket = createSocket("udp4");
    socket.bind({ fd: inNetns(sandbox, () => bindSocket("udp", "0.0.0.0", 0)) });
    socket.send(query, 53, RESOLVER_ADDRESS);
    const [answer, from] = (await once(socket, "message", { signal: AbortSignal.timeout(5_000) })) as [
      Buffer,
      { address: string; port: number },
    ];
    socket.close();
    assert.deepEqual([from.address, from.port], [RESOLVER_ADDRESS, 53], "it comes from where it was asked");
    return answer;
  }

  async function askTcp(...queries: readonly Buffer[]): Promise<Buffer[]> {
    const fd = inNetns(sandbox, () => connectSocket("tcp", RESOLVER_ADDRESS, 53));
    const socket = new Socket({ fd });
    for (const query of queries) {
      const frame = Buffer.alloc(2 + query.length);
      frame.writeUInt16BE(query.length);
      query.copy(frame, 2);
      // In pieces, as a stream may come.
      socket.write(frame.subarray(0, 3));
      socket.write(frame.subarray(3));
    }
    socket.end();
    const chunks: Buffer[] = [];
    for await (const chunk of socket) chunks.push(chunk as Buffer);
    let all = Buffer.concat(chunks);
    const answers: Buffer[] = [];
    while (all.length > 0) {
      const end = 2 + all.readUInt16BE(0);
      answers.push(all.subarray(2, end));
      all = all.subarray(end);
    }
    return answers;
  }

  const queryOf = (name: string, type: packet.RecordType = "A", more: Partial<packet.Packet> = {}) =>
    packet.encode({ type: "query", id: 4711, flags: packet.RECURSION_DESIRED, questions: [{ name, type }], ...more });

  async function look(name: string, type: packet.RecordType = "A"): Promise<string> {
    const answer = packet.decode(await ask(queryOf(name, type)));
    const rows = (answer.answers ?? []).map((row) => ("data" in row ? String(row.data) : row.type)).sort();
    return [(answer as { rcode?: string }).rcode, ...rows].join(" ");
  }

  test("knows names, aliases, short ids and links of its own networks, in any case, and with the network's name", async () => {
    const rows: readonly (readonly [string, packet.RecordType, string])[] = [
      ["web", "A", "NOERROR 10.0.0.3"],
      ["WeB", "A", "NOERROR 10.0.0.3"],
      ["web.front", "A", "NOERROR 10.0.0.3"],
      ["0123456789ab", "A", "NOERROR 10.0.0.3"],
      ["web", "AAAA", "NOERROR fd00::3"],
      ["twin", "AAAA", "NOERROR"],
      ["web", "MX", "NOERROR"],
      ["www", "A", "NOERROR 10.0.0.3 10.0.0.4"],
      ["linked", "A", "NOERROR 10.0.0.3"],
      ["by-id", "A", "NOERROR 10.0.0.5"],
      ["self", "A", "NOERROR 10.0.0.2"],
      ["3.0.0.10.in-addr.arpa", "PTR", "NOERROR web.front"],
      [`3.${"0.".repeat(27)}0.0.d.f.ip6.arpa`, "PTR", "NOERROR web.front"],
      ["hidden", "A", "SERVFAIL"],
      ["hidden.back", "A", "SERVFAIL"],
      ["2.0.1.10.in-addr.arpa", "PTR", "SERVFAIL"],
      ["nobody", "A", "SERVFAIL"],
      ["host.docker.internal", "A", "NOERROR 10.0.0.1"],
      ["Host.Docker.Internal", "AAAA", "NOERROR fd00::1"],
      ["host.docker.internal", "MX", "NOERROR"],
    ];
    for (const [name, type, wanted] of rows) assert.equal(await look(name, type), wanted, `${type} ${name}`);
  });

  test("answers with the question as it came, for so short a time that caches keep no name of one that is gone", async () => {
    const query = queryOf("WeB.Front");
    const reply = await ask(query);
    assert.deepEqual(reply.subarray(12, query.length), query.subarray(12));
    assert.deepEqual(
      packet.decode(reply).answers?.map((row) => "ttl" in row && row.ttl),
      [1],
    );
    const chaos = Buffer.from(queryOf("web"));
    chaos.writeUInt16BE(3, chaos.length - 2);
    assert.equal((await ask(chaos)).readUInt16BE(2) & 0xf, 2, "of another class it knows nothing");
    // One label with a dot in it, as no name of a container has.
    const odd = Buffer.concat([query.subarray(0, 12), Buffer.from("\u0009web.front\u0000\u0000\u0001\u0000\u0001")]);
    const refused = await ask(odd);
    assert.deepEqual([refused.readUInt16BE(2) & 0xf, refused.subarray(12)], [2, odd.subarray(12)]);
  });

  test("refuses a version of EDNS that nobody has told it of, in the words of EDNS", async () => {
    const edns = { type: "OPT", name: ".", udpPayloadSize: 4096, ednsVersion: 7, flags: 0, options: [] };
    const [option] = packet.decode(await ask(queryOf("web", "A", { additionals: [edns as never] }))).additionals ?? [];
    assert.equal(option?.type === "OPT" && option.extendedRcode, 1);
  });

  test("gives the bearers of one name in turns", async () => {
    const first = new Set<string>();
    for (let n = 0; n < 50; n++) {
      const [row] = packet.decode(await ask(queryOf("www"))).answers ?? [];
      if (row?.type === "A") first.add(row.data);
    }
    assert.deepEqual([...first].sort(), ["10.0.0.3", "10.0.0.4"]);
  });

  test("cuts what the client can't take over UDP and says so; EDNS and TCP give more", async () => {
    const plain = await ask(queryOf("crowd"));
    assert.ok(plain.length <= 512 && plain.length > 450, String(plain.length));
    assert.equal(packet.decode(plain).flag_tc, true);
    const edns = { type: "OPT", name: ".", udpPayloadSize: 4096, flags: 0, options: [] } as unknown as packet.Answer;
    const large = packet.decode(await ask(queryOf("crowd", "A", { additionals: [edns] })));
    assert.deepEqual([large.flag_tc, large.answers?.length], [false, 60]);
    assert.equal(large.additionals?.[0]?.type, "OPT");
    const [stream, second] = await askTcp(queryOf("crowd"), queryOf("web"));
    assert.equal(packet.decode(stream!).answers?.length, 60);
    assert.equal(packet.decode(second!).answers?.length, 1);
  });

  test("answers nonsense with an error, or not at all, and goes on", async () => {
    const noQuestion = packet.encode({ type: "query", id: 1 });
    assert.equal(packet.decode(await ask(noQuestion)).flags! & 0xf, 1, "a format error");
    const status = Buffer.from(queryOf("web"));
    status.writeUInt16BE(0x1000, 2);
    assert.equal((await ask(status)).readUInt16BE(2) & 0xf, 4, "not implemented");
    const pointer = Buffer.concat([queryOf("web").subarray(0, 12), Buffer.from([0xc0, 0x0c, 0, 1, 0, 1])]);
    assert.equal((await ask(pointer)).readUInt16BE(2) & 0xf, 1, "a name that points at itself");
    const socket = createSocket("udp4");
    socket.bind({ fd: inNetns(sandbox, () => bindSocket("udp", "0.0.0.0", 0)) });
    for (const silent of [Buffer.alloc(3), packet.encode({ type: "response", id: 2, questions: [] })]) {
      socket.send(silent, 53, RESOLVER_ADDRESS);
    }
    socket.send(queryOf("web"), 53, RESOLVER_ADDRESS);
    const [first] = (await once(socket, "message")) as [Buffer];
    assert.equal(first.readUInt16BE(0), 4711, "nothing came of those before");
    socket.close();
  });

  test("answers a flood in slices, between which others have their turn, and takes no more time than it may", async () => {
    const path = sandboxes.create("flooded");
    const flooded = new Resolver({ ...ports, sandbox: path, allowance: new Allowance({ share: 0.02, mostMs: 1 }) });
    const client = inNetns(path, () => connectSocket("udp", RESOLVER_ADDRESS, 53));
    setReceiveRoom(client, 1 << 22);
    const begun = performance.now();
    let sent = 0;
    // All at once: nothing else of this process runs meanwhile.
    for (; sent < 1000; sent++) writeSync(client, queryOf("web"));
    let [answers, turns] = [0, 0];
    for (const deadline = Date.now() + 60_000; answers < sent && Date.now() < deadline; turns++) {
      await new Promise((resolve) => setImmediate(resolve));
      while (canRead(client)) answers++;
    }
    const elapsed = performance.now() - begun;
    flooded.close();
    closeSync(client);
    sandboxes.remove("flooded");
    assert.equal(answers, sent);
    assert.ok(turns > 10, `others had ${turns} turns`);
    // A thousand answers are 3 ms at the very least: 2 ms beyond what is free are a hundred at a fiftieth.
    assert.ok(elapsed > 100, `${elapsed} ms`);
  });

  test("leaves port 53 of all addresses to the container", () => {
    for (const kind of ["udp", "tcp"] as const) {
      const fd = inNetns(sandbox, () => bindSocket(kind, "0.0.0.0", 53));
      closeSync(fd);
    }
  });

  describe("with servers to ask", () => {
    /** A server on the host; `reply` gets the query and says what to answer. */
    async function serve(address: string, reply: (query: Buffer) => Buffer | undefined) {
      const socket = createSocket("udp4", (query, from) => {
        const answer = reply(query);
        if (answer !== undefined) socket.send(answer, from.port, from.address);
      });
      socket.bind(53, address);
      await once(socket, "listening");
      return socket;
    }
    const found = (query: Buffer, data: string, more: Partial<packet.Packet> = {}) => {
      const { id, questions } = packet.decode(query);
      const answers = [{ type: "A" as const, name: questions![0]!.name, data }];
      return packet.encode({ type: "response", id, questions, answers, ...more });
    };
    const code = (query: Buffer, rcode: number) => {
      const { id, questions } = packet.decode(query);
      return packet.encode({ type: "response", id, questions, flags: rcode });
    };

    test("passes on what it does not know, EDNS and all, and hands back what comes", async () => {
      let seen: packet.Packet | undefined;
      const server = await serve("127.0.0.1", (query) => {
        seen = packet.decode(query);
        return found(query, "192.0.2.1");
      });
      upstreams.push({ address: "127.0.0.1", isInside: false });
      const edns = { type: "OPT", name: ".", udpPayloadSize: 1232, flags: 0, options: [] } as unknown as packet.Answer;
      const answer = packet.decode(await ask(queryOf("Example.Org", "A", { additionals: [edns] })));
      server.close();
      assert.equal(answer.id, 4711);
      assert.equal((answer.answers?.[0] as packet.StringAnswer | undefined)?.data, "192.0.2.1");
      assert.equal(seen?.questions?.[0]?.name, "Example.Org");
      assert.equal((seen?.additionals?.[0] as packet.OptAnswer | undefined)?.udpPayloadSize, 1232);
    });

    test("goes to the next server when one refuses, fails or is not there, and keeps NXDOMAIN", async () => {
      const one = await serve("127.0.0.2", (query) => code(query, 2));
      const two = await serve("127.0.0.3", (query) => code(query, 5));
      const three = await serve("127.0.0.4", (query) => code(query, 3));
      const servers = (...addresses: string[]) =>
        upstreams.splice(0, 9, ...addresses.map((address) => ({ address, isInside: false })));
      servers("127.0.0.2", "127.0.0.3", "127.0.0.4");
      assert.equal(await look("a.example"), "NXDOMAIN");
      servers("127.0.0.9", "127.0.0.4");
      assert.equal(await look("a.example"), "NXDOMAIN");
      servers("127.0.0.3", "127.0.0.2");
      assert.equal(await look("a.example"), "SERVFAIL");
      for (const server of [one, two, three]) server.close();
    });

    test("does not wait for a server that is silent, and asks it last from then on", async () => {
      const asked: string[] = [];
      const silent = await serve("127.0.0.6", () => void asked.push("silent"));
      const other = await serve("127.0.0.7", (query) => {
        asked.push("other");
        return found(query, "192.0.2.3");
      });
      upstreams.push({ address: "127.0.0.6", isInside: false }, { address: "127.0.0.7", isInside: false });
      for (const name of ["a.example", "b.example"]) assert.equal(await look(name), "NOERROR 192.0.2.3");
      assert.deepEqual(asked, ["silent", "other", "other"]);
      silent.close();
      other.close();
    });

    test("takes the word of the first that there is no such name, however late, before that of the next", async () => {
      let late: (() => void) | undefined;
      const first = createSocket("udp4", (query, from) => {
        late = () => first.send(found(query, "192.0.2.4"), from.port, from.address);
      });
      first.bind(53, "127.0.0.8");
      await once(first, "listening");
      const second = await serve("127.0.0.10", (query) => {
        setTimeout(() => late?.(), 50);
        return code(query, 3);
      });
      upstreams.push({ address: "127.0.0.8", isInside: false }, { address: "127.0.0.10", isInside: false });
      assert.equal(await look("only-inside.example"), "NOERROR 192.0.2.4");
      first.close();
      second.close();
    });

    test("believes no answer of another port, with another id, or to another question", async () => {
      const forger = createSocket("udp4");
      forger.bind(0, "127.0.0.11");
      const honest = createSocket("udp4", (query, from) => {
        const send = (bytes: Buffer, by = honest) => by.send(bytes, from.port, from.address);
        const forged = found(query, "192.0.2.66");
        send(forged, forger);
        const otherId = Buffer.from(forged);
        otherId.writeUInt16BE(forged.readUInt16BE(0) ^ 1);
        const otherName = Buffer.from(forged);
        otherName[13]! ^= 1;
        const otherType = Buffer.from(forged);
        otherType[query.length - 3] = 28;
        const noQuestion = Buffer.from(forged.subarray(0, 12));
        noQuestion.fill(0, 4);
        const twoQuestions = Buffer.from(forged);
        twoQuestions.writeUInt16BE(2, 4);
        for (const bytes of [otherId, otherName, otherType, noQuestion, twoQuestions, query, Buffer.alloc(5)])
          send(bytes);
        send(found(query, "192.0.2.5"));
      });
      honest.bind(53, "127.0.0.1");
      await once(honest, "listening");
      upstreams.push({ address: "127.0.0.1", isInside: false });
      assert.equal(await look("true.example"), "NOERROR 192.0.2.5");
      forger.close();
      honest.close();
    });

    test("hands on that an answer was cut, and cuts one that its asker can't take", async () => {
      const many = Array.from({ length: 60 }, (_, n) => `192.0.2.${n}`);
      const server = await serve("127.0.0.1", (query) => {
        const { id, questions } = packet.decode(query);
        const name = questions![0]!.name;
        const cut = { type: "response", id, questions, flags: packet.TRUNCATED_RESPONSE } as const;
        if (name === "cut.example") return packet.encode(cut);
        const answers = many.map((data) => ({ type: "A" as const, name, data }));
        return packet.encode({ type: "response", id, questions, answers });
      });
      upstreams.push({ address: "127.0.0.1", isInside: false });
      assert.equal(packet.decode(await ask(queryOf("cut.example"))).flag_tc, true);
      const reply = await ask(queryOf("large.example"));
      assert.ok(reply.length <= 512);
      const { flag_tc, questions, answers } = packet.decode(reply);
      assert.deepEqual([flag_tc, questions?.[0]?.name, answers], [true, "large.example", []]);
      server.close();
    });

    test("asks over TCP what it was asked over TCP", async () => {
      const server = createServer((socket) => {
        socket.once("data", (frame: Buffer) => {
          const answer = found(frame.subarray(2), "192.0.2.7");
          const reply = Buffer.alloc(2 + answer.length);
          reply.writeUInt16BE(answer.length);
          answer.copy(reply, 2);
          socket.write(reply.subarray(0, 1));
          socket.end(reply.subarray(1));
        });
      }).listen(53, "127.0.0.1");
      await once(server, "listening");
      upstreams.push({ address: "127.0.0.1", isInside: false });
      const [answer] = await askTcp(queryOf("big.example"));
      server.close();
      assert.equal((packet.decode(answer!).answers?.[0] as packet.StringAnswer | undefined)?.data, "192.0.2.7");
    });

    test("asks the servers that the user chose from inside the sandbox", async () => {
      const fd = inNetns(sandbox, () => bindSocket("udp", "127.0.0.1", 53));
      const server = createSocket("udp4", (query, from) =>
        server.send(found(query, "192.0.2.9"), from.port, from.address),
      );
      server.bind({ fd });
      upstreams.push({ address: "127.0.0.1", isInside: true });
      assert.equal(await look("inside.example"), "NOERROR 192.0.2.9");
      server.close();
    });

    test("holds no more than so many queries at once, and leaves nothing behind", async () => {
      const silent = await serve("127.0.0.5", () => undefined);
      upstreams.push({ address: "127.0.0.5", isInside: false });
      const before = readdirSync("/proc/self/fd").length;
      const socket = createSocket({ type: "udp4", recvBufferSize: 1 << 20 });
      socket.bind({ fd: inNetns(sandbox, () => bindSocket("udp", "0.0.0.0", 0)) });
      let refused = 0;
      socket.on("message", (answer) => {
        if ((answer.readUInt16BE(2) & 0xf) === 2) refused++;
      });
      for (let n = 0; n < 400; n++) {
        socket.send(queryOf(`n${n}.example`), 53, RESOLVER_ADDRESS);
        if (n % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      while (refused < 20) await once(socket, "message", { signal: AbortSignal.timeout(5_000) });
      assert.ok(readdirSync("/proc/self/fd").length <= before + 260);
      resolver.close();
      socket.close();
      silent.close();
      const deadline = Date.now() + 3_000;
      while (readdirSync("/proc/self/fd").length > before && Date.now() < deadline) {
        await new Promise((resolve) => setImmediate(resolve));
      }
      assert.ok(readdirSync("/proc/self/fd").length <= before, "its sockets are closed");
    });
  });
});
