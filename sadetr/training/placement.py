"""Where the features of a training lie, chosen by their size: on its device, in pinned memory, or in the memory map."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from sadetr.data.batches import Split
from sadetr.data.feeding import Feeder, Link, Mapped, Pinned, batch_bytes
from sadetr.data.residency import Resident, resident_bytes
from sadetr.data.store import FeatureStore
from sadetr.errors import SettingsError
from sadetr.settings import RunSettings
from sadetr.training.devices import MIB, Claim

OPTION = "execution.features"


@dataclass(frozen=True)
class Placement:
    """What can be brought to a device, and how the user wants it."""

    requested: str
    """``auto``, ``resident``, ``pinned`` or ``mapped``."""
    store: FeatureStore
    splits: Sequence[Split]
    """All that are brought there."""
    batch_size: int

    @cached_property
    def resident_mib(self) -> float:
        """Of the features that would be resident; 0 where none may be."""
        if self.requested not in ("auto", "resident"):
            return 0.0
        return resident_bytes(self.store, [split.rows for split in self.splits]) / MIB

    def feeder(self, claim: Claim) -> Feeder:
        """What gives these splits their batches on the claimed device; says on standard output which it is.

        Raises:
            SettingsError: what the user asks for does not fit, or is not to be had on this device.
        """
        mode = choose(self.requested, self.resident_mib, claim)
        if mode == "resident":
            print(f"features: {self.resident_mib:,.0f} MiB on the device, where batches are gathered", flush=True)
            return Resident.load(self.store, [split.rows for split in self.splits], claim.device)
        return self._pinned(claim) if mode == "pinned" else self._mapped("gathered from the memory map")

    def _pinned(self, claim: Claim) -> Feeder:
        largest = max(batch_bytes(self.store, split.rows, self.batch_size) for split in self.splits if len(split))
        try:
            feeder = Pinned(self.store, largest, Link(claim.device))
        except RuntimeError as error:
            reason = f"the system gives no pinned memory ({error})"
            if self.requested == "pinned":
                raise SettingsError(f"{OPTION} is 'pinned', but {reason}; set it to 'auto' or 'mapped'") from error
            return self._mapped(f"gathered from the memory map, since {reason}")
        print("features: gathered in pinned memory and copied while steps are computed", flush=True)
        return feeder

    def _mapped(self, how: str) -> Feeder:
        print(f"features: {how}", flush=True)
        return Mapped(self.store)


def other_splits(settings: RunSettings) -> list[str]:
    """Splits whose features a training reads beside those that it is trained on: watched, selected on, predicted."""
    dataset, schedule = settings.dataset, settings.training.schedule
    watched = [schedule.watched_split] if schedule.shape == "plateau" else []
    names = dict.fromkeys([*watched, *dataset.selection_splits, *dataset.report_splits])
    return [name for name in names if name in dataset.annotations]


def choose(requested: str, size: float, claim: Claim) -> str:
    """The way of ``size`` MiB of features to the claimed device.

    On a processor the memory map is as near as anything can be: its pages are in memory as soon as they were read.

    Raises:
        SettingsError: what is requested does not fit, or is not to be had on this device.
    """
    on_gpu = claim.device.type != "cpu"
    if requested == "pinned" and not on_gpu:
        raise SettingsError(
            f"{OPTION} is 'pinned', which is for a way to a GPU, and this training computes on the CPU; set it to "
            "'auto' or 'mapped'"
        )
    if requested == "resident" and size > (room := claim.features_mib if on_gpu else _free_memory()):
        beside = " beside what the training needs there (docs/placement.md)" if on_gpu else ""
        others = "'auto', 'pinned' or 'mapped', or lower runs_per_gpu" if on_gpu else "'auto' or 'mapped'"
        raise SettingsError(
            f"{OPTION} is 'resident', but the features of this run take {size:,.0f} MiB, and {max(room, 0):,.0f} are "
            f"free for them{beside}; set it to {others}"
        )
    if requested == "auto":
        near = "resident" if size <= claim.features_mib else "pinned"
        return near if on_gpu else "mapped"
    return requested


def _free_memory() -> float:
    """MiB of the machine that are free, or would be as soon as they were wanted."""
    # Few trainings ask, and all would wait for the import.
    import psutil

    return psutil.virtual_memory().available / MIB
