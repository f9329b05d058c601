"""Packages of an environment as JSON: `PYTHON packages.py`, with the Python of the environment."""

import json
from importlib.metadata import Distribution, distributions
from pathlib import Path


def describe(package: Distribution) -> dict[str, str | int]:
    """Return name, version, licence and installed size in bytes of a package."""
    metadata = package.metadata.json
    classifiers = [text for text in metadata.get("classifier", []) if text.startswith("License :: ")]
    files = [Path(str(file.locate())) for file in package.files or []]
    texts = [file.read_text().strip() for file in files if file.parent.name == "licenses"]
    licences = [metadata.get("license_expression"), metadata.get("license"), *classifiers, *texts, "unknown"]
    return {
        "name": package.name,
        "version": package.version,
        "licence": str(next(filter(None, licences))).splitlines()[0].rpartition(" :: ")[2],
        "size": sum(file.stat().st_size for file in files if file.exists()),
    }


if __name__ == "__main__":
    print(json.dumps([describe(package) for package in distributions()]))
