throw new Error("tests are not part of an image");
