# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Command line: `ddcalogen COMMAND`; one module per command group."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from ddcalogen import __version__
from ddcalogen.cli import amplify, bench, data, display, fill, geometry, inspect, simulate, train, validate
from ddcalogen.cli.console import error_console
from ddcalogen.errors import DDCaloGenError

__all__ = ["app", "main"]

app = typer.Typer(
    name="ddcalogen",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Fast simulation of calorimeter showers with generative models, in the real cells of DD4hep detectors.\n\n"
    "Start with [bold]ddcalogen simulate --help[/bold].",
)
simulate.register(app)
fill.register(app)
inspect.register(app)
geometry.register(app)
bench.register(app)
train.register(app)
validate.register(app)
amplify.register(app)
data.register(app)
display.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ddcalogen {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options before the command."""


def main() -> None:
    """Entry point: errors become one readable message and an exit code, never a traceback.

    Exit codes: 0 done; 1 the job failed for a reason that the message tells; 2 wrong usage; 70 a defect of this
    program; 130 interrupted. The environment variable DDCALOGEN_TRACEBACK=1 shows tracebacks to developers.
    """
    if os.environ.get("DDCALOGEN_TRACEBACK") == "1":
        app()
    try:
        app()
    except DDCaloGenError as error:
        error_console.print(f"[bold red]error[/]: {type(error).__name__}: ", end="")
        error_console.print(str(error), markup=False)
        sys.exit(1)
    except (KeyboardInterrupt, EOFError):
        error_console.print("interrupted; nothing was left under the output's name")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        error_console.print("[bold red]internal error[/]: ", end="")
        error_console.print(
            f"{type(error).__name__}: {error}. This is a defect of ddcalogen; please report it, with the output of the "
            "same command under DDCALOGEN_TRACEBACK=1.",
            markup=False,
        )
        sys.exit(70)
