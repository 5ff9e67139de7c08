"""``tflite-ptq completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion", short_help="Print the shell completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    Examples:
      tflite-ptq completion bash >> ~/.bashrc
      tflite-ptq completion zsh  >> ~/.zshrc
      tflite-ptq completion fish > ~/.config/fish/completions/tflite-ptq.fish
    """
    maker = get_completion_class(shell)
    assert maker is not None
    click.echo(maker(ctx.find_root().command, {}, "tflite-ptq", "_TFLITE_PTQ_COMPLETE").source())
