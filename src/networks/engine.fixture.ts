import { makeEngine } from "./lab.fixture.ts";

// An engine's networks as a process of its own: says what bridge it got, and shuts down at the end of its input.
const lab = makeEngine(process.argv[2]);
const networks = lab.open();
const { Options, IPAM } = networks.inspect("bridge");
process.stdout.write(`${Options?.["com.docker.network.bridge.name"]} ${IPAM.Config[0]?.Subnet}\n`);
process.stdin.resume().once("end", async () => {
  await networks.shutdown();
  lab.remove();
});
