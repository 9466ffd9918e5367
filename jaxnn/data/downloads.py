"""Downloads, by checksum: what arrives is the published file or an error."""

import os
from pathlib import Path

from jaxnn.optional import require

# Source: the address is in the README of zalandoresearch/fashion-mnist; the SHA-256 sums are those that
# tensorflow/datasets keeps in url_checksums/fashion_mnist.txt. They hold for Debian's dataset-fashion-mnist too,
# once its files have the original gzip header again (name and time), which Debian removes; see the test.
FASHION_MNIST_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
FASHION_MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}


def download(name: str, folder: str | os.PathLike[str], url: str = FASHION_MNIST_URL) -> Path:
    """Fetch Fashion-MNIST (31 MB) into a folder, for `jaxnn.data.load('fashion-mnist', data_dir=folder)`.

    Files that are there already, with the right checksum, are kept. `url` may be a mirror's; it ends in '/'.

    Raises: ValueError for another name, or a wrong checksum (the file isn't kept); OSError if the server can't
        be reached or refuses; ImportError without pooch.
    """
    if name != "fashion-mnist":
        raise ValueError(
            f"only fashion-mnist can be downloaded, not {name!r}: give jaxnn.data.load a data_dir that has the files"
        )
    folder = Path(folder).expanduser()
    files = require("pooch", extra="data").create(path=folder, base_url=url, registry=FASHION_MNIST_SHA256)
    for file in FASHION_MNIST_SHA256:
        files.fetch(file)
    return folder
