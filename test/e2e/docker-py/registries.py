"""Registries at REGISTRY_PLAIN and, for joe with `secret` alone, at REGISTRY_USERS; both have py/app:1, :2 and an
index py/index:1 for this machine's platform and for OTHER_PLATFORM."""

import os

import docker

from engine_case import EngineCase

PLAIN = os.environ["REGISTRY_PLAIN"]
USERS = os.environ["REGISTRY_USERS"]
DIGEST = os.environ["APP_DIGEST"]
OTHER = os.environ["OTHER_PLATFORM"]
JOE = {"username": "joe", "password": "secret"}


class Pulls(EngineCase):
    def tearDown(self):
        for image in self.client.images.list(all=True):
            if not any(tag.startswith("busybox") for tag in image.tags):
                self.client.images.remove(image.id, force=True)

    def test_tag(self):
        "pull gives the image of a tag, in the name or beside it"
        first = self.client.images.pull(f"{PLAIN}/py/app", tag="1")
        self.assertEqual(first.tags, [f"{PLAIN}/py/app:1"])
        self.assertEqual(first.attrs["RepoDigests"], [f"{PLAIN}/py/app@{DIGEST}"])
        second = self.client.images.pull(f"{PLAIN}/py/app:2")
        self.assertNotEqual(first.id, second.id)
        self.assertEqual(self.client.images.pull(f"{PLAIN}/py/app:1").id, first.id)

    def test_digest(self):
        "pull gives the image of a digest, which has no tag"
        image = self.client.images.pull(f"{PLAIN}/py/app@{DIGEST}")
        self.assertEqual((image.tags, image.attrs["RepoDigests"]), ([], [f"{PLAIN}/py/app@{DIGEST}"]))

    def test_all_tags(self):
        "pull with all_tags gives a list of a repository's images"
        images = self.client.images.pull(f"{PLAIN}/py/app", all_tags=True)
        tags = sorted(tag for image in images for tag in image.tags)
        self.assertEqual(tags, [f"{PLAIN}/py/app:1", f"{PLAIN}/py/app:2"])

    def test_platform(self):
        "pull takes the image for a platform, and raises if there is none"
        image = self.client.images.pull(f"{PLAIN}/py/index", tag="1", platform=OTHER)
        self.assertEqual(f"{image.attrs['Os']}/{image.attrs['Architecture']}", OTHER)
        own = self.client.images.pull(f"{PLAIN}/py/index", tag="1")
        self.assertNotEqual(own.id, image.id)
        with self.assertRaises(docker.errors.ImageNotFound):
            # Its stream is read and forgotten by the library, which then looks for the image.
            self.client.images.pull(f"{PLAIN}/py/only-other", tag="1", platform="linux/s390x")

    def test_stream(self):
        "pull of the low level tells the steps, decoded or not"
        lines = list(self.api.pull(f"{PLAIN}/py/app", tag="1", stream=True, decode=True))
        self.assertEqual(lines[0], {"status": "Pulling from py/app", "id": "1"})
        self.assertEqual(lines[-1]["status"], f"Status: Downloaded newer image for {PLAIN}/py/app:1")
        steps = {line["status"] for line in lines if "progressDetail" in line}
        self.assertLessEqual({"Pulling fs layer", "Download complete", "Pull complete"}, steps)
        for line in lines:
            if line["status"] == "Downloading":
                self.assertLessEqual(set(line["progressDetail"]), {"current", "total"})
                self.assertIsInstance(line["progress"], str)
        text = self.api.pull(f"{PLAIN}/py/app", tag="1")
        self.assertIn(f"Status: Image is up to date for {PLAIN}/py/app:1", text)

    def test_missing(self):
        "what isn't there is NotFound, with the registry's words"
        for name, tag in ((f"{PLAIN}/py/nobody", "1"), (f"{PLAIN}/py/app", "none")):
            with self.assertRaises(docker.errors.NotFound) as caught:
                self.client.images.pull(name, tag=tag)
            self.assertIn(f"manifest for {name}:{tag} not found: manifest unknown", caught.exception.explanation)
        self.refused(400, "invalid reference format", self.client.images.pull, f"{PLAIN}/UPPER", tag="1")

    def test_run(self):
        "run of an image that isn't here pulls it"
        with self.assertRaises(docker.errors.APIError) as caught:
            self.client.containers.run(f"{PLAIN}/py/app:2", "/nothing", remove=True, network_mode="none")
        self.assertIn("no such file or directory", caught.exception.explanation)
        self.assertEqual(self.client.images.get(f"{PLAIN}/py/app:2").tags, [f"{PLAIN}/py/app:2"])


class Credentials(EngineCase):
    def test_auth_config(self):
        "auth_config proves who asks, and a wrong one does not"
        self.image_gone(f"{USERS}/py/app:1")
        self.refused(500, "no basic auth credentials", self.client.images.pull, f"{USERS}/py/app", tag="1")
        wrong = {**JOE, "password": "wrong"}
        refused = "unauthorized: authentication required"
        # Newer Docker says 401, older ones 500.
        self.refused((401, 500), refused, self.client.images.pull, f"{USERS}/py/app", tag="1", auth_config=wrong)
        image = self.client.images.pull(f"{USERS}/py/app", tag="1", auth_config=JOE)
        self.assertEqual(image.tags, [f"{USERS}/py/app:1"])

    def test_login(self):
        "who logged in pulls and pushes without further ado"
        self.refused((401, 500), "401 Unauthorized", self.client.login, "joe", "wrong", registry=USERS)
        self.assertEqual(self.client.login("joe", "secret", registry=USERS)["Status"], "Login Succeeded")
        # The second time it is asked of what it keeps.
        self.assertEqual(self.client.login("joe", "secret", registry=USERS)["username"], "joe")
        self.image_gone(f"{USERS}/py/app:2")
        image = self.client.images.pull(f"{USERS}/py/app", tag="2")
        image.tag(f"{USERS}/py/pushed", "1")
        self.image_gone(f"{USERS}/py/pushed:1")
        lines = list(self.client.images.push(f"{USERS}/py/pushed", tag="1", stream=True, decode=True))
        self.assertNotIn("error", lines[-1])
        self.assertEqual(lines[-1]["aux"]["Tag"], "1")


class Pushes(EngineCase):
    def test_push(self):
        "push tells the digest, which then is the image's and the registry's"
        name = f"{PLAIN}/py/busybox"
        image = self.client.images.get("busybox")
        for tag in ("1", "2"):
            image.tag(name, tag)
            self.image_gone(f"{name}:{tag}")
        lines = list(self.client.images.push(name, tag="1", stream=True, decode=True))
        self.assertEqual(lines[0], {"status": f"The push refers to repository [{name}]"})
        digest = lines[-1]["aux"]["Digest"]
        self.assertIn("Pushed", {line.get("status") for line in lines})
        image.reload()
        self.assertEqual(image.attrs["RepoDigests"], [f"{name}@{digest}"])
        self.assertEqual(self.client.images.get_registry_data(f"{name}:1").id, digest)
        text = self.client.images.push(name)
        self.assertIn("2: digest: sha256:", text)

    def test_refused(self):
        "what can't be pushed is told in the stream"
        text = self.client.images.push(f"{PLAIN}/py/nobody", tag="1")
        self.assertIn(f"An image does not exist locally with the tag: {PLAIN}/py/nobody", text)
        name = f"{USERS}/py/busybox"
        self.client.images.get("busybox").tag(name, "1")
        self.image_gone(f"{name}:1")
        wrong = {**JOE, "password": "wrong"}
        lines = list(self.client.images.push(name, tag="1", stream=True, decode=True, auth_config=wrong))
        self.assertEqual(lines[-1]["error"], "unauthorized: authentication required")
        self.assertEqual(lines[-1]["errorDetail"], {"message": "unauthorized: authentication required"})


class RegistryData(EngineCase):
    def test_data(self):
        "get_registry_data knows digest and platforms, and pulls by the digest"
        data = self.client.images.get_registry_data(f"{PLAIN}/py/index:1")
        self.assertTrue(data.has_platform(OTHER))
        self.assertTrue(data.has_platform("linux"))
        self.assertFalse(data.has_platform("linux/s390x"))
        image = data.pull()
        self.forget(self.client.images.remove, image.id, force=True)
        self.assertEqual(image.attrs["RepoDigests"], [f"{PLAIN}/py/index@{data.id}"])
        with self.assertRaises(docker.errors.NotFound):
            self.client.images.get_registry_data(f"{PLAIN}/py/nobody:1")
        data = self.client.images.get_registry_data(f"{USERS}/py/app:1", auth_config=JOE)
        self.assertEqual(data.id, DIGEST)

    def test_search(self):
        "search looks through a registry's own catalog"
        found = self.client.images.search(f"{PLAIN}/index")
        self.assertEqual([row["name"] for row in found], [f"{PLAIN}/py/index"])
        self.refused(400, "outside the range", self.client.images.search, f"{PLAIN}/app", limit=101)
