import json
import shutil

import pytest

from skcnf.cli._lines import LineFile

TEXTS = [("header\n", 0), ("a,1\nb,2\n", 2), ("é,3\n", 1), ("\udcff,4\n", 1)]


def _killed_after(path, n_texts, identity="same"):
    """What a run that was killed after so many texts leaves beside ``path``."""
    other = path.with_name("other")
    with LineFile(other, identity) as lines:
        for text, n_rows in TEXTS[:n_texts]:
            lines.append(text, n_rows)
        for suffix in (".part", ".part.json"):
            if other.with_name(f"other{suffix}").exists():
                shutil.copy(other.with_name(f"other{suffix}"), path.with_name(f"{path.name}{suffix}"))
    for suffix in (".part", ".part.json"):
        other.with_name(f"other{suffix}").unlink(missing_ok=True)


def _finish(path, identity="same"):
    """Write what is still to do; returns how many rows were there."""
    with LineFile(path, identity) as lines:
        n_done, n_rows = lines.n_done, 0
        for text, n in TEXTS:
            if n_done == 0 or n_rows >= n_done:
                lines.append(text, n)
            n_rows += n
        lines.finish()
    return n_done


@pytest.mark.parametrize(("n_texts", "n_rows"), [(0, 0), (1, 0), (2, 2), (3, 3), (4, 4)])
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, n_texts, n_rows):
    path = tmp_path / "x"
    _killed_after(path, n_texts)
    if n_texts == 4:
        with LineFile(path, "same") as lines:
            assert lines.n_done == 4
            lines.finish()
    else:
        assert _finish(path) == n_rows
    assert path.read_bytes() == "".join(text for text, _ in TEXTS).encode("utf-8", "surrogateescape")
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_what_was_written_after_the_last_state_is_dropped(tmp_path):
    path = tmp_path / "x"
    _killed_after(path, 2)
    with path.with_name("x.part").open("ab") as file:
        file.write(b"half a li")
    assert _finish(path) == 2
    assert path.read_text(encoding="utf-8", errors="surrogateescape") == "".join(text for text, _ in TEXTS)


@pytest.mark.parametrize(
    "damage",
    [
        lambda part, log: part.write_bytes(part.read_bytes().replace(b"a", b"b")),
        lambda part, log: part.write_bytes(part.read_bytes()[:-3]),
        lambda part, log: part.unlink(),
        lambda part, log: log.unlink(),
        lambda part, log: log.write_text("null"),
        lambda part, log: log.write_text(log.read_text().replace("same", "another")),
        lambda part, log: log.write_text(json.dumps({**json.loads(log.read_text()), "bytes": "many"})),
        lambda part, log: log.write_text(json.dumps({**json.loads(log.read_text()), "rows": -2})),
        lambda part, log: log.write_text(json.dumps({**json.loads(log.read_text()), "rows": 4})),
    ],
)
def test_a_state_that_does_not_fit_its_rows_is_discarded(tmp_path, damage):
    path = tmp_path / "x"
    _killed_after(path, 3)
    damage(path.with_name("x.part"), path.with_name("x.part.json"))
    assert _finish(path) == 0
    assert path.read_bytes() == "".join(text for text, _ in TEXTS).encode("utf-8", "surrogateescape")


def test_without_an_identity_every_run_starts_anew(tmp_path):
    path = tmp_path / "x"
    _killed_after(path, 3)
    assert _finish(path, None) == 0
    with LineFile(path, None) as lines:  # and is not finished
        lines.append("half", 1)
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_lines_that_replace_the_rows_appear_whole(tmp_path):
    with LineFile(tmp_path / "x", "same") as lines:
        lines.append("header\n", 0)
        lines.append("a\nb\n", 2)
        with lines.read() as file:
            lines.finish(line.upper() for line in file)
    assert (tmp_path / "x").read_text() == "HEADER\nA\nB\n"
    assert [file.name for file in tmp_path.iterdir()] == ["x"]
