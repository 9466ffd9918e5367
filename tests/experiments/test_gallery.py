"""The page of the experiments: every script is on it, its rows beside those of a fresh seed, nothing unescaped."""

import json
import sys
from pathlib import Path

import gallery
import pytest

FOLDER = Path(gallery.__file__).parent
DOCS = FOLDER.parents[1] / "docs"
ALL_HEADLINES = {topic: headline for chapter in gallery.CHAPTERS.values() for topic, headline in chapter.items()}
SCRIPT = '''"""Sums & <products>.

One equation:

    s = a + b
"""
import sys
sys.path.insert(0, {folder!r})
from claims import main, panels

def experiment(claims, quick, seed):
    claims.near("a < b | c", {measured}, 2.0, 0.1)
    return panels()[0]

raise SystemExit(main(__doc__, experiment))
'''


def test_every_script_is_in_the_gallery():
    scripts = {path.stem for path in FOLDER.glob("*.py")} - {"claims", "gallery"}
    assert sorted(gallery.topics()) == sorted(scripts)


@pytest.mark.parametrize("topic", gallery.topics())
def test_a_script_has_40_to_150_lines(topic):
    """Short enough to be read from top to bottom."""
    assert 40 <= len((FOLDER / f"{topic}.py").read_text().splitlines()) <= 150


@pytest.mark.parametrize("topic", gallery.topics())
def test_what_is_committed_holds_and_has_its_headline(topic):
    page = gallery.Page(topic, DOCS / "gallery")
    assert all(row["holds"] for row in page.rows)
    assert page.fresh is not None
    assert {topic: page.headline()["statement"]}.items() <= ALL_HEADLINES.items()


def test_no_chapter_has_an_experiments_anchor():
    assert not {gallery.anchor(title) for title in gallery.CHAPTERS} & set(gallery.topics())


def test_nothing_is_committed_that_no_script_makes():
    left = {path.name.split(".")[0] for path in (DOCS / "gallery").iterdir()}
    assert sorted(left) == sorted(gallery.topics())


def test_the_readme_shows_the_summary_of_what_is_committed():
    chapters = gallery.read(DOCS / "gallery")
    assert gallery.summary(chapters, "docs/gallery.md") in (DOCS.parent / "README.md").read_text()
    assert gallery.as_markdown(chapters) == (DOCS / "gallery.md").read_text()


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Runs the gallery of one script; its exit status and what it wrote."""

    def made(measured, *options, topics=("sums",)):
        (tmp_path / "sums.py").write_text(SCRIPT.format(folder=str(FOLDER), measured=measured))
        monkeypatch.setattr(gallery, "HERE", tmp_path)
        monkeypatch.setattr(gallery, "CHAPTERS", {"All, that is": dict.fromkeys(topics, "a < b | c")})
        monkeypatch.setattr(sys, "argv", ["gallery.py", "--output", str(tmp_path / "docs"), *options])
        status = gallery.main()
        return status, *((tmp_path / "docs" / f"gallery.{kind}").read_text() for kind in ("md", "html"))

    return made


def test_the_page_shows_both_seeds_and_escapes_what_it_shows(page, tmp_path):
    status, markdown, html = page(2.05)
    assert status == 0
    assert "| [All, that is](#all-that-is) (1) | a < b \\| c | 2 | 2.05 | 1 of 1 |" in markdown
    assert "### Sums & <products>." in markdown
    assert "| holds | a < b \\| c | 2 | 2.05 | +- 0.1 | 2.05, holds |" in markdown
    assert "<td>a &lt; b | c</td>" in html
    assert "<pre>    s = a + b</pre>" in html
    assert '<img src="data:image/png;base64,' in html
    assert (
        json.loads((tmp_path / "docs/gallery/sums.json").read_text())["seed"]
        != (json.loads((tmp_path / "docs/gallery/sums.fresh.json").read_text())["seed"])
    )


def test_two_at_a_time_are_both_reported(page, tmp_path, capfd):
    (tmp_path / "others.py").write_text(SCRIPT.format(folder=str(FOLDER), measured=3))
    status, markdown, _ = page(2.05, "--quick", "--jobs", "2", topics=("others", "sums"))
    assert status == 1
    assert markdown.count("### Sums & <products>.") == 2
    said = capfd.readouterr()
    assert "failed: others" in said.err
    assert "others: 0 of 1 claims hold" in said.out
    assert "sums: 1 of 1 claims hold" in said.out


def test_the_small_form_leaves_the_docs_alone(monkeypatch, tmp_path):
    here = tmp_path / "scripts" / "experiments"
    here.mkdir(parents=True)
    (here / "sums.py").write_text(SCRIPT.format(folder=str(FOLDER), measured=2))
    monkeypatch.setattr(gallery, "HERE", here)
    monkeypatch.setattr(gallery, "CHAPTERS", {"All": {"sums": "a < b | c"}})
    monkeypatch.setattr(sys, "argv", ["gallery.py", "--quick"])
    assert gallery.main() == 0
    assert (tmp_path / "runs/gallery/gallery.html").exists()
    assert not (tmp_path / "docs").exists()


def test_a_failed_claim_fails_the_gallery_and_is_marked(page):
    status, markdown, html = page(2.2, "--quick")
    assert status == 1
    assert "| fails | a < b \\| c | 2 | 2.2 | +- 0.1 |" in markdown
    assert '<tr class="fails"><td>fails</td>' in html
