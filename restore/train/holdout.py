"""Pictures that no model is ever trained on: the evaluation set, by hash.

Two hashes each: of the file, and of the decoded R'G'B' pixels, so that a picture saved again under
another name or in another lossless container is refused as well.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["HELD_OUT", "held_out", "pixel_sha256"]

# name: (sha256 of the file, sha256 of the 8-bit R'G'B' pixels)
HELD_OUT: Final[dict[str, tuple[str, str]]] = {
    "baby.png": (
        "158417bf319058274bbea8b7d4995a12cb70dc7ff1cdf6351bde7e3d4e22d06a",
        "f14d515486b1a110a8f6a08b23114a7c0ef79e96337692bb48e24dfd8943b3b7",
    ),
    "bird.png": (
        "1b20dfba6635f99d501144a949e1568363a91cc08231dc92d9537f883c23c9a8",
        "0f7ca11adc96abc59dd08160fb99dc77a3732ffc7b903db6832eceeb5592dcbf",
    ),
    "butterfly.png": (
        "58be740fd17ead6029eb8344c46720c392eaf120907dc623475aa768260e6548",
        "200d3ae507119f83763ea74f31f54de31cad6a36ec478cae7a8eab2de2304163",
    ),
    "head.png": (
        "ec18fffd17f8a54ff04a19d03697988e9ba8ad4092ac4c792d19dbf7c967d59d",
        "1aca63a883d2cabd7a143dd452427305ca9fa8ab965d7202d9081fcce5cbd508",
    ),
    "woman.png": (
        "b15112110e3e7d91b840d6131a00f0f5c22d54f4ac93a81e3ed0f6ab62d08106",
        "6d9d5a40b83984bde434c44ae6e070484ec37b15741b4561c684b2001deb474f",
    ),
    "oakland-zoo-otters.jpg": (
        "9e98f21823674735b79a030632008a9229eed93ffbd0c4844263397f64fba24a",
        "c34fc02999f0dc2d25b1b2901b1b62f8c6f8e3ba6823770ad2685c2f1487e3ec",
    ),
    "piazza-gae-aulenti.jpg": (
        "b3121c9e8b4921d84cded6b63a2d1c5868b96af802cc11810ec61a8b6416f684",
        "e7a8375e043499a53ea6ca8ef6e5401af548f0afe24e19608ba934bed0596dbe",
    ),
    "astronaut.png": (
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        "a8c429c18afa7b0fd5673e598d73a21225d94c864a71bbb3885126fdecb41071",
    ),
    "chelsea.png": (
        "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        "416b729128bfb2c3d1eb69bf9b1734a796293abc17939267b2dc94f8a5784031",
    ),
    "coffee.png": (
        "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        "0ce2b51640b9c95f19617f03eabf40c3f0368589cc1ee1190b70966165ac184f",
    ),
    "rocket.jpg": (
        "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        "3d4435cc745752b7f9724df88c6e18817de3ce7e3d2d71c55f85f7831e68f197",
    ),
}
_HASHES: Final = frozenset(digest for pair in HELD_OUT.values() for digest in pair)


def pixel_sha256(pixels: NDArray[np.uint8]) -> str:
    """Hash of ``[H, W, 3]`` uint8 pixels in memory order."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def held_out(file_sha256: str, pixels: NDArray[np.uint8]) -> bool:
    """Whether a picture belongs to the evaluation set."""
    return file_sha256 in _HASHES or pixel_sha256(pixels) in _HASHES
