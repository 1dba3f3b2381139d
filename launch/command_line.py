"""Flags, exit codes and one-line errors, shared by the commands."""

import contextlib
import difflib
import importlib.util
import logging
import os
import pathlib
import signal
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TextIO, cast

import ml_collections
from absl import flags
from absl import logging as absl_logging
from ml_collections import config_flags

import configs
from rgflow import registry
from rgflow.schema.files import Unreadable

DONE, FAILED, BAD_USAGE, RESUMABLE = 0, 1, 2, 75
INTERRUPTED = 130
FAILED_AMONG_OTHERS = 101
"""Exit code of the process that fails among several: above 75, the code of the others, as srun returns the largest."""


class UsageError(Exception):
    """Bad usage or config; its text is the one line shown."""


class Failed(Exception):
    """A failure that the program cannot prevent, such as a full disk; its text is the one line shown."""

    def __init__(self, text: str, code: int = FAILED) -> None:
        """``code`` is the exit code."""
        super().__init__(text)
        self.code = code


def _leaf(config: ml_collections.ConfigDict, path: str) -> Any:
    """Returns the value at a dotted path, or raises UsageError naming the closest keys."""
    section: Any = config
    for k, name in enumerate(path.split(".")):
        if not isinstance(section, ml_collections.ConfigDict) or name not in section:
            known = sorted(section) if isinstance(section, ml_collections.ConfigDict) else []
            close = difflib.get_close_matches(name, known, 1)
            where = ".".join(["config", *path.split(".")[:k]])
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise UsageError(
                f"config.{path}: no such key; {hint}{where} has {', '.join(known) or 'no keys of its own'}"
            )
        section = section[name]
    return section


def _overrides(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Returns (dotted path, value text) of every --config.KEY=VALUE or --config.KEY VALUE."""
    found = []
    for k, word in enumerate(arguments):
        if word.lstrip("-").startswith("config.") and word.startswith("-"):
            path, equals, value = word.lstrip("-").removeprefix("config.").partition("=")
            follows = arguments[k + 1] if k + 1 < len(arguments) else ""
            found.append((path, value if equals else follows))
    return found


def installed_configs() -> dict[str, str]:
    """Returns the config files that come with the package, by the names of their rooms."""
    files = sorted(pathlib.Path(configs.__file__).parent.glob("*.py"))
    return {file.stem: str(file) for file in files if file.stem in registry.EXPERIMENTS}


def _located(argv: Sequence[str]) -> list[str]:
    """Returns the arguments with a room's name in --config, which is enough, replaced by its installed file."""
    words = list(argv)
    for k, word in enumerate(words):
        flag, equals, text = word.partition("=")
        if flag in ("--config", "-config") and (equals or k + 1 < len(words)):
            name, colon, preset = (text if equals else words[k + 1]).partition(":")
            file = name if os.path.isfile(name) else installed_configs().get(name, name)
            words[k if equals else k + 1] = f"{flag + equals if equals else ''}{file}{colon}{preset}"
    return words


def _config_words(arguments: Sequence[str]) -> list[str]:
    """Returns only the --config=FILE part of the arguments."""
    for k, word in enumerate(arguments):
        if word.startswith(("--config=", "-config=")):
            return [word]
        if word in ("--config", "-config") and k + 1 < len(arguments):
            return [f"--config={arguments[k + 1]}"]
    return []


def _define_config(values: flags.FlagValues, words: list[str]) -> None:
    text = "file or room, and preset, such as configs/rank_flow.py:smoke; override with --config.KEY=VALUE"
    config_flags.DEFINE_config_file("config", None, text, lock_config=True, flag_values=values, sys_argv=words)


def _check_config(arguments: Sequence[str]) -> None:
    """Refuses a config file or an override that cannot be right in one line; absl would print a traceback."""
    words = _config_words(arguments)
    if not words:
        raise UsageError("--config is missing: give a file or a room, such as --config=configs/rank_flow.py")
    file = words[0].partition("=")[2].partition(":")[0]
    if not os.path.isfile(file):  # unlike pathlib it says no to a name that is too long
        rooms, name = installed_configs(), pathlib.Path(file).stem
        hint = f"--config={name} is the installed {rooms[name]}" if name in rooms else f"rooms: {', '.join(rooms)}"
        raise UsageError(f"--config = {file!r}: no such file or room; {hint}")
    base = flags.FlagValues()
    _define_config(base, ["", *words])
    try:
        base(["", *words])
    except flags.Error as error:
        # The text is a whole traceback; its last line is the config file's own complaint, such as an unknown preset.
        reason = str(error).strip().splitlines()[-1].removeprefix("ValueError: ")
        raise UsageError(f"{words[0]}: {reason}") from error
    for name, text in _overrides(arguments):
        value = _leaf(base.config, name)
        if isinstance(value, ml_collections.ConfigDict):
            raise UsageError(f"config.{name}: a section, not a key; set one of {', '.join(sorted(value))}")
        one = flags.FlagValues()
        _define_config(one, ["", *words, f"--config.{name}={text}"])
        try:
            one(["", *words, f"--config.{name}={text}"])
        except (flags.Error, ValueError, TypeError) as error:
            raise UsageError(f"config.{name} = {text!r}: must be of type {type(value).__name__}") from error


def config_file(values: flags.FlagValues) -> str:
    """Returns the text of --config: file and, after a colon, the preset."""
    return config_flags.get_config_filename(values["config"])


def preset_config(file: str) -> Any:
    """Returns the config of a file and, after a colon, its preset, without the overrides of the command."""
    values, words = flags.FlagValues(), ["", f"--config={file}"]
    _define_config(values, words)
    values(words)
    return values.config


def parse(argv: Sequence[str], define: Callable[[flags.FlagValues], None], config: bool = False) -> flags.FlagValues:
    """Returns the parsed flags; raises UsageError with one line when they cannot be right."""
    values = flags.FlagValues()
    define(values)
    try:
        if config:
            argv = _located(argv)
            _check_config(argv[1:])
            _define_config(values, list(argv))
        rest = values(list(argv))
    except (flags.Error, ValueError) as error:
        raise UsageError(str(error).splitlines()[0]) from error
    if len(rest) > 1:
        raise UsageError(f"{rest[1]!r}: not understood; every argument is a --flag")
    return values


def module_of(config_file: str) -> types.ModuleType:
    """Returns the config file, which the user has named, as a module; raises UsageError when it is none.

    Example:
        >>> module_of("configs/rank_flow.py:smoke").get_config("smoke").experiment
        'rank_flow'
    """
    path = pathlib.Path(config_file.partition(":")[0])
    spec = importlib.util.spec_from_file_location("sweep_config", path)
    if spec is None or spec.loader is None or not path.is_file():
        why = "not a Python file" if path.is_file() else "no such file"
        raise UsageError(f"--config = {str(path)!r}: {why}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def disk_explained() -> Iterator[None]:
    """Turns a disk that refuses into one line that says what to do."""
    try:
        yield
    except OSError as error:
        where = f", {error.filename}" if error.filename else ""
        raise Failed(
            f"the disk refused ({error.strerror or error}{where}); every record and checkpoint written before is "
            "intact: make room, or make the folder writable, and start the same command again"
        ) from error


class LastingOutput:
    """Standard output whose reader may leave, as ``| head -1`` does: what is printed then is dropped."""

    def __init__(self, stream: TextIO) -> None:
        """Wraps a stream with a descriptor."""
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        """Returns whatever else a stream has."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes a text."""
        with self._dropping():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Writes what is left in the buffer."""
        with self._dropping():
            self._stream.flush()

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())  # the buffer too, at the latest when Python ends
            os.close(nowhere)


def complain(text: str) -> None:
    """Prints to standard error; a log on a full disk must not keep a failed process alive."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)


def end_now(code: int) -> NoReturn:
    """Ends the process without waiting for threads (of a failed save, say) or for other processes of the sweep."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def quiet_background_saves() -> None:
    """Silences the hundreds of lines that Orbax, asyncio and tensorstore print about a failed save; ours is enough."""
    absl_logging.set_verbosity(absl_logging.FATAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    # It works without a folder of its own, and says so in two lines.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            sys.__unraisablehook__(unraisable)

    sys.unraisablehook = hook


def help_for(argv: Sequence[str], usage: str, define: Callable[[flags.FlagValues], None], config: bool) -> str:
    """Returns what --help prints; with --config=FILE among the arguments, the keys of that file too."""
    # Imported here: no other start needs it.
    from launch import help_text

    parts = [help_text.prose(usage), help_text.flags_text(define, define.__module__, config)]
    if config and _config_words(argv):
        known = parse([argv[0], *_config_words(argv)], define, config=True)
        words = config_file(known)
        parts.append(help_text.keys_text(help_text.config_keys(known.config, words.partition(":")[0]), words))
    return "\n\n".join(part for part in parts if part)


def run(
    main: Callable[[list[str]], int],
    usage: str | None,
    define: Callable[[flags.FlagValues], None],
    config: bool = False,
) -> NoReturn:
    """Runs a command: --help, one-line usage errors with exit code 2, quiet library logs.

    ``usage`` is the docstring of the command; ``config`` tells whether it takes --config.
    """
    quiet_background_saves()
    sys.stdout = cast(TextIO, LastingOutput(sys.stdout or open(os.devnull, "w")))  # noqa: SIM115
    # Until a sweep saves what it has, SIGTERM is what Ctrl-C is: one line, and nothing is lost.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if {"--help", "-h", "-help"} & set(sys.argv[1:]):
            print(help_for(sys.argv, usage or "", define, config))
            sys.exit(DONE)
        sys.exit(main(sys.argv))
    except (UsageError, Unreadable) as error:
        complain(f"error: {error}")
        sys.exit(BAD_USAGE)
    except KeyboardInterrupt:
        complain("stopped; the same command starts again")
        end_now(RESUMABLE)
    except Failed as error:
        complain(f"error: {error}")
        end_now(error.code)
    finally:
        signal.signal(signal.SIGTERM, before)
