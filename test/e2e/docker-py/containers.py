import time
from itertools import islice

import docker
from docker.types import Healthcheck, LogConfig, Mount, Ulimit

from engine_case import FOREVER, IMAGE, EngineCase


class Running(EngineCase):
    def test_run(self):
        "run gives back what the program wrote"
        self.assertEqual(self.client.containers.run(IMAGE, "echo hello", remove=True), b"hello\n")
        both = self.client.containers.run(
            IMAGE, ["sh", "-c", "echo out; echo err >&2"], stdout=True, stderr=True, remove=True
        )
        self.assertEqual(sorted(both.split()), [b"err", b"out"])

    def test_failure(self):
        "run of a program that fails raises its exit status and its words"
        with self.assertRaises(docker.errors.ContainerError) as caught:
            self.client.containers.run(IMAGE, ["sh", "-c", "echo why >&2; exit 3"], remove=True)
        self.assertEqual(caught.exception.exit_status, 3)
        self.assertIn(b"why", caught.exception.stderr)

    def test_stream(self):
        "run with stream gives the lines one by one"
        script = ["sh", "-c", "echo one; sleep 0.2; echo two"]
        lines = self.client.containers.run(IMAGE, script, stream=True, name="py-streams")
        self.forget(self.client.containers.get("py-streams").remove, force=True)
        self.assertEqual(list(lines), [b"one\n", b"two\n"])

    def test_missing(self):
        "names that are not there raise NotFound, an image's as ImageNotFound"
        with self.assertRaises(docker.errors.NotFound) as caught:
            self.client.containers.get("py-nope")
        self.assertEqual(caught.exception.explanation, "No such container: py-nope")
        with self.assertRaises(docker.errors.ImageNotFound):
            self.api.create_container("py-nope:latest", "true")
        with self.assertRaises(docker.errors.ImageNotFound):
            self.client.images.get("py-nope")

    def test_bad_command(self):
        "a program that is not there is an error of start, and the container stays"
        made = self.container(["/no/such/program"])
        self.refused(400, "no such file or directory", made.start)
        made.reload()
        self.assertEqual((made.status, made.attrs["State"]["ExitCode"]), ("created", 127))


class Life(EngineCase):
    def test_life(self):
        "create, start, pause, unpause, restart, kill and remove show in the status"
        made = self.container(name="py-life", labels={"suite": "life"})
        self.assertEqual((made.status, made.name, made.labels["suite"]), ("created", "py-life", "life"))

        def after(act, *args, **kwargs):
            act(*args, **kwargs)
            made.reload()
            return made.status

        self.assertEqual(after(made.start), "running")
        self.assertEqual(after(made.start), "running")
        self.assertEqual(after(made.pause), "paused")
        self.refused(409, "is already paused", made.pause)
        self.assertEqual(after(made.unpause), "running")
        self.refused((409, 500), "is not paused", made.unpause)
        first = made.attrs["State"]["Pid"]
        self.assertEqual(after(made.restart, timeout=5), "running")
        self.assertNotEqual(made.attrs["State"]["Pid"], first)
        self.assertEqual(after(made.kill), "exited")
        self.assertEqual(made.attrs["State"]["ExitCode"], 137)
        self.refused(409, "is not running", made.kill)
        made.remove()
        with self.assertRaises(docker.errors.NotFound):
            made.reload()

    def test_stop(self):
        "stop sends TERM first and kills what stays"
        polite = self.started()
        polite.stop(timeout=20)
        self.assertEqual(polite.wait()["StatusCode"], 0)
        polite.stop()
        stubborn = self.started(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 600; done"])
        next(stubborn.logs(stream=True))
        stubborn.stop(timeout=1)
        self.assertEqual(stubborn.wait()["StatusCode"], 137)

    def test_signal(self):
        "kill sends the signal that is asked for, by name or by number"
        made = self.started(["sh", "-c", "trap 'exit 7' USR1; trap 'exit 8' USR2; echo ready; while :; do sleep 0.1; done"])
        next(made.logs(stream=True))
        made.kill("SIGUSR1")
        self.assertEqual(made.wait()["StatusCode"], 7)
        made.start()
        self.assertEqual(b"".join(islice(made.logs(stream=True), 2)), b"ready\nready\n")
        made.kill(12)
        self.assertEqual(made.wait()["StatusCode"], 8)
        self.refused(409, "is not running", made.kill, "SIGUSR1")

    def test_wait(self):
        "wait tells the exit status, and in time that it does not come"
        made = self.started(["sh", "-c", "exit 42"])
        self.assertEqual(made.wait(timeout=20)["StatusCode"], 42)
        going = self.started()
        with self.assertRaises(Exception) as caught:
            going.wait(timeout=0.3)
        self.assertIn("timed out", str(caught.exception))
        going.kill()
        self.assertEqual(going.wait(condition="not-running")["StatusCode"], 137)

    def test_rename(self):
        "rename gives another name, and refuses one that is taken"
        made = self.container(name="py-before")
        other = self.container(name="py-other")
        made.rename("py-after")
        made.reload()
        self.assertEqual(made.name, "py-after")
        self.refused(409, 'The container name "/py-other" is already in use by container', made.rename, "py-other")
        self.refused(409, "py-after", self.client.containers.create, IMAGE, name="py-after")
        self.assertEqual(other.name, "py-other")

    def test_update(self):
        "update changes limits and the restart policy"
        made = self.started(mem_limit="64m", memswap_limit="64m")
        made.update(mem_limit="96m", memswap_limit="96m", cpu_shares=512, restart_policy={"Name": "on-failure", "MaximumRetryCount": 2})
        made.reload()
        host = made.attrs["HostConfig"]
        self.assertEqual((host["Memory"], host["CpuShares"]), (96 << 20, 512))
        self.assertEqual(host["RestartPolicy"], {"Name": "on-failure", "MaximumRetryCount": 2})

    def test_prune(self):
        "list filters, and prune removes what stopped and is asked for"
        going = self.started(labels={"py-prune": "1"})
        ended = self.started(["true"], labels={"py-prune": "1"})
        other = self.started(["true"])
        for made in (ended, other):
            made.wait()
        by_label = {"label": "py-prune=1"}
        self.assertEqual([c.id for c in self.client.containers.list(filters=by_label)], [going.id])
        listed = self.client.containers.list(all=True, filters={**by_label, "status": "exited"})
        self.assertEqual([c.id for c in listed], [ended.id])
        self.assertEqual([c.id for c in self.client.containers.list(limit=1)], [other.id])
        self.assertEqual(
            {c.id for c in self.client.containers.list(all=True, sparse=True, filters={"since": going.id})},
            {ended.id, other.id},
        )
        pruned = self.client.containers.prune(filters=by_label)
        self.assertEqual(pruned["ContainersDeleted"], [ended.id])
        self.assertGreaterEqual(pruned["SpaceReclaimed"], 0)
        self.assertEqual(self.client.containers.list(all=True, filters=by_label)[0].id, going.id)


class Options(EngineCase):
    def test_options(self):
        "the options of create are what the container sees"
        volume = self.volume("py-options")
        made = self.started(
            ["sh", "-c", "hostname; id -u; pwd; echo $A; cat /etc/hosts; ulimit -n; grep -c . /data/x; cat /proc/sys/net/core/somaxconn; mount | grep ' /t '; cat /etc/resolv.conf; ls /sys/class/net"],
            hostname="here", domainname="example.test", user="7:8", working_dir="/tmp", environment={"A": "b"},
            extra_hosts={"db.test": "10.1.2.3"}, ulimits=[Ulimit(name="nofile", soft=77, hard=99)],
            mounts=[Mount("/t", "", type="tmpfs", tmpfs_size=1 << 20, tmpfs_mode=0o1777), Mount("/data", volume.name)],
            volumes=["/anonymous"], sysctls={"net.core.somaxconn": "77"}, dns=["10.9.9.9"], dns_search=["s.test"],
            cap_drop=["ALL"], cap_add=["NET_RAW"], security_opt=["no-new-privileges"], read_only=True, shm_size="1m",
            mem_limit="64m", nano_cpus=500_000_000, pids_limit=50, oom_score_adj=100, group_add=["9"], ipc_mode="private",
            init=True, stop_signal="SIGUSR1", tmpfs={"/scratch": "size=1m"}, devices=["/dev/null:/dev/nothing:r"],
            log_config=LogConfig(type="json-file", config={"max-size": "1m"}), storage_opt=None,
            healthcheck=Healthcheck(test=["CMD", "true"], interval=10**10, retries=2),
        )  # fmt: skip
        made.wait()
        text = made.logs(stderr=False).decode()
        for words in ("here\n7\n/tmp\nb\n", "10.1.2.3\tdb.test", "\n77\n", "tmpfs on /t type tmpfs", "size=1024k", "nameserver 10.9.9.9", "search s.test", "lo"):
            self.assertIn(words, text)
        made.reload()
        host, config = made.attrs["HostConfig"], made.attrs["Config"]
        self.assertEqual(config["Healthcheck"], {"Test": ["CMD", "true"], "Interval": 10**10, "Retries": 2})
        self.assertEqual((host["NanoCpus"], host["PidsLimit"], host["ShmSize"], host["OomScoreAdj"]), (500_000_000, 50, 1 << 20, 100))
        self.assertEqual(sorted(m["Type"] for m in made.attrs["Mounts"]), ["tmpfs", "volume", "volume"])
        self.assertEqual(config["StopSignal"], "SIGUSR1")

    def test_sharing(self):
        "containers share networks, processes and volumes by name"
        self.volume("py-shared")
        owner = self.started(name="py-owner", volumes={"py-shared": {"bind": "/v", "mode": "rw"}}, hostname="owner")
        owner.exec_run(["sh", "-c", "echo kept > /v/f"])
        said = self.client.containers.run(
            IMAGE, ["sh", "-c", "hostname; cat /v/f; ps | grep -c 'sleep 600'; (echo no > /v/g) 2>&1; true"],
            network_mode="container:py-owner", pid_mode="container:py-owner", volumes_from=["py-owner:ro"], remove=True,
        )  # fmt: skip
        lines = said.decode().split("\n")
        self.assertEqual(lines[:2], ["owner", "kept"])
        self.assertGreater(int(lines[2]), 0)
        self.assertIn("Read-only file system", lines[3])

    def test_ports(self):
        "published ports show at the container, once it runs"
        made = self.started(ports={"80/tcp": ("127.0.0.1", None), "53/udp": ("127.0.0.1", None)})
        self.assertEqual(sorted(made.ports), ["53/udp", "80/tcp"])
        [port] = made.ports["80/tcp"]
        self.assertEqual(port["HostIp"], "127.0.0.1")
        self.assertEqual(self.api.port(made.id, 80), [port])
        self.assertGreater(int(port["HostPort"]), 0)

    def test_restart_policy(self):
        "a restart policy brings a container back until its count is used up"
        made = self.started(["sh", "-c", "exit 5"], restart_policy={"Name": "on-failure", "MaximumRetryCount": 2})
        deadline = time.monotonic() + 20
        while True:
            made.reload()
            if made.status == "exited" and made.attrs["RestartCount"] == 2:
                break
            self.assertLess(time.monotonic(), deadline, made.attrs["State"])
            time.sleep(0.05)
        self.assertEqual(made.attrs["State"]["ExitCode"], 5)

    def test_health(self):
        "a health check's result shows at the container"
        made = self.started(healthcheck={"test": "exit 1", "interval": 1_000_000_00, "retries": 1, "start_period": 0})
        deadline = time.monotonic() + 20
        while made.attrs["State"]["Health"]["Status"] != "unhealthy":
            self.assertLess(time.monotonic(), deadline, made.attrs["State"])
            time.sleep(0.05)
            made.reload()
        self.assertEqual(made.attrs["State"]["Health"]["Log"][-1]["ExitCode"], 1)

    def test_bad_values(self):
        "bad values are refused with a sentence"
        self.refused(400, "Invalid container name (bad name)", self.client.containers.create, IMAGE, name="bad name")
        self.refused(400, "restart policy", self.client.containers.create, IMAGE, restart_policy={"Name": "sometimes"})
        self.refused(400, "memory", self.client.containers.create, IMAGE, mem_limit="1k")


class Watching(EngineCase):
    def test_top(self):
        "top lists the processes, with the columns that are asked for"
        made = self.started(["sleep", "600"])
        top = made.top()
        self.assertIn("PID", top["Titles"])
        # It has started when the runtime is about to become it.
        for _ in range(100):
            if "sleep 600" in top["Processes"][0]:
                break
            time.sleep(0.05)
            top = made.top()
        self.assertIn("sleep 600", top["Processes"][0])
        self.assertEqual(made.top(ps_args="-o pid,comm")["Titles"], ["PID", "COMMAND"])

    def test_stats(self):
        "stats come once, and as a stream that can be left"
        made = self.started()
        once = made.stats(stream=False)
        self.assertEqual(once["id"], made.id)
        self.assertGreater(once["memory_stats"]["usage"], 0)
        self.assertGreater(once["cpu_stats"]["cpu_usage"]["total_usage"], 0)
        self.assertIn("eth0", once["networks"])
        stream = made.stats(decode=True)
        first, second = next(stream), next(stream)
        self.assertLess(first["read"], second["read"])
        self.assertEqual(second["preread"], first["read"])
        stream.close()

    def test_diff(self):
        "diff tells what was added, changed and deleted"
        made = self.started(["sh", "-c", "echo x > /new; rm /bin/ls; touch /etc"])
        made.wait()
        changes = {change["Path"]: change["Kind"] for change in made.diff()}
        self.assertEqual((changes["/new"], changes["/bin/ls"], changes["/bin"]), (1, 2, 0))

    def test_image(self):
        "a container knows its image"
        made = self.container(FOREVER)
        self.assertIn("busybox:latest", made.image.tags)
