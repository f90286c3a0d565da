"""Published folders: read them, from disk or from a model hub, and refuse what is not what was published.

At the root lie manifest.json, README.md (the card) and SHA256SUMS; each part (an SAE, an enhancer, neurons) is a folder
below, with golden.safetensors beside an SAE's or an enhancer's weights: inputs and what came out when it was published.
Checksums find a file that changed on its way; golden vectors find code or a machine that reads the same file otherwise.
Not for writing them: `publish` does that.
"""

from interp.published_files.fetching import fetch, find
from interp.published_files.golden import (
    CANDIDATES,
    INPUTS,
    SEED,
    TOLERANCE,
    compare,
    golden_enhancer,
    golden_sae,
)
from interp.published_files.loading import load_enhancer, load_neurons, load_sae, moved
from interp.published_files.manifest import (
    CARD,
    FORMAT,
    GOLDEN,
    NEURONS,
    ROOT,
    SUMS,
    VERSION,
    Kind,
    Part,
    Published,
    Where,
)
from interp.published_files.verifying import read_root, verify

__all__ = [
    "CANDIDATES", "CARD", "FORMAT", "GOLDEN", "INPUTS", "NEURONS", "ROOT", "SEED", "SUMS", "TOLERANCE", "VERSION",
    "Kind", "Part", "Published", "Where", "compare", "fetch", "find", "golden_enhancer", "golden_sae", "load_enhancer",
    "load_neurons", "load_sae", "moved", "read_root", "verify",
]  # fmt: skip
