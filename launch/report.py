"""Write reports: of one sweep, of several sweeps side by side, or of all rooms.

    python -m launch.report --workdir=DIR          results.nc, verdicts.json, figures/, tables/, report.html of a sweep
    python -m launch.report --compare DIR DIR ...  several sweeps in one page: compare.html, or --out=FILE.html
    python -m launch.report --all [DIR ...]        the claims of all rooms: checkpoints/results.html or --out=FILE.html;
                                                   --out=FILE.md writes Markdown

The report of an unfinished sweep rests on its finished runs. Without folders, --all takes the newest finished sweep of
every room under checkpoints/ and leaves smoke tests out. Nothing in a workdir is executed: the code of an experiment
outside the package is imported for the config file that you name, --config=FILE; without it the page shows the verdicts
and figures that the workdir holds. Exit codes: 0 done, 2 bad usage or a workdir that cannot be read, 1 anything else.
"""

import pathlib
import sys
from collections.abc import Collection, Sequence

from absl import flags
from rich.console import Console

from launch import command_line, results, terminal
from launch import workdir as folder
from launch.command_line import UsageError
from rgflow import registry
from rgflow.protocol import Verdict
from rgflow.report import compare, ledger, summary
from rgflow.schema.files import Unreadable

LOG_WIDTH = 120
ROOT = pathlib.Path("checkpoints")


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of this command."""
    flags.DEFINE_string("workdir", None, "the folder of a sweep", flag_values=values)
    flags.DEFINE_string("compare", None, "folders of two or more sweeps, with spaces or commas", flag_values=values)
    flags.DEFINE_boolean("all", False, "the claims of all rooms", flag_values=values)
    flags.DEFINE_string("workdirs", None, "the folders that --all reads, with spaces or commas", flag_values=values)
    flags.DEFINE_multi_string(
        "config",
        None,
        "the config file of an experiment outside the package, whose code is imported to judge and draw",
        flag_values=values,
    )
    flags.DEFINE_string("out", None, "the file that --compare or --all writes", flag_values=values)


def gathered(argv: Sequence[str]) -> list[str]:
    """Returns the arguments with the folders after --compare, --all or --workdirs as one value with commas.

    Example:
        >>> gathered(["report", "--compare", "a", "b", "--out=c.html"])
        ['report', '--out=c.html', '--compare=a,b']
        >>> gathered(["report", "--all", "a", "--out", "b"])
        ['report', '--all', '--out', 'b', '--workdirs=a']
    """
    kept, folders, taker = [argv[0]], {}, ""
    for word in argv[1:]:
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-"):
            folders.get(taker, kept).append(word)
            continue
        taker = "workdirs" if name == "all" else name if name in ("compare", "workdirs") else ""
        if taker:
            folders.setdefault(taker, []).extend([value] if equals and name != "all" else [])
        if name not in ("compare", "workdirs"):
            kept.append(word)
    given = [name for name, found in folders.items() if found or name == "compare"]
    return [*kept, *(f"--{name}={','.join(folders[name])}" for name in given)]


def write_report(workdir: pathlib.Path, own: Collection[str] = ()) -> None:
    """Writes the report of a workdir and prints the verdicts and where the files are.

    ``own`` are the experiments outside the package whose code the user has named.
    """
    verdicts, unfinished = results.write_files(workdir, own)
    show(verdicts, unfinished, workdir)


def show(verdicts: list[Verdict], unfinished: str, workdir: pathlib.Path) -> None:
    """Prints what is unfinished, the verdicts (a row per claim where there are many), and where the files are."""
    if unfinished:
        print(unfinished)
    if verdicts:
        # A log file has no width; there, rich's 80 columns would break every line of the table.
        console = Console(width=None if sys.stdout.isatty() else LOG_WIDTH)
        claims = summary.by_claim(verdicts)
        many = len(verdicts) > summary.MANY_VERDICTS
        console.print(terminal.claim_table(claims) if many else terminal.verdict_table(verdicts))
        if many:
            print(f"{len(verdicts)} verdicts on {len(claims)} claims; all of them are in verdicts.json and report.html")
    else:
        print("No run is finished: there is nothing to judge yet.")
    print(terminal.files_text(workdir), flush=True)


def newest_finished(own: Collection[str] = ()) -> list[str]:
    """Returns the newest finished sweep of every room under checkpoints/; smoke tests are left out."""
    found: dict[str, tuple[float, str]] = {}
    for run_file in sorted(ROOT.glob("*/run.json")):
        workdir = run_file.parent
        try:
            run, _, plan = results.read(workdir, own)
        except (UsageError, Unreadable) as error:
            print(f"left out: {error}")
            continue
        if plan is None or not registry.claims(run["experiment"]):
            continue
        if ":smoke" in run["command"] or len(results.finished_groups(workdir, plan)) < len(plan.groups):
            print(f"left out: {str(workdir)!r}: {'a smoke test' if ':smoke' in run['command'] else 'not finished'}")
            continue
        before = found.get(run["experiment"], (0.0, ""))
        found[run["experiment"]] = max(before, (run_file.stat().st_mtime, str(workdir)))
    return [path for _, path in found.values()]


def write_page(out: pathlib.Path, page: str) -> None:
    """Writes a page of several sweeps and says where it is; raises UsageError when the file cannot be written."""
    try:
        results.write_page(out, page)
    except OSError as error:
        raise UsageError(f"--out = {str(out)!r}: cannot be written ({error.strerror}); give another file") from error
    print(f"written: {out.absolute()}", flush=True)


def out_file(text: str | None, default: pathlib.Path, kinds: Sequence[str]) -> pathlib.Path:
    """Returns the file to write; raises UsageError when its name ends in none of ``kinds``."""
    out = pathlib.Path(text) if text else default
    if out.suffix not in kinds:
        raise UsageError(f"--out = {str(out)!r}: must end in {' or '.join(kinds)}")
    return out


def write_comparison(folders: Sequence[str], out: pathlib.Path, own: Collection[str] = ()) -> None:
    """Writes the page that compares sweeps."""
    if len(folders) < 2:
        raise UsageError(f"--compare = {','.join(folders)!r}: needs two folders or more, such as --compare DIR DIR")
    write_page(out, compare.render([results.read_sweep(text, own) for text in folders]))


def write_ledger(folders: Sequence[str], out: pathlib.Path, own: Collection[str] = ()) -> None:
    """Writes the results of all rooms; says which rooms are missing and which command makes them."""
    sweeps: dict[str, compare.Sweep] = {}
    for sweep in (results.read_sweep(text, own) for text in folders or newest_finished(own)):
        if sweep.room not in (*registry.EXPERIMENTS, *own):
            raise UsageError(f"--workdirs = {sweep.path!r}: {sweep.room} is no room; name its code with --config=FILE")
        if not registry.claims(sweep.room):
            raise UsageError(f"--workdirs = {sweep.path!r}: {sweep.room} has no table of claims; leave it out")
        if sweep.room in sweeps:
            other = sweeps[sweep.room].path
            raise UsageError(f"--workdirs = {sweep.path!r}: a second sweep of {sweep.room} beside {other!r}; name one")
        sweeps[sweep.room] = sweep
    names = dict.fromkeys((*registry.EXPERIMENTS, *sweeps))
    docs = {name: results.room_doc(name) for name in names}
    tables = {name: registry.claims(name) for name in names}
    for room in ledger.rooms(sweeps, tables, docs):
        if room.sweep is None:
            print(f"missing: {room.name}; make it with: {room.command}")
    write_page(out, (ledger.markdown if out.suffix == ".md" else ledger.render)(sweeps, tables, docs))


def main(argv: list[str]) -> int:
    """Runs the command and returns its exit code."""
    values = command_line.parse(gathered(argv), define_flags)
    asked = [name for name in ("workdir", "compare", "all") if values[name].value not in (None, False)]
    if len(asked) != 1:
        given = " and ".join(f"--{name}" for name in asked) or "none of --workdir, --compare, --all"
        missing = "--workdir is missing: give the folder of a sweep, " if not asked else ""
        raise UsageError(f"{missing}{given} given: give one of --workdir=DIR, --compare DIR DIR, --all")
    if (values.out and asked == ["workdir"]) or (values.workdirs and asked != ["all"]):
        raise UsageError("--out is for --compare and --all, --workdirs for --all alone; leave them out")
    own = [folder.experiment_of(text) for text in values.config or ()]
    with command_line.disk_explained():
        if values.compare is not None:
            folders = [text for text in values.compare.split(",") if text]
            write_comparison(folders, out_file(values.out, pathlib.Path("compare.html"), (".html",)), own)
        elif values.all:
            folders = [text for text in (values.workdirs or "").split(",") if text]
            write_ledger(folders, out_file(values.out, ROOT / "results.html", (".html", ".md")), own)
        else:
            write_report(pathlib.Path(values.workdir).absolute(), own)
    return command_line.DONE


if __name__ == "__main__":
    command_line.run(main, __doc__, define_flags)
