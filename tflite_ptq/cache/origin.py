"""Which program made an entry, and where: what was made by another is made anew. Imports none of what it names."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tflite_ptq.result import Environment

_PACKAGES = ("tf-keras", "keras", "h5py", "pillow", "scikit-learn", "scipy", "pycocotools", "jiwer")


def origin(environment: Environment) -> dict[str, str | None]:
    """Versions of all that computes, the program's own code, and the processor: kernels differ between processors."""
    return {
        "tool": environment.tool,
        "code": own_code_sha256(),
        "python": environment.python,
        "tensorflow": environment.tensorflow,
        "ai-edge-litert": environment.ai_edge_litert,
        "numpy": environment.numpy,
        **{package: _version(package) for package in _PACKAGES},
        "machine": environment.machine,
        "cpu": environment.cpu,
    }


def own_code_sha256() -> str:
    """Of this package's modules but those that only show results: a checkout changes without a new version."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        name = file.relative_to(root).as_posix()
        if not name.startswith(("cli/", "report/")):
            digest.update(f"{name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
