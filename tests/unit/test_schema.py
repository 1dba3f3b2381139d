"""What is read from a workdir: tables of what a file must hold, files that are none, and output whose reader left."""

import os
import pathlib

import pytest

from launch import command_line
from rgflow.schema import files, kinds

POINT = {"at": {"x": kinds.NUMBER, "y?": kinds.MAYBE}, "names": [kinds.NAME]}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"at": {"x": 1, "y": None}, "names": ["a", "b_2"], "more": [{}]}, ""),
        ({"at": {"x": 1.5}, "names": []}, ""),
        (None, "holds None: it must be an object with named fields"),
        ({"names": []}, "the field at is missing, as in a file of another version"),
        ({"at": {}, "names": []}, "the field at.x is missing, as in a file of another version"),
        ({"at": {"x": True}, "names": []}, "at.x = True: must be a finite number"),
        ({"at": {"x": float("nan")}, "names": []}, "at.x = nan: must be a finite number"),
        ({"at": {"x": 10**400}, "names": []}, f"at.x = {'1' + 59 * '0'}: must be a finite number"),
        ({"at": {"x": 1, "y": "2"}, "names": []}, "at.y = '2': must be a finite number or null"),
        ({"at": {"x": 1}, "names": {}}, "names = {}: must be a list"),
        ({"at": {"x": 1}, "names": ["a", "/"]}, "names[1] = '/': must be a name of letters, digits and underscores"),
        ({"at": {"x": 1}, "names": [], "a\x1b": 1}, "bad name 'a\\x1b'"),
        ({"at": {"x": 1}, "names": [], "more": {"a": ["\ud800"]}},
         "more = {'a': ['\\ud800']}: must be plain data without control characters"),
    ],
)  # fmt: skip
def test_the_first_departure_is_named(data, why):
    assert kinds.wrong(data, POINT) == why


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "/a", "a\\b", "a\x00", "a\n", "x" * 201, None, 3])
def test_what_is_no_name_of_a_file(name):
    assert not kinds.FILE.holds(name)
    assert not kinds.NAME.holds(name)


def test_names_of_figures_may_have_dots_dashes_and_letters_of_any_language():
    assert all(map(kinds.FILE.holds, ("ranks", "a-b.c", "größe", "two words")))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "damaged: empty"),
        (b"{", "damaged: no JSON"),
        (b'{"a": "\xff"}', "line 1 is no text in UTF-8"),
        (b"\n\n\xff", "line 3 is no text in UTF-8"),
        (b"[" * 10**6, "nested deeper than 40 levels"),
        (b'{"a": ' * 50 + b"1" + b"}" * 50, "nested deeper than 40 levels"),
        (b"1" * 10_000, "damaged: no JSON"),
        (b"3", "it must be an object"),
    ],
)
def test_what_is_no_json_is_one_line_with_the_file_and_what_to_do(tmp_path, content, why):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(files.Unreadable) as caught:
        files.read_json(path, kinds.CONFIG)
    text = str(caught.value)
    assert text.startswith(f"'{path}': {why}"[:60]) or why in text
    assert "\n" not in text and text.endswith("restore it, or start the sweep's own command again, which writes it")


def test_brackets_in_words_are_not_nested(tmp_path):
    (tmp_path / "a.json").write_text('{"a": "' + '[\\"' * 100 + '"}')
    assert files.read_json(tmp_path / "a.json")["a"].startswith('["["')


def test_what_is_no_plain_file_is_not_opened(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("{}")
    (tmp_path / "link").symlink_to(secret)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    found = {"link": "is a link", "pipe": "is no plain file", "folder": "is no plain file", "absent": "is missing"}
    for name, why in found.items():
        with pytest.raises(files.Unreadable, match=why):
            files.opened(tmp_path / name)
    with pytest.raises(files.Unreadable, match="no plain file"):
        files.opened(pathlib.Path("/dev/zero"))


def test_an_unreadable_file_is_said(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(files.Unreadable, match=r"cannot be read \(Permission denied\)"):
        files.opened(tmp_path / "run.json")


def test_every_link_and_pipe_of_a_folder_is_found_at_any_depth(tmp_path):
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (deep / "file").touch()
    files.refuse_links(tmp_path)
    for make in (lambda path: path.symlink_to(tmp_path), lambda path: path.symlink_to("nowhere"), os.mkfifo):
        make(deep / "bad")
        with pytest.raises(
            files.Unreadable, match=r"c/bad': (a link|neither a file nor a folder); a workdir holds plain"
        ):
            files.refuse_links(tmp_path)
        (deep / "bad").unlink()


def test_half_a_last_line_of_a_log_is_left_out_and_any_other_is_named(tmp_path):
    path = tmp_path / "events.jsonl"
    assert files.read_lines(path, kinds.EVENT) == []
    event = '{"time": "2026-01-01T10:00:00+0000", "event": "started"}\n'
    path.write_text(event + event[:20])
    assert len(files.read_lines(path, kinds.EVENT)) == 1
    path.write_text(event + "\n" + event)
    with pytest.raises(files.Unreadable, match="line 2: damaged: empty; remove the line"):
        files.read_lines(path, kinds.EVENT)


@pytest.mark.parametrize(
    "content", ["", "<svg", "<html/>", "<svg/>", "x", '<svg xmlns="http://www.w3.org/2000/svg"><g>']
)
def test_what_is_no_drawing_is_refused(tmp_path, content):
    (tmp_path / "a.svg").write_text(content)
    with pytest.raises(files.Unreadable, match="no SVG"):
        files.read_svg(tmp_path / "a.svg")


def test_output_whose_reader_left_is_dropped_and_ends_nothing():
    """What is still in the buffer is dropped as well, when the stream is closed."""
    reads, writes = os.pipe()
    stream = os.fdopen(writes, "w")
    lasting = command_line.LastingOutput(stream)
    lasting.write("seen\n")
    lasting.flush()
    assert os.read(reads, 10) == b"seen\n"
    os.close(reads)
    for _ in range(3):
        assert lasting.write("x" * 10**6) == 10**6
        print("more", file=lasting, flush=True)
    assert lasting.isatty() is False
    stream.close()
