"""The command group: loads each command only when it runs, and turns every ending into its exit code."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from tflite_ptq.cli import ci
from tflite_ptq.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_USAGE, UsageError, UserError

# name -> (module, one line of help): listing commands must not import them.
_COMMANDS = {
    "convert": ("convert", "Convert, audit, measure, gate and report, as a recipe says."),
    "check": ("check", "Check a recipe, its paths and its first samples; fast, no TensorFlow."),
    "init": ("init", "Write a commented recipe for a model."),
    "inspect": ("inspect", "Show what a .tflite file holds."),
    "benchmark": ("benchmark", "Measure .tflite files side by side."),
    "compare": ("compare", "Compare a run with a baseline."),
    "debug": ("debug", "Rank the layers of an int8 variant by the error they bring."),
    "report": ("report", "Render the report of a run again."),
    "demo": ("demo", "Run the whole job on handwritten digits."),
    "verify": ("verify", "Say whether a run's files are still those that were measured."),
    "cache": ("cache", "Show or clear what earlier runs left for later ones."),
    "schema": ("schema", "Print the JSON Schema of recipes, for editors."),
    "completion": ("completion", "Print the shell completion script."),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"tflite_ptq.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], _COMMANDS, 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            ctx.fail(f"there is no command '{args[0]}'{hint} ({', '.join(_COMMANDS)})")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tflite-ptq")
def cli() -> None:
    """Post-training quantization for TensorFlow Lite (LiteRT), with proof.

    One recipe, one command: quantized .tflite files that are audited, measured against float32 and gated.

    \b
    Examples:
      tflite-ptq demo                      see the whole job on handwritten digits
      tflite-ptq init model.keras --data photos
      tflite-ptq check recipe.yaml
      tflite-ptq convert recipe.yaml

    \b
    Exit codes: 0 done, 2 command line or recipe wrong, 3 model or dataset unusable,
    4 a conversion or measurement failed, 5 gate broken, 130 interrupted, 1 a bug.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console script."""
    signal.signal(signal.SIGTERM, _interrupt)
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        _check(given)
        code = cli.main(args=given, prog_name="tflite-ptq", standalone_mode=False)
    except UserError as error:
        click.echo(f"error: {error}", err=True)
        ci.publish_error(error, os.environ)
        code = error.exit_code
    except click.exceptions.Exit as ended:
        code = ended.exit_code
    except click.ClickException as error:
        error.show()
        code = EXIT_USAGE
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; what was finished is kept", err=True)
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        code = EXIT_BUG
    except Exception:  # the one place where a bug becomes an exit code
        code = _report_bug(traceback.format_exc())
    sys.exit(code if isinstance(code, int) else 0)


def _check(arguments: Sequence[str]) -> None:
    """Raises ``UsageError`` for an argument that is empty (click would take it for the current folder) or no text."""
    for position, argument in enumerate(arguments, 1):
        if not argument:
            raise UsageError(f"argument {position} is empty; is a variable of the shell unset?")
        if not argument.isascii() and any("\ud800" <= character <= "\udfff" for character in argument):
            shown = os.fsencode(argument).decode(errors="backslashreplace")
            raise UsageError(f"argument {position}, {shown}: is not UTF-8; rename the file or folder")


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _report_bug(text: str) -> int:
    click.echo(text, err=True)
    with tempfile.NamedTemporaryFile(
        "w", prefix="tflite-ptq-bug-", suffix=".log", delete=False, encoding="utf-8"
    ) as log:
        log.write(f"{sys.argv}\n{sys.version}\n{text}")
    click.echo(f"this is a bug in tflite-ptq; please report it with {Path(log.name)} attached", err=True)
    return EXIT_BUG
