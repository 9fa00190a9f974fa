import html.parser
import math
import re

import numpy as np
import pytest

from skcnf.reporting import COLUMNS, Decision, ScoredRow, histogram_svg, read_scores, write_report

HOSTILE = "<script>alert(1)</script>\"&' \u202egnp.exe\nsecond line"


def _rows(n=40, n_flagged=4):
    scores = np.linspace(-30, 10, n)
    return [
        ScoredRow(f"images/{i:05d}.png", "ok", score, (i + 1) / (n + 1), scores[n_flagged], 1 if i >= n_flagged else -1)
        for i, score in enumerate(scores)
    ]


def _image(name):
    return np.full((32, 32, 3), 200, np.uint8)


class _Page(html.parser.HTMLParser):
    """Tags with their attributes, the text, and whether what was opened was closed."""

    VOID = {"meta", "img"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def count(self, tag, **attributes):
        return sum(t == tag and all(a.get(k) == v for k, v in attributes.items()) for t, a in self.tags)


def _page(path):
    page = _Page(path.read_text(encoding="utf-8"))
    assert not page.open
    return page


def test_the_page_shows_counts_cards_and_rows_least_normal_first(tmp_path):
    rows = [*_rows(), ScoredRow("broken.png", "unreadable", error="no image at all")]
    write_report(
        rows, tmp_path / "r.html", decision=Decision(false_alarm_rate=0.05), open_image=_image, n_thumbnails=10
    )
    page = _page(tmp_path / "r.html")
    text = " ".join("".join(page.text).split())
    assert "40scored" in text
    assert "4flagged (10.0 %)" in text
    assert "1unreadable" in text
    assert "false-alarm rate of 5 %" in text
    assert "no image at all" in text
    assert page.count("img", loading="lazy") == 10
    assert page.count("figure", **{"class": "card flagged"}) == 4
    names = [data for data in page.text if re.fullmatch(r"images/\d{5}\.png", data)]
    assert names == [f"images/{i:05d}.png" for i in [*range(10), *range(40)]]


def test_the_page_needs_nothing_from_elsewhere(tmp_path):
    write_report(_rows(), tmp_path / "r.html", open_image=_image)
    text = (tmp_path / "r.html").read_text()
    assert not re.search(r"https?://|//[a-z]", re.sub(r"//.*pragma", "", text))
    for tag, attributes in _page(tmp_path / "r.html").tags:
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, attributes)


def test_hostile_names_are_text(tmp_path):
    row = ScoredRow(HOSTILE, "ok", -1.0, 0.5, 0.0, -1, group=HOSTILE)
    bad = ScoredRow("\udce4.png", "unreadable", error=HOSTILE)
    pictures = {HOSTILE: [(HOSTILE, _image(""))]}
    write_report([row, bad], tmp_path / "r.html", title=HOSTILE, open_image=_image, pictures=pictures)
    page = _page(tmp_path / "r.html")
    assert page.count("script") == 1  # the page's own
    text = "".join(page.text)
    assert "<script>alert(1)</script>" in text
    assert "\u202e" not in text
    assert "\\u202egnp.exe\\nsecond line" in text


def test_ten_thousand_rows_give_a_page_of_bounded_size(tmp_path):
    rows = _rows(10_000, 100)
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    write_report(rows, tmp_path / "r.html", open_image=lambda name: noise)
    assert (tmp_path / "r.html").stat().st_size < 3_000_000
    page = _page(tmp_path / "r.html")
    assert page.count("tr") == 1 + 1000
    assert "The 1,000 lowest scores of 10,000." in "".join(page.text)


def test_an_image_that_has_gone_leaves_its_place_empty(tmp_path):
    def gone(name):
        raise FileNotFoundError(name)

    write_report(_rows(5, 1), tmp_path / "r.html", open_image=gone)
    assert _page(tmp_path / "r.html").text.count("not found") == 5


def test_groups_have_a_table_and_no_common_threshold(tmp_path):
    rows = [ScoredRow(str(i), "ok", float(i), 0.5, float(i % 2), 1, group="ab"[i % 2]) for i in range(10)]
    write_report(rows, tmp_path / "r.html")
    page = _page(tmp_path / "r.html")
    assert "Groups" in page.text
    assert page.count("line", **{"class": "threshold"}) == 0


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        (Decision(fdr=0.1, n_calibration=2500), "false discovery rate of 10\N{NO-BREAK SPACE}%"),
        (Decision(false_alarm_rate=0.01, n_calibration=250), "draws of the 250 calibration rows"),
        (Decision(), "Give the model"),
    ],
)
def test_the_guarantee_is_put_in_words(decision, words):
    assert words in decision.guarantee()


def test_bars_of_the_histogram_hold_all_scores_and_part_at_the_threshold():
    scores = np.random.default_rng(0).normal(size=1000)
    svg = histogram_svg(scores, threshold=-1.0, calibration=scores[:100])
    bars = re.findall(r'class="bar (\w+)" x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="([\d.]+)"', svg)
    position = float(re.search(r'class="threshold" x1="([\d.]+)"', svg).group(1))
    areas = {"low": 0.0, "high": 0.0}
    for kind, x, width, height in bars:
        assert (float(x) + float(width) <= position + 0.02) == (kind == "low")
        areas[kind] += float(width) * float(height)
    share = areas["low"] / sum(areas.values())
    assert share == pytest.approx((scores < -1).mean(), abs=0.01)
    assert "outline" in svg


def test_far_outliers_do_not_squeeze_the_histogram():
    scores = np.append(np.random.default_rng(0).normal(size=1000), [-1e9, -1e12])
    assert "2 scores lie further left" in histogram_svg(scores)


@pytest.mark.parametrize("scores", [[], [1.0], [2.0, 2.0], [0.0, 1e-300], [np.inf, 1.0, -np.inf]])
def test_degenerate_scores_are_drawn(scores):
    assert "nan" not in histogram_svg(np.array(scores), threshold=None)


def test_scores_are_read_back_from_csv_and_json_lines(tmp_path):
    text = f'{",".join(COLUMNS)}\na.png,ok,-1.5,0.25,-2.0,1,cam,\n"b\n,.png",unreadable,,,,,,"why, oh"\n'
    (tmp_path / "s.csv").write_text(text)
    first, second = read_scores(tmp_path / "s.csv")
    assert first == ScoredRow("a.png", "ok", -1.5, 0.25, -2.0, 1, "cam")
    assert (second.input, second.status, second.verdict, second.error) == ("b\n,.png", "unreadable", None, "why, oh")
    assert math.isnan(second.score)
    keys = '"input": "a.png", "status": "ok", "p_value": 0.25, "threshold": -2.0, "verdict": 1, "group": "cam"'
    (tmp_path / "s.jsonl").write_text(f'{{{keys}, "score": -1.5, "error": ""}}\n')
    assert read_scores(tmp_path / "s.jsonl") == [first]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,score\na,1\n", "its first line is not"),
        ("HEAD\na.png,ok,x,0.2,0,1,,\n", "line 2: score='x' is not a number"),
        ("HEAD\na.png,fine,1,0.2,0,1,,\n", "line 2: status='fine' is not one of"),
        ("HEAD\na.png,ok,1,0.2,0,2,,\n", "line 2: verdict='2' is neither 1 nor -1"),
        ("HEAD\na.png,ok\n", "line 2 has not 8 values"),
        ("HEAD\na.png,ok,1,0.2,0,1,,,,\n", "line 2 has not 8 values"),
        ('{"input": 1}\n', "line 1 does not hold the keys"),
        ("{nonsense\n", "is not a file of 'skcnf score'"),
        ("", "its first line is not"),
    ],
)
def test_malformed_scores_are_named_with_file_and_line(tmp_path, text, message):
    (tmp_path / "s.csv").write_text(text.replace("HEAD", ",".join(COLUMNS)))
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        read_scores(tmp_path / "s.csv")
    assert "s.csv" in str(error.value)


def test_an_empty_report_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(ValueError, match="rows is empty"):
        write_report([], tmp_path / "r.html")
    assert not list(tmp_path.iterdir())
