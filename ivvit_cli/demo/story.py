"""The steps of the demo: each says what it is for, shows its command, and runs that command."""

import json
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from ivvit_cli import console
from ivvit_cli.demo.datasets import DATASETS, ORDER, SHAPES, DemoSet
from ivvit_cli.errors import InputError, IvvitError

FOLDER = Path("demo")  # where the recipes `demo` and `demo-framewise` look for their shards
COMMANDS = "commands.sh"  # the commands of a tour; also tells its folder from others
VIEWS = "2x3"

CEILING = """\
Why 50 is the ceiling without time: every clip of `red-then-green` is a clip of `green-then-red`
played backwards; a model that scores the frames one by one and takes the mean gives both the same
scores, so it can be right about one of the two at most, on the clips it was trained on as well."""


class StepFailed(IvvitError):
    """A command of the demo that failed and has said why; the exit code is that command's."""

    def __init__(self, command: str, exit_code: int) -> None:
        super().__init__(f"the demo stopped at `{command}`")
        self.exit_code = exit_code


@dataclass(frozen=True)
class Tour:
    """A demo in a folder.

    Args:
        folder: gets media/, data/ (the shards), runs/ and commands.sh.
        run: runs an `ivvit` command line and returns its exit code.
        quiet: show no progress.
        iterations: of either training, instead of the recipe's.
        datasets: the four, perhaps with fewer samples.
    """

    folder: Path
    run: Callable[[Sequence[str]], int]
    quiet: bool = False
    iterations: int | None = None
    datasets: Sequence[DemoSet] = DATASETS

    @property
    def joint(self) -> str:
        """The run of the joint model."""
        return str(self.folder / "runs" / "joint")

    @property
    def framewise(self) -> str:
        """The run of its relative that sees frames one by one."""
        return str(self.folder / "runs" / "framewise")

    def tell(self) -> None:
        """Go through all the steps.

        Raises:
            InputError: the folder holds something other than an earlier demo.
            StepFailed: a command failed.
        """
        start = time.monotonic()
        clear(self.folder)
        explain(
            f"Everything goes to {self.folder}. On two idle cores this takes about two minutes."
        )
        self.draw()
        self.shard()
        self.train()
        self.evaluate()
        self.compare()
        self.predict()
        self.report()
        self.close(start)

    def draw(self) -> None:
        """Write the datasets as a user has them: files in a folder per split and class."""
        heading("1. Four small datasets, drawn as ordinary files")
        rows = []
        for dataset in self.datasets:
            folder = self.media(dataset)
            files = len(dataset.classes) * sum(dataset.per_class.values())
            with console.progress(f"drawing {dataset.name}", files, "files") as bar:
                dataset.write(folder, seed=0, done=bar.advance)
            kind = f"{dataset.suffix[1:].upper()} {dataset.kind}s"
            rows.append((str(folder), files, kind, len(dataset.classes), dataset.about))
        console.table("Files", ["folder", "files", "kind", "classes", "what is seen"], rows)

    def shard(self) -> None:
        """Convert each dataset."""
        heading("2. Convert them to shards: tar files that are read by index")
        for dataset in self.datasets:
            layout = "imagefolder" if dataset.kind == "image" else "videofolder"
            self.step("shard", layout, str(self.media(dataset)), "-o", self.shards(dataset))

    def train(self) -> None:
        """Train the joint model."""
        heading("3. Train one Vision Transformer on all four, with a head for each")
        explain("Frames pass through it as images do; TokenShift lets neighbouring frames meet.")
        self.step("train", "--recipe", "demo", "--run", self.joint, *self.overrides(), loud=True)

    def evaluate(self) -> None:
        """Evaluate it with several views."""
        heading("4. Evaluate it on held-out samples, with several views of each")
        explain(f"{VIEWS}: 2 clips of a video, 3 crops of a frame; their scores are averaged.")
        self.step("eval", self.joint, "--views", VIEWS)

    def compare(self) -> None:
        """Train the frame-wise relative and hold both against the dataset of orders."""
        heading("5. What does the order of the frames tell? Take TokenShift out and look")
        explain("The same datasets, steps and weights to start from, but no frame sees another.")
        recipe = ("--recipe", "demo-framewise")
        self.step("train", *recipe, "--run", self.framewise, *self.overrides(), loud=True)
        for run in (self.joint, self.framewise):
            for split in ORDER.per_class:
                self.step("eval", run, "--dataset", ORDER.name, "--split", split)
        rows = [
            ("joint, TokenShift", *self.accuracies(self.joint)),
            ("joint, frame-wise", *self.accuracies(self.framewise)),
        ]
        columns = ["model", *(f"top-1 {split}" for split in ORDER.per_class)]
        console.out.print()
        console.table(f"`{ORDER.name}`: only the order of the frames tells", columns, rows)
        explain(CEILING)

    def predict(self) -> None:
        """Predict on one video and one image."""
        heading("6. Predict on files")
        for dataset, label in ((ORDER, len(ORDER.classes) - 1), (SHAPES, 0)):
            file = self.media(dataset) / dataset.path("val", label, 0)
            self.step("predict", str(file), "--ckpt", self.joint, "--head", dataset.name)

    def report(self) -> None:
        """Write the joint run's page."""
        heading("7. All of it as one page")
        self.step("compare", self.framewise, self.joint)
        self.step("report", self.joint)
        explain(f"Open {self.joint}/report.html in a browser: curves, classes, mistakes, recipe.")

    def close(self, start: float) -> None:
        """Say what is there now, and what to do with it."""
        minutes, seconds = divmod(round(time.monotonic() - start), 60)
        heading("Done")
        explain(
            f"It took {minutes}:{seconds:02d} minutes. {self.folder} keeps the files (media), "
            f"the shards (data),\nboth runs (runs) and every command above ({COMMANDS}). From here:"
        )
        out = self.folder
        next_steps = (
            (f"ivvit data show {out}/data/order", "a contact sheet of the shards"),
            (f"ivvit predict {out}/media/moving/val --ckpt {self.joint}", "a whole folder"),
            ("ivvit recipe show demo", "every setting of the training"),
            ("ivvit shard imagefolder MY_PHOTOS -o data/my-photos", "a folder per class of yours"),
            ("ivvit recipe cp iv-vit-small my.yaml", "a recipe to put them in"),
        )
        width = max(len(command) for command, _ in next_steps)
        for command, purpose in next_steps:
            line = Text.assemble("  ", (f"{command:{width}}", "cyan"), f"  {purpose}")
            console.out.print(line, soft_wrap=True)
        if not shutil.which("ivvit"):
            activate = shlex.quote(f"{sys.prefix}/bin/activate")
            explain(f"First `source {activate}`, so that the shell finds ivvit.")

    def step(self, *args: str, loud: bool = False) -> None:
        """Show a command, run it, and stop the tour if it fails.

        Args:
            args: the command line after `ivvit`.
            loud: show the command's progress; else only its result.
        """
        flags = [] if loud and not self.quiet else ["-q"]
        command = shlex.join(["ivvit", *flags, *args])
        console.out.print(Text.assemble("\n", ("$ ", "dim"), (command, "cyan")), soft_wrap=True)
        with (self.folder / COMMANDS).open("a") as file:
            file.write(f"{command}\n")
        if code := self.run([*flags, *args]):
            raise StepFailed(command, code)

    def media(self, dataset: DemoSet) -> Path:
        """Return the folder of a dataset's files."""
        return self.folder / "media" / dataset.name

    def shards(self, dataset: DemoSet) -> str:
        """Return the folder of a dataset's shards."""
        return str(self.folder / "data" / dataset.name)

    def overrides(self) -> list[str]:
        """Return what has to differ from the recipe."""
        changes = []
        if self.folder != FOLDER:
            changes = [f"data.{each.name}.shards={self.shards(each)}" for each in self.datasets]
        if self.iterations:
            changes.append(f"schedule.iterations={self.iterations}")
        return changes

    def accuracies(self, run: str) -> list[str]:
        """Return a run's top-1 in percent on each split of the dataset of orders."""
        folders = [Path(run, "eval", f"{ORDER.name}-{split}-1x1") for split in ORDER.per_class]
        return [
            f"{json.loads((folder / 'metrics.json').read_text())['top1']:.1f} %"
            for folder in folders
        ]


def clear(folder: Path) -> None:
    """Make the folder, or empty it of an earlier demo.

    Raises:
        InputError: it holds something, and no demo was made there.
    """
    marker = folder / COMMANDS
    strangers = folder.is_dir() and any(folder.iterdir()) and not marker.is_file()
    if folder.is_file() or strangers:
        raise InputError(f"{folder}: is there already, and holds no demo", hint="use another --out")
    for name in ("media", "data", "runs"):
        shutil.rmtree(folder / name, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text("# The commands of `ivvit demo`, in their order.\n")


def heading(text: str) -> None:
    """Start a chapter."""
    console.out.print(Text.assemble("\n", (text, "bold")))


def explain(text: str) -> None:
    """Say a few words between the commands."""
    console.out.print(Text(text), soft_wrap=True)
