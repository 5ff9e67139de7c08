"""What a CI system is told of a run, where the environment says that there is one. The effects of ``report/``'s pure
``github``, ``summary`` and ``gitlab``; none of them fails a run.

GitHub: annotations on the standard error (``--json`` has the standard output to itself) and a step summary.
GitLab: ``gl-code-quality.json`` in the run's folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflite_ptq.errors import UserError

if TYPE_CHECKING:
    from tflite_ptq.report.summary import Where
    from tflite_ptq.result import GateCheck, Report


def publish(report: Report, folder: Path, environ: Mapping[str, str], told: str | None = None) -> None:
    """Tells the CI system, if there is one, what became of a run whose files are in ``folder``.

    ``told`` is an error that is annotated elsewhere.
    """
    from tflite_ptq import atomic
    from tflite_ptq.report import github, gitlab, summary
    from tflite_ptq.report.complaints import complaints

    found = complaints(report)
    recipe = _from_root(report.recipe.path, environ)
    annotate(github.of_complaints([one for one in found if one.message != told], recipe), environ)
    if environ.get("GITHUB_STEP_SUMMARY"):
        summarize(summary.render(report, _where(folder, recipe, environ)), environ)
    if environ.get("GITLAB_CI") == "true":
        inside = recipe if not Path(recipe).is_absolute() else Path(recipe).name  # GitLab takes relative paths only
        try:
            atomic.write(folder / gitlab.NAME, gitlab.render(found, inside).encode(errors="backslashreplace"))
        except UserError as error:
            click.echo(f"warning: {error}", err=True)


def publish_stopped(error: UserError, folder: Path, environ: Mapping[str, str]) -> None:
    """The same for a run that ``error`` stopped, as far as it left a report of what it finished."""
    from tflite_ptq.errors import UsageError
    from tflite_ptq.report import files

    try:
        report = files.read_run(folder)
    except UsageError:
        return
    if str(error) in report.errors:  # else an earlier run's, which this one has not begun to replace
        publish(report, folder, environ, told=str(error))


def publish_comparison(limits: Sequence[GateCheck], markdown: str, environ: Mapping[str, str]) -> None:
    """The same for a comparison: its broken limits, and all of it in the step summary."""
    from tflite_ptq.report import github
    from tflite_ptq.report.complaints import verdict

    broken = (check for check in limits if not check.passed)
    annotate(
        (
            github.command(
                f"{check.variant}: {check.check} against the baseline is broken ({verdict(check)})",
                title=f"tflite-ptq compare: {check.variant} {check.check}",
            )
            for check in broken
        ),
        environ,
    )
    summarize(markdown, environ)


def publish_error(error: UserError, environ: Mapping[str, str]) -> None:
    """Annotates what stopped a command: the faults of a recipe, each at its line."""
    from tflite_ptq.report import github

    annotate(github.of_message(str(error), lambda path: _from_root(path, environ)), environ)


def annotate(commands: Iterable[str], environ: Mapping[str, str]) -> None:
    """Prints workflow commands for GitHub's runner, where one listens."""
    if environ.get("GITHUB_ACTIONS") == "true":
        for line in commands:
            click.echo(line, err=True)


def summarize(markdown: str, environ: Mapping[str, str]) -> None:
    """Appends to GitHub's step summary, where there is one, as much as it takes."""
    from tflite_ptq.report import summary

    name = environ.get("GITHUB_STEP_SUMMARY")
    if not name:
        return
    path = Path(name)
    try:
        # Several commands of a step share the file; GitHub drops all of it when it grows too long.
        room = summary.MOST_BYTES - (path.stat().st_size if path.exists() else 0)
        with path.open("a", encoding="utf-8") as file:
            file.write(summary.fitted(f"{markdown}\n", room))
    except OSError as error:
        click.echo(f"warning: {path}: the step summary cannot be written ({error.strerror}); it is left out", err=True)


def _where(folder: Path, recipe: str, environ: Mapping[str, str]) -> Where:
    from urllib.parse import quote

    from tflite_ptq.report.summary import Where

    parts = [environ.get(name, "") for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")]
    if not all(parts):
        return Where(str(folder))
    repository = "/".join(parts[:2])
    commit = environ.get("GITHUB_SHA")
    known = commit and not Path(recipe).is_absolute()
    return Where(
        folder=str(folder),
        run_url=f"{repository}/actions/runs/{parts[2]}",
        recipe_url=f"{repository}/blob/{commit}/{quote(recipe)}" if known else None,
    )


def _from_root(path: str, environ: Mapping[str, str]) -> str:
    """``path`` from the repository's root, as annotations name files; unchanged where it lies elsewhere."""
    root = environ.get("GITHUB_WORKSPACE") or environ.get("CI_PROJECT_DIR") or "."
    try:
        return Path(path).resolve().relative_to(Path(root).resolve()).as_posix()
    except ValueError:
        return path
