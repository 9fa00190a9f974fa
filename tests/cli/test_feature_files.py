import re
import zipfile

import numpy as np
import pytest

from skcnf.cli._feature_files import open_features

X = np.arange(40.0).reshape(10, 4) / 7


def _write(path, kind):
    if kind == ".npy":
        np.save(path / "x.npy", X)
    elif kind == ".npz":
        np.savez(path / "x.npz", X=X, y=np.zeros(10))
    elif kind == ".parquet":
        pytest.importorskip("pyarrow")
        import pandas as pd

        pd.DataFrame(X, columns=list("abcd")).to_parquet(path / "x.parquet", row_group_size=3)
    else:
        names = "a,b,c,d\n" if kind == ".csv" else ""
        rows = [",".join(map(repr, row)) for row in X.tolist()]
        (path / "x.csv").write_text(names + "\n".join(rows) + "\n")
        return open_features(path / "x.csv")
    return open_features(path / f"x{kind}")


@pytest.mark.parametrize("kind", [".npy", ".npz", ".csv", "csv without names", ".parquet"])
@pytest.mark.parametrize(("size", "start"), [(3, 0), (4, 5), (100, 9), (2, 10)])
def test_blocks_are_the_rows_from_start_on(tmp_path, kind, size, start):
    blocks = list(_write(tmp_path, kind).blocks(size, start))
    assert all(len(block) <= size for block in blocks)
    read = np.concatenate([np.asarray(block) for block in blocks]) if blocks else np.empty((0, 4))
    np.testing.assert_allclose(read, X[start:], rtol=1e-15)  # pandas before 3 rounds the last digit of CSV


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_names_of_columns_are_kept(tmp_path, kind):
    assert list(next(_write(tmp_path, kind).blocks(5, 5)).columns) == list("abcd")


def test_what_is_no_number_in_a_later_row_of_csv_is_a_gap(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n" + "1,2\n" * 200 + "3,oops\n4,\n5,6\n")
    rows = np.concatenate([np.asarray(block) for block in open_features(tmp_path / "x.csv").blocks(50)])
    assert np.flatnonzero(np.isnan(rows).any(axis=1)).tolist() == [200, 201]
    assert rows[202].tolist() == [5, 6]


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ("0,1\n5,6\n", ["0", "1"], [[5, 6]]),  # as pandas names the columns of an array
        ("0,1,\n5,6,\n", None, [[0, 1, None], [5, 6, None]]),
        ("5,,7\n8,9,1\n", None, [[5, None, 7], [8, 9, 1]]),  # a gap makes no names of the first row
        ("nan,2\n3,4\n", None, [[None, 2], [3, 4]]),
        ("0\n1\n", None, [[0], [1]]),
        ("a,b\n1,2,\n3,4,\n", ["a", "b"], [[1, 2], [3, 4]]),  # commas at the ends of lines
        ("a,\n1,2\n", ["a", "Unnamed: 1"], [[1, 2]]),
    ],
)
def test_the_first_row_of_csv_is_names_or_numbers(tmp_path, text, names, rows):
    (tmp_path / "x.csv").write_text(text)
    block = next(open_features(tmp_path / "x.csv").blocks(10))
    np.testing.assert_array_equal(np.asarray(block), np.array(rows, dtype=float))
    assert (list(block.columns) if hasattr(block, "columns") else None) == names


def _damaged(path, name, content):
    if isinstance(content, dict):
        np.savez(path / name, **content)
    elif isinstance(content, np.ndarray):
        np.save(path / name, content)
    else:
        (path / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npy", b"junk", "x.npy' is no readable array of numbers"),
        ("x.npy", b"", "x.npy' is no readable array of numbers"),
        ("x.npy", np.array([{}, 1], dtype=object), "x.npy' is no readable array of numbers: .*Python objects"),
        (
            "x.npy",
            np.zeros(5),
            r"x.npy' holds an array of shape \(5,\) and type float64; features are numbers of shape",
        ),
        ("x.npy", np.full((5, 2), "a"), "type <U1; features are numbers"),
        ("x.npy", np.zeros((0, 3)), "x.npy' holds no row"),
        ("x.npz", {"a": X, "b": X}, "x.npz' holds the arrays a, b; save the features alone, or call them X"),
        ("x.csv", b"", "x.csv' is no readable CSV file of features"),
        ("x.csv", b"name,a\nfoo,1\n", "the columns 'name' of .*x.csv' hold no numbers"),
        ("x.csv", b"a,b\n1,2\n3,4,5\n", "x.csv' is no readable CSV file of features"),
        ("x.csv", b"a,b\n1,2,3\n4,5,6\n", "x.csv' has rows of more values than its first line has names"),
        ("x.csv", b",0,1\n0,1,2\n1,3,4\n", "the first column of '.*x.csv' has no name: .*index=False"),
        ("x.csv", b",a,b\n0,1,2\n1,3,4\n", "the first column of '.*x.csv' has no name: .*index=False"),
        ("x.csv", b"a,b\n\xff\xfe,2\n", "x.csv' is no readable CSV file of features"),
        ("x.parquet", b"junk", "x.parquet' (is no readable Parquet file|.*needs pyarrow)"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content, message):
    if isinstance(content, np.ndarray) and content.dtype == object:
        np.save(tmp_path / name, content, allow_pickle=True)
    else:
        _damaged(tmp_path, name, content)
    with pytest.raises(ValueError, match=f"(?s){message}") as caught:
        list(open_features(tmp_path / name).blocks(100))
    assert re.search(re.escape(name), str(caught.value))


def test_an_archive_whose_member_is_no_array_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("readme.txt", "no array")
    with pytest.raises(ValueError, match=r"x.npz' is no readable array of numbers: its member is no array"):
        open_features(tmp_path / "x.npz")
