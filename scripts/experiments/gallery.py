"""Run the experiments and show them on one page, figure and table side by side.

    ./scripts/gallery                                    # all, at full size: half an hour; with --jobs 2 17 minutes
    ./scripts/gallery --only perceptron linear_unit      # the page has the others as they were
    ./scripts/gallery --quick --jobs 2                   # as CI does, in 3 minutes; writes runs/gallery

Each runs twice: with the committed seed, which has to agree, and with a fresh one, which is reported beside it. Writes
gallery.md, the self-contained gallery.html, and in gallery/ a figure and the numbers of each. The exit status is 1 if
a claim failed with the committed seed, or a script did not run through.
"""

import argparse
import ast
import base64
import html
import json
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
# In the order of the notes; each experiment with the row that says most. A chapter's first speaks for it in the README.
CHAPTERS = {
    "Perceptron and linear unit": {
        "perceptron": "AND: mistakes for step(0) = 0 and 1",
        "novikoff": "256 orthogonal examples, bound 258.56: mistakes in each epoch",
        "linear_unit": "largest stable eta of BGD, by bisection",
        "momentum": "salary: epochs of BGD for one of the ball",
    },
    "BGD, MBGD and SGD": {
        "zigzag": "largest angle of -grad E to the minimum",
        "three_loops": "SGD, one pass: excess risk",
        "gradient_noise": "B = 64 of 512: variance / predicted",
        "double_well": "BGD from the wall's left: where it ends",
        "escape": "slope of ln rate over B / eta",
    },
    "Learning rate and batch size": {
        "gradient_noise_scale": "least squares, B = 16: gain of the best step / that of all examples",
        "steps_and_batch_size": "network: fitted B_noise / mean B_simple on the way",
        "rate_and_batch_size": "network: best rate ~ B^a from B = 1 to 4, a",
        "edge_of_stability": "eta = 0.2: mean in the second half",
    },
    "Backpropagation": {
        "backpropagation_by_hand": "26 gradients: by hand against jax.grad",
        "finite_differences": "float64: slope where rounding rules",
        "gradient_defects": "fc.py: -dE/dW compared with dE/dW: the audit says",
    },
    "The article's recipe": {
        "saturation": "raw pixels: share of hidden units with sigma' < 0.001",
        "article_recipe": "divided by 255: accuracy above raw pixels', same seeds",
        "neuron_by_neuron": "compiled SGD over neuron by neuron, speed",
    },
    "Vanishing gradients": {
        "vanishing": "sigmoid, sigma_w^2 = 1: factor a layer (1.3e-19 over 30)",
        "learning_speeds": "4 hidden layers: log of a layer's speed over the next one's",
        "he_and_xavier": "Xavier, 30 layers, digits: loss of the last epoch",
        "remedies": "ReLU, He, n = 64: factor a layer (0.548 in all)",
        "residual": "x + W relu(x): factor a block (3.07e+04 in all)",
        "batch_norm_explosion": "batch normalisation, n = 256, B = 128: factor a layer",
        "deep_dense": "ReLU, 2/n, 30 layers: training accuracy",
        "dead_relu": "N = 2, L = 10: dead at one input",
        "dead_relu_remedies": "LeakyReLU(0.01): share of networks that it saves from collapse",
    },
    "Exploding gradients": {
        "exploding": "s = 8, float32: layer where signals overflow",
        "exploding_over_time": "r = 1.1, Gaussian, linear: |d| / r^k after 99 steps",
        "clipping": "clipped by value at 0.05 deviations: cosine",
    },
    "Overfitting and its remedies": {
        "overfitting": "test loss with nothing, less that with early stopping",
        "early_stopping": "stopping - ridge: largest share",
        "weight_decay": "adam, L2, sigma = 8: shrinks a step by",
        "lasso": "proximal L1: weights that are exactly 0",
    },
    "What networks can represent": {
        "universal_approximation": "N = 64, by hand: largest error",
        "autoencoder": "8-3-8, all bits at once: codes beyond the 48 by hand",
    },
    "From dense layers to convolution": {
        "pixel_shuffle": "MNIST-1D, CNN: accuracy in order - shuffled",
        "dense_to_convolution": "shared weights, and as a matrix: y, dx, dW apart",
        "pooling": "2 x 2 maximum: share that a shift leaves as it is",
    },
}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 2100px; margin: 2rem auto; }
body { padding: 0 1.5rem }
h2 { border-top: 2px solid #888; padding-top: 1.2rem; margin-top: 2.5rem }
section { border-top: 1px solid #ccc; margin-top: 2rem }
section > div { display: grid; grid-template-columns: minmax(0, 8fr) minmax(0, 5fr); gap: 1.5rem; align-items: start }
img { max-width: 100%; height: auto; position: sticky; top: 1rem }
p { max-width: 1100px }
table { border-collapse: collapse; font-size: 12px; line-height: 1.35; width: 100% }
td, th { text-align: left; padding: .2rem .4rem; border-bottom: 1px solid #ddd; vertical-align: top }
td { overflow-wrap: break-word }
pre { background: #f5f5f5; padding: .6rem; overflow-x: auto; font-size: 13px }
nav { columns: 2 }
nav h3, nav ol { margin: .3rem 0; break-inside: avoid }
nav h3 { break-after: avoid }
.fails { color: #D55E00; font-weight: bold }
@media (max-width: 1100px) { section > div { grid-template-columns: 1fr } img { position: static } nav { columns: 1 } }
"""


def run(topic, folder, *options):
    """The exit status of one experiment; what it printed goes to the terminal as one when it ends."""
    print(f"{topic} begins", flush=True)
    command = [sys.executable, str(HERE / f"{topic}.py"), "--output", str(folder), *options]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(f"\n== {topic} {' '.join(options)}\n{ended.stdout}", flush=True)
    return ended.returncode


def experiment(topic, folder, quick):
    """Both runs of one experiment; true if all claims hold with the committed seed and both ran through."""
    options = ["--quick"] if quick else []
    status = run(topic, folder, *options)
    if quick:
        return status == 0
    with tempfile.TemporaryDirectory() as fresh:
        fresh_status = run(topic, fresh, "--fresh-seeds")
        if fresh_status == 0:
            shutil.copy(Path(fresh) / f"{topic}.json", folder / f"{topic}.fresh.json")
    return status == fresh_status == 0


class Page:
    """An experiment: its words, and what it left in the folder, rows and rows with a fresh seed, if there are any."""

    def __init__(self, topic, folder):
        doc = ast.get_docstring(ast.parse((HERE / f"{topic}.py").read_text())) or topic
        self.title, _, self.text = doc.partition("\n")
        self.topic, self.figure = topic, folder / f"{topic}.png"
        self.rows = json.loads((folder / f"{topic}.json").read_text())["claims"]
        self.n_held = sum(row["holds"] for row in self.rows)
        fresh = folder / f"{topic}.fresh.json"
        self.fresh = json.loads(fresh.read_text()) if fresh.exists() else None

    def table(self):
        """Header and rows, all of words."""
        header = ["", "claim", "predicted", "measured", "within"] + (["with a fresh seed"] if self.fresh else [])
        again = {row["statement"]: row for row in self.fresh["claims"]} if self.fresh else {}
        lines = []
        for row in self.rows:
            cells = [verdict(row), row["statement"], row["predicted"], row["measured"], row["within"]]
            if self.fresh:
                other = again.get(row["statement"])
                cells.append(f"{other['measured']}, {verdict(other)}" if other else "")
            lines.append(cells)
        return header, lines

    def headline(self):
        statement = next(chapter[self.topic] for chapter in CHAPTERS.values() if self.topic in chapter)
        return next((row for row in self.rows if row["statement"] == statement), self.rows[0])


def topics():
    return [topic for chapter in CHAPTERS.values() for topic in chapter]


def read(folder):
    """The pages that are in a folder, {chapter: pages}."""
    chapters = {
        title: [Page(topic, folder) for topic in chapter if (folder / f"{topic}.json").exists()]
        for title, chapter in CHAPTERS.items()
    }
    return {title: pages for title, pages in chapters.items() if pages}


def verdict(row):
    return "holds" if row["holds"] else "fails"


def held(pages):
    return f"{sum(page.n_held for page in pages)} of {sum(len(page.rows) for page in pages)}"


def anchor(title):
    return title.lower().replace(" ", "-").replace(",", "").replace("'", "")


def as_table(lines):
    """Markdown's; the first line is the header."""
    rows = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([rows[0], "|" + " --- |" * len(lines[0]), *rows[1:]])


def with_an_instance(column, named):
    """A table of (name, pages): of each the headline of its first page, and how many rows hold in all of them."""
    lines = [(column, "for instance", "predicted", "measured", "rows that hold")]
    for name, pages in named:
        row = pages[0].headline()
        lines.append((name, row["statement"], row["predicted"], row["measured"], held(pages)))
    return as_table(lines)


def summary(chapters, link):
    """A row for each chapter."""
    named = [(f"[{title}]({link}#{anchor(title)}) ({len(pages)})", pages) for title, pages in chapters.items()]
    return with_an_instance("experiments", named)


def headlines(pages):
    """A row for each experiment, named by its title."""
    return with_an_instance("experiment", [(f"[{page.title}](#{page.topic})", [page]) for page in pages])


def as_markdown(chapters):
    parts = ["# Gallery", INTRODUCTION, summary(chapters, "")]
    for title, pages in chapters.items():
        parts += [f'<a id="{anchor(title)}"></a>\n\n## {title}', headlines(pages)]
        for page in pages:
            header, lines = page.table()
            parts += [f'<a id="{page.topic}"></a>\n\n### {page.title}', page.text.strip("\n")]
            parts += [f"![{page.title}](gallery/{page.topic}.png)", as_table([header, *lines])]
    return "\n\n".join(parts) + "\n"


def as_html(chapters):
    links, sections = "", ""
    for title, pages in chapters.items():
        name = html.escape(title)
        items = "".join(
            f'<li><a href="#{page.topic}">{html.escape(page.title)}</a> ({held([page])})</li>' for page in pages
        )
        links += f"<h3>{name}</h3><ol>{items}</ol>"
        sections += f'<h2 id="{anchor(title)}">{name}</h2>\n' + "\n".join(map(section, pages)) + "\n"
    introduction = html.escape(INTRODUCTION)
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>jaxnn: gallery</title>\n<style>{STYLE}</style>\n'
        f"<h1>jaxnn: gallery</h1>\n<p>{introduction}</p>\n<nav>{links}</nav>\n{sections}</html>\n"
    )


def section(page):
    header, lines = page.table()
    picture = base64.b64encode(page.figure.read_bytes()).decode()
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join(
        f'<tr class="{line[0]}">' + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>"
        for line in lines
    )
    words = "".join(paragraph(block) for block in page.text.strip("\n").split("\n\n"))
    title = html.escape(page.title)
    return (
        f'<section id="{page.topic}">\n<h3>{title}</h3>\n{words}\n<div>\n'
        f'<img src="data:image/png;base64,{picture}" alt="{title}">\n'
        f"<table><tr>{head}</tr>{body}</table>\n</div>\n</section>"
    )


def paragraph(text):
    """Indented lines, equations and commands, stay as they are."""
    if text.startswith("    "):
        return f"<pre>{html.escape(text)}</pre>"
    return f"<p>{html.escape(text)}</p>"


INTRODUCTION = (
    "Each experiment states a claim of the notes, or its correction, predicts numbers with intervals, and fails where "
    "it measures others. Intervals are those of theory, of 99.9 % over seeds, or, in steps_and_batch_size, "
    "rate_and_batch_size and edge_of_stability, of published findings too. Every script imports jaxnn as a user would. "
    "Predictions were committed before the first full run, and not all of them held: in exploding, "
    "batch_norm_explosion, deep_dense and article_recipe some were restated, in steps_and_batch_size one statistic "
    "took another's place, in three_loops a claim about seconds was dropped, and the designs of edge_of_stability, "
    "rate_and_batch_size, overfitting, weight_decay, pixel_shuffle, deep_dense, steps_and_batch_size, "
    "finite_differences and gradient_defects (rates, strengths, steps, windows, numbers of seeds) were changed, each "
    "after a failure. No failure was met by a wider interval; the history has both forms."
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=topics(), default=topics(), help="run these alone")
    parser.add_argument("--quick", action="store_true", help="the small form of each, with the committed seed alone")
    parser.add_argument(
        "--jobs", type=int, default=1, help="how many run at once; their times are then of a busy machine"
    )
    parser.add_argument("--pages", action="store_true", help="run nothing: write the pages from what is in the folder")
    parser.add_argument("--output", type=Path, help="docs/, or runs/gallery/ with --quick")
    options = parser.parse_args()
    if options.output is None:
        options.output = HERE.parents[1] / ("runs/gallery" if options.quick else "docs")
    folder = options.output / "gallery"
    folder.mkdir(parents=True, exist_ok=True)
    chosen = () if options.pages else options.only
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = list(pool.map(lambda topic: experiment(topic, folder, options.quick), chosen))
    failed = [topic for topic, holds in zip(chosen, outcomes, strict=True) if not holds]
    chapters = read(folder)
    (options.output / "gallery.md").write_text(as_markdown(chapters))
    (options.output / "gallery.html").write_text(as_html(chapters))
    print(f"\n{options.output / 'gallery.html'}: {sum(map(len, chapters.values()))} experiments")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
