import threading
import time

import docker
from docker.types import IPAMConfig, IPAMPool

from engine_case import IMAGE, EngineCase


class System(EngineCase):
    def test_ping(self):
        "ping, version and info"
        self.assertTrue(self.client.ping())
        version = self.client.version()
        self.assertEqual((version["Os"], version["MinAPIVersion"] <= "1.24"), ("linux", True))
        self.assertTrue(version["Components"][0]["Version"])
        info = self.client.info()
        self.assertEqual(info["OSType"], "linux")
        self.assertGreaterEqual(info["Images"], 1)
        self.assertIn("bridge", info["Plugins"]["Network"])
        self.assertEqual(info["Swarm"]["LocalNodeState"], "inactive")

    def test_df(self):
        "df tells of images, containers and volumes"
        made = self.started(["sh", "-c", "head -c 100000 /dev/zero > /big; cat"], stdin_open=True)
        volume = self.volume("py-df")
        deadline = time.monotonic() + 10
        while made.exec_run("test -e /big").exit_code != 0:
            self.assertLess(time.monotonic(), deadline)
        usage = self.client.df()
        self.assertGreater(usage["LayersSize"], 0)
        row = next(c for c in usage["Containers"] if c["Id"] == made.id)
        self.assertGreaterEqual(row["SizeRw"], 100000)
        self.assertIn(volume.name, [v["Name"] for v in usage["Volumes"]])
        self.assertIn("busybox:latest", [tag for i in usage["Images"] for tag in i["RepoTags"] or []])

    def test_events(self):
        "events are heard while they happen, and can be asked for afterwards"
        since = int(time.time())
        stream = self.client.events(decode=True, filters={"type": "container", "label": "py-events"})
        made = self.started(["true"], labels={"py-events": "1"}, name="py-events")
        made.wait()
        made.remove()
        heard = []
        for event in stream:
            heard.append(event["Action"])
            self.assertEqual(event["Actor"]["Attributes"]["name"], "py-events")
            if event["Action"] == "destroy":
                break
        stream.close()
        self.assertEqual(heard, ["create", "start", "die", "destroy"])
        past = self.client.events(since=since, until=int(time.time()) + 1, decode=True, filters={"container": made.id})
        self.assertEqual([e["status"] for e in past if e["Type"] == "container"], heard)

    def test_events_closed(self):
        "a stream of events can be closed while nothing happens"
        stream = self.client.events(decode=True, filters={"type": "plugin"})
        closer = threading.Timer(0.2, stream.close)
        closer.start()
        self.assertEqual(list(stream), [])
        closer.join()

    def test_swarm(self):
        "swarm, nodes and services say that there is no swarm"
        for ask in (self.client.nodes.list, self.client.services.list, self.client.secrets.list, self.client.configs.list):
            self.refused(503, "This node is not a swarm manager.", ask)
        self.assertEqual(self.client.plugins.list(), [])

    def test_login(self):
        "login at a registry that does not answer is an error with its name"
        with self.assertRaises(docker.errors.APIError) as caught:
            self.client.login("someone", "secret", registry="http://127.0.0.1:1/")
        self.assertIn("127.0.0.1:1", caught.exception.explanation)
        self.assertNotIn("secret", caught.exception.explanation)


class Networks(EngineCase):
    def test_network(self):
        "create, get, list, connect, disconnect and remove"
        net = self.network(
            "py-net", driver="bridge", labels={"l": "v"}, internal=True,
            ipam=IPAMConfig(pool_configs=[IPAMPool(subnet="10.213.77.0/24", gateway="10.213.77.254")]),
        )  # fmt: skip
        self.assertEqual(self.client.networks.get("py-net").id, net.id)
        self.assertEqual([n.id for n in self.client.networks.list(names=["py-net"])], [net.id])
        self.assertEqual([n.id for n in self.client.networks.list(filters={"label": "l=v"})], [net.id])
        self.assertTrue(net.attrs["Internal"])
        self.assertEqual(net.attrs["IPAM"]["Config"][0]["Subnet"], "10.213.77.0/24")
        made = self.started(name="py-on-net")
        net.connect(made, aliases=["known"], ipv4_address="10.213.77.9")
        made.reload()
        end = made.attrs["NetworkSettings"]["Networks"]["py-net"]
        self.assertEqual(end["IPAddress"], "10.213.77.9")
        self.assertIn("known", end["Aliases"])
        net.reload()
        self.assertEqual([c.id for c in net.containers], [made.id])
        looked = self.client.containers.run(IMAGE, "nslookup known", network="py-net", remove=True)
        self.assertIn(b"10.213.77.9", looked)
        self.refused(403, "has active endpoints", net.remove)
        net.disconnect(made)
        made.reload()
        self.assertNotIn("py-net", made.attrs["NetworkSettings"]["Networks"])
        self.refused(409, "already exists", self.client.networks.create, "py-net", check_duplicate=True)
        net.remove()
        with self.assertRaises(docker.errors.NotFound):
            self.client.networks.get("py-net")

    def test_run_on(self):
        "a container created on a network of its own with an address and aliases"
        net = self.network("py-first", ipam=IPAMConfig(pool_configs=[IPAMPool(subnet="10.213.78.0/24")]))
        config = self.api.create_networking_config({
            "py-first": self.api.create_endpoint_config(aliases=["a1"], ipv4_address="10.213.78.7")
        })
        made = self.api.create_container(
            IMAGE, ["sleep", "600"], networking_config=config, host_config=self.api.create_host_config(network_mode="py-first", init=True)
        )
        self.forget(self.api.remove_container, made["Id"], force=True)
        self.api.start(made["Id"])
        ends = self.api.inspect_container(made["Id"])["NetworkSettings"]["Networks"]
        self.assertEqual((list(ends), ends["py-first"]["IPAddress"]), (["py-first"], "10.213.78.7"))
        self.api.remove_container(made["Id"], force=True)
        net.remove()

    def test_prune(self):
        "prune removes networks that nobody is on"
        used = self.network("py-used", labels={"py-net-prune": ""})
        self.network("py-unused", labels={"py-net-prune": ""})
        self.started(network="py-used")
        self.assertEqual(self.client.networks.prune(filters={"label": "py-net-prune"})["NetworksDeleted"], ["py-unused"])
        self.assertEqual(self.client.networks.get("py-used").id, used.id)
        for made in self.client.containers.list(filters={"network": "py-used"}):
            made.remove(force=True)

    def test_bad(self):
        "bad subnets, drivers and names are refused"
        self.refused(404, "py-nope", self.client.networks.get, "py-nope")
        self.refused(404, "py-nope", self.client.networks.get("bridge").connect, "py-nope")
        bad = IPAMConfig(pool_configs=[IPAMPool(subnet="10.0.0.0/99")])
        self.refused((400, 500), "10.0.0.0/99", self.client.networks.create, "py-bad", ipam=bad)
        self.refused(404, "py-driver", self.client.networks.create, "py-bad", driver="py-driver")


class Volumes(EngineCase):
    def test_volume(self):
        "create, get, list, use and remove"
        volume = self.volume("py-vol", labels={"k": "v"})
        self.assertEqual((volume.name, volume.attrs["Driver"], volume.attrs["Labels"]), ("py-vol", "local", {"k": "v"}))
        self.assertEqual(self.client.volumes.get("py-vol").id, "py-vol")
        self.assertEqual([v.name for v in self.client.volumes.list(filters={"label": "k=v"})], ["py-vol"])
        bind = {"py-vol": {"bind": "/v", "mode": "rw"}}
        self.client.containers.run(IMAGE, ["sh", "-c", "echo kept > /v/f"], volumes=bind, remove=True)
        self.assertEqual(self.client.containers.run(IMAGE, "cat /v/f", volumes=bind, remove=True), b"kept\n")
        user = self.container(volumes=bind)
        self.refused(409, "volume is in use", volume.remove)
        user.remove()
        volume.remove()
        with self.assertRaises(docker.errors.NotFound):
            self.client.volumes.get("py-vol")
        self.refused(404, "py-vol", volume.remove)

    def test_tmpfs(self):
        "a volume of a type is mounted while it is used"
        self.volume("py-tmpfs", driver="local", driver_opts={"type": "tmpfs", "device": "tmpfs", "o": "size=1m"})
        said = self.client.containers.run(IMAGE, "df -k /v", volumes={"py-tmpfs": {"bind": "/v"}}, remove=True)
        self.assertIn(b"1024", said)

    def test_prune(self):
        "prune removes volumes that nobody uses"
        self.volume("py-unused", labels={"py-vol-prune": "1"})
        every = {"all": True} if docker.utils.version_gte(self.api._version, "1.42") else {}
        pruned = self.client.volumes.prune(filters={"label": "py-vol-prune", **every})
        self.assertEqual(pruned["VolumesDeleted"], ["py-unused"])

    def test_anonymous(self):
        "a volume without a name goes with its container where asked"
        made = self.container(volumes=["/anon"])
        name = made.attrs["Mounts"][0]["Name"]
        self.assertRegex(name, r"^[0-9a-f]{64}$")
        made.remove(v=True)
        with self.assertRaises(docker.errors.NotFound):
            self.client.volumes.get(name)
