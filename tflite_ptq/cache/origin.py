"""Which program made an entry, and where: what was made by another is made anew. Imports none of what it names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tflite_ptq.result import Environment

_ROOT = Path(__file__).parent.parent
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
    return _sha256_of(file for file in _ROOT.rglob("*.py") if not _name(file).startswith(("cli/", "report/")))


def report_code_sha256() -> str:
    """Of the templates of the reports and the modules that fill them."""
    return _sha256_of(file for file in (_ROOT / "report").rglob("*") if file.suffix in (".py", ".j2"))


def _sha256_of(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{_name(file)}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _name(file: Path) -> str:
    return file.relative_to(_ROOT).as_posix()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
