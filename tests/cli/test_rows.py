import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skcnf.cli._rows import Row, format_rows, header, read_rows

numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
texts = st.none() | st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1)
rows = st.builds(
    Row,
    texts.filter(bool),
    st.sampled_from(["ok", "unreadable"]),
    *[numbers] * 3,
    st.sampled_from([None, 1, -1]),
    texts,
    texts,
)


@given(st.lists(rows, max_size=5), st.booleans())
def test_rows_are_read_back_as_they_were(written, as_json):
    text = header(as_json) + format_rows(written, as_json)
    assert list(read_rows(io.StringIO(text, newline=""), as_json)) == written


def test_the_columns_stand_in_the_promised_order():
    row = Row("a,b.png", "ok", -1.0 / 3, 0.1, math.pi, -1, "cam", None)
    text = header(False) + format_rows([row], False)
    assert text == (
        "input,status,score,p_value,threshold,verdict,group,error\n"
        '"a,b.png",ok,-0.3333333333333333,0.1,3.141592653589793,-1,cam,\n'
    )
    assert header(True) == ""
    keys = ["input", "status", "score", "p_value", "threshold", "verdict", "group", "error"]
    assert list(json.loads(format_rows([row], True))) == keys


@pytest.mark.parametrize("as_json", [False, True])
def test_the_report_reads_the_rows(tmp_path, as_json):
    from skcnf.cli._names import COLUMNS
    from skcnf.reporting import COLUMNS as READ
    from skcnf.reporting import read_scores

    assert COLUMNS == READ
    file = tmp_path / "scores"
    file.write_text(header(as_json) + format_rows([Row("a", "ok", 0.1, 0.2, 0.3, -1), Row("b", "unreadable")], as_json))
    first, second = read_scores(file)
    assert (first.input, first.score, first.flagged, second.status) == ("a", 0.1, True, "unreadable")
