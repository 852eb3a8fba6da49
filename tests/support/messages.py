"""Valid and invalid images and requests for reward servers."""

import base64
import json
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from mixgrpo.rewards.clients.wire import encode_png


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width: int, height: int) -> bytes:
    """A small PNG file whose header declares a very large image."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def message(**changes: Any) -> bytes:
    images = [base64.b64encode(encode_png(noise(4, 4))).decode()]
    return json.dumps({"images": images, "prompts": ["a"], **changes}).encode()
