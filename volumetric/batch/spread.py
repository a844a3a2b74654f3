"""The spread of a batch command over processes, machines and shards; the subjects and the results are the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from pydantic_core import to_jsonable_python

from volumetric.batch.shards import ALL, Journal, Shard, held, held_to_merge, merged
from volumetric.batch.subjects import ItemT, LoadedT, Outcome, RecordT, ResultT, SubjectTask, run_subjects
from volumetric.outputs import hash_json
from volumetric.records.shards import ShardCall

Arguments = Mapping[str, object]
"""Of the front door of a command, by name."""


class SpreadTask(SubjectTask[ItemT, LoadedT, ResultT, RecordT], Protocol[ItemT, LoadedT, ResultT, RecordT]):
    """The work on one subject where the subjects may be spread, and be counted and measured before."""

    def recall(self, item: ItemT) -> RecordT:
        """The record of a subject that is done."""

    def inputs(self, item: ItemT) -> Mapping[str, Path]:
        """The images that `read` reads, by column; errors as `read`."""

    def into(self, out: Path) -> Self:
        """The same task with another output folder."""


@dataclass(frozen=True)
class Spread:
    """Machines and shard of a batch command.

    Attributes:
        address: of a Ray cluster, `auto` or `HOST:PORT`; None for this machine alone.
        shard: part of the cohort to do. Tables of the whole cohort are then left to the merge.
        merge: do no subject, and take the outcomes that all shards wrote.
    """

    address: str | None = None
    shard: Shard = ALL
    merge: bool = False

    @property
    def is_whole(self) -> bool:
        """True where all subjects have ended in the end, so that tables of the whole cohort can be written."""
        return self.shard == ALL

    @property
    def is_dry(self) -> bool:
        """True where nothing may be written."""
        return False

    @contextmanager
    def held(self, out: Path) -> Iterator[None]:
        """Hold what is written; errors as `shards.held` and `shards.held_to_merge`."""
        with held_to_merge(out) if self.merge else held(out, self.shard):
            yield

    def own(self, items: Sequence[ItemT]) -> list[ItemT]:
        """The subjects that are done here."""
        return [items[position] for position in self.shard.positions(len(items))]

    def run(
        self,
        task: SpreadTask[ItemT, LoadedT, ResultT, RecordT],
        items: Sequence[ItemT],
        *,
        out: Path,
        command: str,
        arguments: Arguments,
        jobs: int | None,
        usual: int,
        gb_each: float,
        overlap: bool = False,
    ) -> list[Outcome[RecordT]]:
        """Do a task for each subject of the shard, or recall what all shards did; `held` must hold the folder.

        Args:
            task: what to do.
            items: the subjects of the whole cohort.
            out: the output folder.
            command: name of the command, which is the title of the progress bar.
            arguments: of the command's front door that a merge calls it with again; relative paths become absolute.
            jobs: subjects at a time; None takes `usual`, or in a cluster one for each core.
            usual: default number of jobs on this machine.
            gb_each: memory of a subject.
            overlap: as in `run_subjects`.

        Returns:
            One outcome per subject of the shard, in the subjects' order.

        Raises:
            ShardError: as `Journal` and `merged`.
        """
        names = [task.name(item) for item in items]
        call = ShardCall(
            command=command,
            arguments=to_jsonable_python(_absolute(arguments)),
            num_shards=self.shard.total,
            num_subjects=len(items),
            subjects_sha256=hash_json(names),
        )
        if self.merge:
            return merged(out, items, task.recall, call)
        journal, positions = Journal(out, self.shard, call), self.shard.positions(len(items))
        if self.address is None:
            jobs = max(1, min(jobs or usual, len(positions)))
        return run_subjects(
            task,
            self.own(items),
            title=command,
            jobs=jobs,
            overlap=overlap and jobs == 1,
            address=self.address,
            gb_each=gb_each,
            ended=lambda number, outcome: journal.add(positions[number], outcome),
        )


HERE = Spread()
"""All subjects on this machine."""


def _absolute(value: object) -> object:
    if isinstance(value, Path):
        return value.absolute()
    if isinstance(value, Mapping):
        return {key: _absolute(entry) for key, entry in value.items()}
    return [_absolute(entry) for entry in value] if isinstance(value, list | tuple) else value
