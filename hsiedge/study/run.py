"""Runs a study: cells go to workers, and what comes back is written here, by this process alone.

Model files of a cell are written first, then its row, in one transaction: a cell that has a row is whole.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hsiedge import files, nets
from hsiedge.errors import HsiedgeError, OptionError, StudyError
from hsiedge.progress import Progress
from hsiedge.scenes.scene import Scene
from hsiedge.study import measure
from hsiedge.study.cells import Failed, Made, Parent, Places, Probe, keep, make_parent, probe, run_cell
from hsiedge.study.config import Study, parse_student
from hsiedge.study.dask_pool import Pool, open_pool
from hsiedge.study.estimate import Estimate, hours
from hsiedge.study.paths import model_path, parent_path
from hsiedge.study.rows import Cell, Row
from hsiedge.study.store import NAME, ParentFacts, Store, locked
from hsiedge.training.run import torch_device

Watch = Callable[[str], AbstractContextManager[Progress]]
Say = Callable[[str], None]
MEASURING = ("yes", "no", "again", "only")


@dataclass(frozen=True)
class Plan:
    """Plan by which a study is run.

    Attributes:
        folder: where store, models and parents' checkpoints lie.
        scheduler: address of a Dask scheduler; None for processes on this machine.
        workers: how many processes; None for one a physical core.
        data_dir: searched first for catalog scenes.
        watch: shows progress.
        say: prints a line for the user.
        note: prints a finished cell.
        measuring: "yes", "no" for later, or "again" for what has been measured, too: beside other work, say. "only": no cell is
            made, and each is measured until its own warnings are silent, a few times at most.
        device: that cells are trained on: "cpu", "cuda", or "auto", by which each worker takes its GPU where it has one.
    """

    folder: Path
    scheduler: str | None
    workers: int | None
    data_dir: Path | None
    watch: Watch
    say: Say
    note: Say
    measuring: str = "yes"
    device: str = "cpu"


def run_study(study: Study, plan: Plan) -> None:
    """Runs the cells of a study that are not in its store, then measures what is not measured.

    Raises:
        StudyError: the folder is in use, its store cannot be read, or cells failed; all others have been run then.
        OptionError: fewer than one worker.
        ClusterError: a scheduler that does not answer, or has no workers.
        OutputError: the folder cannot be written to.
    """
    if plan.workers is not None and plan.workers < 1:
        raise OptionError("must be 1 or more", option="workers", value=plan.workers)
    if plan.measuring not in MEASURING:
        raise OptionError(f"choose {', '.join(MEASURING)}", option="measure", value=plan.measuring)
    if plan.scheduler is None:
        torch_device(plan.device)
    with locked(plan.folder), Store(plan.folder / NAME) as store:
        run = _Run(study, plan, store)
        try:
            run.all()
        except KeyboardInterrupt:
            plan.say(f"{run.finished()} of {len(study.cells)} cells are done and kept; the same command goes on from there")
            raise
    if run.failed:
        raise StudyError(
            f"{run.failed} of {len(study.cells)} cells failed; all else is in {plan.folder / NAME}; "
            "the same command tries them again"
        )


@dataclass
class _Tally:
    """Tally of what is done, in expected seconds of this machine; what is left is estimated by the pace so far."""

    total: float
    tick: Progress
    done: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def add(self, seconds: float) -> None:
        """Counts expected seconds as done."""
        self.done = min(self.total, self.done + seconds)
        self.tick(self.done / self.total if self.total else 1.0)

    @property
    def left(self) -> str:
        """Time left, in words."""
        pace = (time.perf_counter() - self.started) / self.done if self.done else 1.0
        return hours(pace * (self.total - self.done))


class _Run:
    """One run of a study, by the process that writes."""

    def __init__(self, study: Study, plan: Plan, store: Store) -> None:
        self._study, self._plan, self._store = study, plan, store
        own = tuple(source for source in map(nets.NETS.source, nets.NETS) if source is not None)
        self._places = Places(str(study.base), str(plan.data_dir.absolute()) if plan.data_dir else None, own, plan.device)
        self._estimate = Estimate(store)
        self._wanted = {cell.key: cell for cell in study.cells}
        self.failed = 0
        self._cost = 1.0  # of a second of a cell's making, in seconds of this run

    def finished(self) -> int:
        """Number of the study's cells that are in the store."""
        return len(self._wanted.keys() & self._store.done().keys())

    def all(self) -> None:
        """Makes cells, then measures."""
        if self._plan.measuring == "again":
            self._store.clear_timings(self._wanted)
        done = self._store.done()
        cells = [cell for cell in self._study.cells if cell.key not in done]
        self._plan.say(f"{len(self._study.cells)} cells, {len(self._study.cells) - len(cells)} of them done")
        if cells and self._plan.measuring != "only":
            self._make_and_measure(cells)
        else:
            self._measure_only()

    def _make_and_measure(self, cells: list[Cell]) -> None:
        with ExitStack() as stack:
            pool = stack.enter_context(open_pool(self._plan.scheduler, self._plan.workers))
            self._probe(pool, cells)
            self._cost = 1 / pool.workers
            total = self._expect(cells, pool.workers)
            with self._plan.watch("study") as tick:
                tally = _Tally(total, tick)
                self._make(pool, cells, tally)
                stack.close()  # no worker is left beside what is measured
                self._measure(tally)

    def _measure_only(self) -> None:
        total = self._expect([], 1)
        with self._plan.watch("measuring") as tick:
            self._measure(_Tally(total, tick))

    def _probe(self, pool: Pool, cells: list[Cell]) -> None:
        """Times some real training steps of nets that the store knows nothing of."""
        unknown = self._estimate.unknown(cells)
        if not unknown:
            return
        self._plan.say("timing some training steps of each net")
        futures = [pool.client.submit(probe, cell, self._places, pure=False) for cell in unknown]
        for cell, future in zip(unknown, futures):
            timing = _result(future)
            if isinstance(timing, Probe):  # a cell that cannot be probed fails, and says so, when its turn comes
                self._estimate.probed(cell, timing.step, timing.train, timing.test)

    def _expect(self, cells: list[Cell], workers: int) -> float:
        """Prints how long the study will take, and returns it in seconds."""
        making = self._making(cells) / workers
        unmeasured = [row.cell for row in measure.pending(self._rows(), self._patient)]
        due = [] if self._plan.measuring == "no" else [*cells, *unmeasured]
        measuring = sum(map(self._estimate.measuring, due))
        if making + measuring:
            self._plan.say(
                f"expected: {hours(making + measuring)}, {hours(making)} for {len(cells)} cells on {workers} "
                f"worker{'s' if workers != 1 else ''}, {hours(measuring)} for measuring"
            )
        return making + measuring

    def _making(self, cells: list[Cell]) -> float:
        """Seconds of making cells, and the parents that have a row and no checkpoint any more."""
        among = {cell.key for cell in cells}
        lost = {cell.parent.key: cell.parent for cell in cells if cell.parent.key not in among and self._kept(cell) is None}
        return sum(map(self._estimate.seconds, (*cells, *lost.values())))

    def _make(self, pool: Pool, cells: list[Cell], tally: _Tally) -> None:
        """Submits all cells, and stores what comes back in the order in which it comes."""
        from distributed import as_completed

        run = uuid.uuid4().hex[:8]  # a cluster that outlives this run must not answer with another's results
        parents: dict[str, Any] = {}
        submitted: dict[Any, Cell] = {}
        trained: dict[Any, Cell] = {}
        for place, cell in enumerate(cells):
            parent, order = cell.parent, {"priority": -place, "pure": False}
            if parent.key not in parents:
                kept, name = self._kept(parent), f"parent-{parent.key[:16]}-{run}"
                if kept is None:
                    parents[parent.key] = pool.client.submit(make_parent, parent, self._places, key=name, **order)
                    trained[parents[parent.key]] = parent
                else:
                    parents[parent.key] = pool.client.submit(keep, kept, key=name, **order)
            name = f"cell-{cell.key[:16]}-{run}"
            submitted[pool.client.submit(run_cell, cell, parents[parent.key], self._places, key=name, **order)] = cell
        completed = as_completed([*trained, *submitted])
        for future in completed:
            if future in trained:
                self._keep_parent(trained[future], _result(future))
            else:
                self._keep_cell(submitted.pop(future), _result(future), tally)
            future = None  # the scheduler forgets what nobody holds

    def _kept(self, cell: Cell) -> Parent | None:
        """Parent that was trained before, as its file has it; None where the file is missing, or another."""
        facts, path = self._store.parent(cell.parent.key), parent_path(self._plan.folder, cell)
        if facts is None or not path.is_file() or files.digest(path) != facts.sha256:
            return None
        return Parent(path.read_bytes(), facts.seconds)

    def _keep_parent(self, cell: Cell, parent: Any) -> None:
        if not isinstance(parent, Parent):
            return  # each of its cells will say so
        path = parent_path(self._plan.folder, cell)
        files.write_bytes(path, parent.checkpoint)
        self._store.put_parent(cell.key, ParentFacts(files.digest(path), parent.seconds))

    def _keep_cell(self, cell: Cell, outcome: Any, tally: _Tally) -> None:
        tally.add(self._estimate.seconds(cell) * self._cost)
        if not isinstance(outcome, Made):
            failure = outcome if isinstance(outcome, Failed) else Failed(f"{outcome!r} came back", "")
            self.failed += 1
            self._store.put_failure(cell, failure.reason, failure.trace)
            self._plan.say(f"failed: {cell.title}: {failure.reason}")
            return
        for precision, model in outcome.models.items():
            files.write_bytes(model_path(self._plan.folder, cell, precision), model)
        self._store.put_parts(outcome.row.split_digest, outcome.parts)
        self._store.put(outcome.row)
        scores = ", ".join(f"{form.precision} OA {form.oa:.2f} %" for form in outcome.row.forms)
        self._plan.note(
            f"{self.finished()}/{len(self._study.cells)} {cell.title}: {scores} ({outcome.row.seconds:.0f} s); "
            f"{tally.left} left"
        )

    @property
    def _patient(self) -> bool:
        return self._plan.measuring == "only"

    def _rows(self) -> list[Row]:
        return [row for row in self._store.rows() if row.cell.key in self._wanted]

    def _measure(self, tally: _Tally) -> None:
        """Measures what is not measured yet. Files that are missing here cannot be; that is no failure of their cells."""
        if self._plan.measuring == "no":
            return
        rows = measure.pending(self._rows(), self._patient)
        here = [row for row in rows if measure.present(row, self._plan.folder, self._patient)]
        if len(here) < len(rows):
            self._plan.say(f"not measured, for their files are not in {self._plan.folder}: {len(rows) - len(here)} cells")
        for place, row in enumerate(here):
            try:
                measure.measure(row, self._plan.folder, self._store, self._patient)
            except HsiedgeError as error:
                self.failed += 1
                self._plan.say(f"failed: measuring {row.cell.title}: {error}")
                continue
            tally.add(self._estimate.measuring(row.cell))
            self._plan.note(f"measured {place + 1}/{len(here)} {row.cell.title}; {tally.left} left")


def _result(future: Any) -> Any:
    """Result of a task; where Dask itself gave it up, the failure."""
    try:
        return future.result()
    except Exception as error:  # a process that died, or a cluster that is gone
        if type(error).__name__ == "KilledWorker":
            return Failed("the processes that ran it died, again and again (out of memory?)", "")
        return Failed(f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}", "")


def check(study: Study, scenes: Iterable[Scene]) -> None:
    """Builds each net on each of the study's scenes once, so that widths that do not go together are reported at once.

    Raises:
        OptionError: a net, patch or widths that cannot be.
    """
    opened = dict(zip(study.scenes, scenes))
    shapes = {str((cell.scene, shape)): (opened[cell.scene], shape) for cell in study.cells for shape in _shapes(cell)}
    for scene, (net, patch, options) in shapes.values():
        nets.build(net, scene.bands, max(2, len(scene.classes)), patch, **options)


def _shapes(cell: Cell) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Net, patch and options of what a cell trains."""
    yield cell.net, cell.patch, cell.net_options
    if cell.method == "distill":
        student = parse_student(cell.level)
        spec = nets.spec(student.net)
        patch = student.patch or (cell.patch if cell.patch >= spec.min_patch else spec.patch)
        yield student.net, patch, {} if student.widths is None else {"widths": student.widths}
