"""The lab's verbs on the command line, and how a command line ends.

Only signatures and help are here. What a verb does is in lab/verbs/ and imported when it runs, so
that help comes at once. Exit codes: DESIGN section 12.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LabName = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="Which lab; needless if only one is running."),
]


def fail(text: str, code: int) -> NoReturn:
    """One line, and the exit code."""
    print(f"ceha: {' '.join(text.split())}", file=sys.stderr)
    raise SystemExit(code)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """What a user can cause is one line on stderr, never a traceback."""
    from lab.backend import LabError
    from topologies.document import DocumentError

    try:
        yield
    except LabError as error:
        fail(str(error), error.exit_code)
    except DocumentError as error:
        fail(str(error), EXIT_USAGE)
    except BrokenPipeError:
        # `ceha status | head`: nobody reads on. Python would complain once more at its end.
        sys.stderr.close()
        raise SystemExit(0) from None
    except KeyboardInterrupt:
        fail("interrupted", EXIT_INTERRUPTED)


def run(app: typer.Typer, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line; wrong usage is one line too. Ends the process."""
    command = typer.main.get_command(app)
    code: object = 0
    try:
        code = command.main(args=arguments, prog_name="ceha", standalone_mode=False)
    except typer.TyperException as error:
        text = error.format_message()
        if "\n" in text:  # no arguments at all: the help
            print(text, file=sys.stderr)
            raise SystemExit(EXIT_USAGE) from None
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "ceha"
        fail(f"{text} (see {path} --help)", EXIT_USAGE)
    except typer.Exit as error:
        code = error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        fail("interrupted", EXIT_INTERRUPTED)
    raise SystemExit(code if isinstance(code, int) else 0)


def main() -> None:
    app = typer.Typer(
        name="ceha",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="The lab's verbs.",
    )
    register(app)
    run(app)


def hunt(
    seeds: Annotated[
        str, typer.Option(metavar="A..B", help="First and last seed; each is one schedule.")
    ] = "0..999",
    faults: Annotated[
        str | None,
        typer.Option(help="Instead of the seed's own: 'crash ce1 120 300; ...' (at, for: ms)."),
    ] = None,
    stop_after: Annotated[int, typer.Option(min=1, help="End after so many failures.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Processes; the rate stays one core's.")] = 1,
    as_json: Json = False,
) -> None:
    """Hunt for violated invariants: random fault schedules in simulated time."""
    with one_line_errors():
        from lab.verbs.hunt import run

        raise typer.Exit(run(seeds, faults, stop_after, as_json, jobs))


def register(app: typer.Typer) -> None:
    """Add the lab's verbs."""
    app.command(
        "doctor",
        epilog="Example: ceha doctor --json. Exit codes: 0 the lab can work here; 2 it cannot.",
    )(doctor)
    app.command(
        "test",
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
        epilog="Example: ceha test -m 'not lab'. Exit codes: pytest's (0 all passed).",
    )(run_tests)
    app.command(
        "hunt",
        short_help="Hunt for violated invariants, in virtual time.",
        epilog="Example: ceha hunt --seeds 0..999; one of them again: ceha hunt --seeds 17..17. "
        "Exit codes: 0 nothing found; 1 an invariant was violated; 2 wrong usage.",
    )(hunt)
    app.command(
        "topologies",
        epilog="Example: ceha topologies diamond. Exit codes: 0 done; 2 no such topology, or a "
        "file is wrong.",
    )(topologies)
    app.command(
        "up",
        epilog="Example: ceha up diamond --mode hot. Then, in a second shell: ceha status; ceha "
        "exec h1 -- ping 10.102.1.10; ceha fault crash master; ceha heal; ceha down. Exit codes: "
        "0 ended by Ctrl-C or ceha down; 2 wrong file, a lab of that name is running, or a "
        "machine that cannot do it.",
    )(up)
    app.command(
        "status",
        epilog="Example: ceha status --json. Exit codes: 0 every FE has a master that is ready; "
        "1 not so; 2 no such lab is running.",
    )(status)
    app.command(
        "exec",
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
        epilog="Example: ceha exec fe1 -- ip route. Exit codes: those of COMMAND, 127 if there is "
        "no such command; 2 no such lab or node.",
    )(exec_)
    app.command(
        "fault",
        short_help="Break something in a running lab.",
        epilog="Example: ceha fault crash master; ceha fault link-cut fe1-fe2; ceha fault hang "
        "ce1 --heal. Exit codes: 0 it happened; 2 no such lab, fault or target; 3 there was no "
        "sign that it happened (or healed).",
    )(fault)
    app.command(
        "heal",
        epilog="Example: ceha heal. Exit codes: 0 all healed; 2 no such lab is running; 3 "
        "something did not heal.",
    )(heal)
    app.command(
        "down",
        epilog="Example: ceha down. Exit codes: 0 it has ended; 2 no such lab is running.",
    )(down)


def doctor(as_json: Json = False) -> None:
    """Say what this machine has and lacks for the lab."""
    with one_line_errors():
        from lab.verbs.doctor import show

        raise SystemExit(show(as_json))


def run_tests(
    argument: Annotated[
        list[str] | None, typer.Argument(metavar="ARGUMENT", help="For pytest.")
    ] = None,
) -> None:
    """Run the tests: unit, kernel and lab."""
    from lab.verbs.test import run_pytest

    run_pytest(argument or [])


def topologies(
    topology: Annotated[
        str | None, typer.Argument(help="Name, or path (YAML, GraphML, GML): show what is in it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the topologies, or show one."""
    with one_line_errors():
        from lab.verbs.topologies import list_all, show

        if topology is None:
            list_all(as_json)
        else:
            show(topology, as_json)


def up(
    topology: Annotated[str, typer.Argument(help="Name, or path (YAML, GraphML, GML).")],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The lab's name (default: the topology's).")
    ] = None,
    mode: Annotated[
        str,
        typer.Option(metavar="none|cold|hot|hot+sync", help="High availability (RFC 7121)."),
    ] = "hot",
    policy: Annotated[
        int,
        typer.Option(
            min=0, max=1, help="CEFailoverPolicy: 0 stop forwarding, 1 go on until CEFTI."
        ),
    ] = 1,
    routes: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="Synthetic prefixes in every FE.")
    ] = 100,
    beacon_ms: Annotated[
        int, typer.Option("--beacon-ms", min=0, max=60_000, help="Control beacon; 0: none.")
    ] = 0,
    tml: Annotated[
        str, typer.Option(metavar="NAME", help="Transport: auto, sctp, usrsctp, usrsctp-udp, tcp.")
    ] = "auto",
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when the lab is ready; it stays.")
    ] = False,
) -> None:
    """Boot a topology and keep it running."""
    with one_line_errors():
        from lab.verbs.up import boot

        raise SystemExit(boot(topology, name, mode, policy, routes, beacon_ms, tml, detach))


def status(name: LabName = None, as_json: Json = False) -> None:
    """Show a lab's nodes and each FE's master."""
    with one_line_errors():
        from lab.verbs.status import show

        raise SystemExit(show(name, as_json))


def exec_(
    node: Annotated[str, typer.Argument(help="CE, FE or host.")],
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="What to run.")],
    name: LabName = None,
) -> None:
    """Run a command in a node, on this terminal."""
    with one_line_errors():
        from lab.verbs.exec import execute

        raise SystemExit(execute(name, node, command))


def fault(
    kind: Annotated[str | None, typer.Argument(help="Which fault; without one: list them.")] = None,
    target: Annotated[
        str | None, typer.Argument(help="A CE, an FE, `master`, or a link such as fe1-fe2.")
    ] = None,
    argument: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="KEY=VALUE", help="More about it, e.g. end=fe1."),
    ] = None,
    heal: Annotated[bool, typer.Option("--heal", help="Take this fault back.")] = False,
    name: LabName = None,
    as_json: Json = False,
) -> None:
    """Break something in a running lab, and see that it broke."""
    with one_line_errors():
        from lab.verbs.fault import list_kinds, strike

        if kind is None:
            list_kinds(as_json)
        else:
            strike(name, kind, target, argument or [], heal, as_json)


def heal(name: LabName = None, as_json: Json = False) -> None:
    """Take back every fault of a running lab."""
    with one_line_errors():
        from lab.verbs.fault import heal_all

        heal_all(name, as_json)


def down(name: LabName = None) -> None:
    """End a running lab."""
    with one_line_errors():
        from lab.verbs.down import end

        end(name)
