import io
import json

import docker

from engine_case import IMAGE, EngineCase, archive, opened


class Images(EngineCase):
    def test_list(self):
        "list, get, tag, history and remove"
        image = self.client.images.get(IMAGE)
        self.assertEqual(image.id, self.client.images.list(name=IMAGE)[0].id)
        self.assertRegex(image.short_id, r"^sha256:[0-9a-f]{10,12}$")
        self.image_gone("py/tagged:v1")
        self.assertTrue(image.tag("py/tagged", "v1"))
        self.assertIn("py/tagged:v1", self.client.images.get("py/tagged:v1").tags)
        self.assertEqual(len(self.client.images.list(filters={"reference": "py/*"})), 1)
        self.assertGreater(len(image.history()), 0)
        self.assertEqual(image.history()[0]["Id"], image.id)
        self.client.images.remove("py/tagged:v1")
        with self.assertRaises(docker.errors.ImageNotFound):
            self.client.images.get("py/tagged:v1")
        self.assertNotIn("py/tagged:v1", self.client.images.get(IMAGE).tags)

    def test_save(self):
        "what save gives, load takes, under the name it had"
        image = self.client.images.get(IMAGE)
        self.image_gone("py/saved:1")
        image.tag("py/saved", "1")
        chunks = list(self.client.images.get("py/saved:1").save(named="py/saved:1"))
        manifest = json.load(opened(chunks).extractfile("manifest.json"))
        self.assertEqual(manifest[0]["RepoTags"], ["py/saved:1"])
        self.client.images.remove("py/saved:1")
        loaded = self.client.images.load(b"".join(chunks))
        self.assertEqual([i.id for i in loaded], [image.id])
        self.assertIn("py/saved:1", loaded[0].tags)

    def test_commit(self):
        "commit makes an image of a container, with what changes say"
        made = self.started(["sh", "-c", "echo kept > /kept"])
        made.wait()
        self.image_gone("py/committed:1")
        image = made.commit("py/committed", "1", message="why", author="who", changes=["ENV A=b", 'CMD ["cat", "/kept"]'])
        self.assertEqual(image.tags, ["py/committed:1"])
        self.assertEqual((image.attrs["Author"], image.attrs["Comment"]), ("who", "why"))
        self.assertEqual(self.client.containers.run("py/committed:1", remove=True), b"kept\n")
        self.assertEqual(image.history()[0]["Comment"], "why")
        configured = made.commit("py/committed", "1", conf={"Cmd": ["echo", "conf"], "Labels": {"l": "v"}})
        self.assertEqual(self.client.containers.run(configured.id, remove=True), b"conf\n")
        self.assertEqual(configured.labels["l"], "v")
        self.forget(self.client.images.remove, image.id, force=True)

    def test_import(self):
        "import makes an image of an archive"
        self.image_gone("py/imported:1")
        said = self.api.import_image_from_data(archive({"file": b"content"}), repository="py/imported", tag="1", changes="LABEL x=y")
        self.assertIn("sha256:", said)
        image = self.client.images.get("py/imported:1")
        self.assertEqual(image.labels, {"x": "y"})
        made = self.client.containers.create("py/imported:1", ["x"])
        self.forget(made.remove)
        self.assertIn("file", opened(made.export()).getnames())

    def test_prune(self):
        "prune removes images that have no name"
        self.api.import_image_from_data(archive({"a": b"b"}), changes="LABEL py-prune=1")
        [dangling] = self.client.images.list(filters={"dangling": True, "label": "py-prune"})
        pruned = self.client.images.prune(filters={"dangling": True, "label": "py-prune"})
        self.assertIn({"Deleted": dangling.id}, pruned["ImagesDeleted"])
        self.assertEqual(self.client.images.prune(filters={"label": "py-prune"})["ImagesDeleted"], None)

    def test_in_use(self):
        "an image in use is kept unless forced"
        image = self.client.images.get(IMAGE)
        self.started(name="py-uses")
        self.refused(409, "is using", self.client.images.remove, IMAGE)
        self.assertEqual(self.client.images.get(IMAGE).id, image.id)

    def test_load_trash(self):
        "an archive that is none is refused"
        with self.assertRaises(docker.errors.DockerException):
            list(self.client.images.load(archive({"nothing": b"here"})))


class Files(EngineCase):
    def test_copy(self):
        "put_archive and get_archive carry files with their modes and times"
        for made in (self.container(), self.started()):
            self.assertTrue(made.put_archive("/tmp", archive({"in/deep": b"1234", "flat": b"x"})))
            chunks, stat = made.get_archive("/tmp/in/deep")
            self.assertEqual((stat["name"], stat["size"], stat["mode"] & 0o777), ("deep", 4, 0o640))
            tar = opened(chunks)
            entry = tar.getmember("deep")
            self.assertEqual((entry.mode & 0o777, entry.mtime, tar.extractfile("deep").read()), (0o640, 1_600_000_000, b"1234"))
            self.assertTrue(made.put_archive("/", io.BytesIO(archive({"from-a-file": b"y"}))))
            self.assertEqual(made.get_archive("/from-a-file")[1]["size"], 1)
        self.assertEqual(made.exec_run("cat /tmp/in/deep").output, b"1234")
        chunks, _ = made.get_archive("/tmp", chunk_size=512, encode_stream=True)
        self.assertIn("tmp/in/deep", opened(chunks).getnames())

    def test_missing(self):
        "paths that are not there, or no folders, are refused"
        made = self.container()
        self.refused(404, "nope", made.get_archive, "/nope")
        with self.assertRaises(docker.errors.NotFound):
            made.put_archive("/nope", archive({"a": b""}))
        self.refused((400, 500), "not a directory", made.put_archive, "/etc/passwd", archive({"a": b""}))

    def test_export(self):
        "export gives the whole root filesystem"
        made = self.started(["sh", "-c", "mkdir /a; echo b > /a/b"])
        made.wait()
        tar = opened(made.export(chunk_size=4096))
        self.assertEqual(tar.extractfile("a/b").read(), b"b\n")
        self.assertIn("bin/busybox", tar.getnames())
