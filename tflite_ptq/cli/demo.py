"""``tflite-ptq demo``."""

from __future__ import annotations

from pathlib import Path

import click

DEFAULT_FOLDER = Path("tflite-ptq-demo")
_TIMEOUT_S = 600.0


@click.command("demo", short_help="Run the whole job on handwritten digits.")
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path), default=DEFAULT_FOLDER)
@click.option("-v", "--verbose", is_flag=True, help="Show what TensorFlow and LiteRT said.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.pass_context
def demo_command(ctx: click.Context, folder: Path, verbose: bool, quiet: bool) -> None:
    """Write 1,797 handwritten digits to DIR, train a small CNN on them, write a recipe and convert as it says.

    DIR is ./tflite-ptq-demo where none is given. Needs no network and takes less than a minute. A second run writes
    the same things again.

    \b
    Examples:
      tflite-ptq demo
      tflite-ptq demo digits && tflite-ptq convert digits/recipe.yaml --only int8
    """
    from tflite_ptq.cli.outcome import Manner, run_and_show
    from tflite_ptq.pipeline import Options
    from tflite_ptq.recipe.loader import load

    recipe = _claim(folder)
    _prepare(folder, verbose=verbose, quiet=quiet)
    code = run_and_show(load(recipe), Options(), Manner(verbose=verbose, quiet=quiet))
    if not quiet:
        click.echo(f"\nThe recipe behind this: {recipe}. Change it and run: tflite-ptq convert {recipe}")
    ctx.exit(code)


def _claim(folder: Path) -> Path:
    """The demo's recipe, written before all else: it marks the folder as the demo's.

    Raises ``UsageError`` where the folder is another's, or its recipe was changed by the user.
    """
    from tflite_ptq import atomic
    from tflite_ptq.cli.demo_recipe import MARK, RECIPE
    from tflite_ptq.errors import UsageError

    recipe = folder / "recipe.yaml"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; name a folder: tflite-ptq demo DIR")
    try:
        entries = sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []
        found = recipe.read_text(encoding="utf-8", errors="replace") if recipe.is_file() else ""
    except OSError as error:
        raise UsageError(f"{folder}: cannot be read ({error.strerror}); name another: tflite-ptq demo DIR") from error
    if entries and not found.startswith(MARK):
        raise UsageError(
            f"{folder}: holds {entries[0]!r} and is no earlier demo; name an empty or new folder: tflite-ptq demo DIR"
        )
    if found and found != RECIPE:
        raise UsageError(
            f"{recipe}: is not as this demo writes it; to run it as it is: tflite-ptq convert {recipe}; to begin "
            "again remove it or name another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made ({error.strerror}); name another: tflite-ptq demo DIR") from error
    atomic.write(recipe, RECIPE.encode())
    return recipe


def _prepare(folder: Path, *, verbose: bool, quiet: bool) -> None:
    """Images and the trained model, made in a child: this process imports neither numpy nor TensorFlow."""
    from tflite_ptq.cli.outcome import show_log
    from tflite_ptq.cli.progress import TerminalProgress
    from tflite_ptq.worker.demo_messages import Train, Trained, WriteDigits, Written
    from tflite_ptq.worker.process import Worker

    log = folder / "log.txt"
    log.unlink(missing_ok=True)
    child = Worker("tflite_ptq.worker.demo", log, _TIMEOUT_S)
    try:
        with TerminalProgress(quiet=quiet) as progress:
            progress.stage("writing images", 0, None)
            written = child.ask(
                WriteDigits(folder=str(folder.absolute())),
                Written,
                "demo: writing images",
                lambda done, total: progress.stage("writing images", done, total),
            )
            progress.stage("training", 0, None)
            trained = child.ask(
                Train(folder=str(folder.absolute())),
                Trained,
                "demo: training",
                lambda done, total: progress.stage("training", done, total),
            )
    finally:
        child.kill()
        if verbose:
            show_log(log)
    if not quiet:
        click.echo(
            f"Handwritten digits: {written.train:,} images to train on, {written.test} held out. A CNN of "
            f"{trained.parameters:,} parameters, trained: {trained.top1:.1%} of the held-out images right.\n"
        )
