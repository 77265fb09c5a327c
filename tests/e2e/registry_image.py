"""The image the tests pull: static busybox, on the lab's own registry."""

REGISTRY = "127.0.0.1:5000"
IMAGE = f"{REGISTRY}/busybox:1"
