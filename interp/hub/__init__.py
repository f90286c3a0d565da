"""Published folders: write and upload them, read them from disk or from a model hub, refuse what is not as published.

At the root lie manifest.json, README.md (the card) and SHA256SUMS; each part (an SAE, an enhancer, neurons) is a folder
below, with golden.safetensors beside an SAE's or an enhancer's weights: inputs and what came out when it was published.
Checksums find a file that changed on its way; golden vectors find code or a machine that reads the same file otherwise.
"""
