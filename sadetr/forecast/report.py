"""The forecast as text."""

import itertools
from collections.abc import Iterator, Sequence

from sadetr.columns import columns
from sadetr.forecast.summary import Forecast, Part, Sum

NO_LINE = "-"


def report(forecast: Forecast, target: str, seeds: str) -> Iterator[str]:
    """Lines of text: hours by method and by table, memory, disk, and what all of it rests on."""
    yield f"{target}: {forecast.runs} distinct runs with seeds={seeds}"
    yield from _devices(forecast)
    yield ""
    yield from columns(_rows("method", forecast.methods, forecast))
    yield ""
    yield from columns(_rows("table or figure", forecast.experiments, forecast))
    yield "new: runs that no table above has; steps and hours are theirs."
    yield ""
    yield from _memory(forecast)
    yield from _disk(forecast)
    yield ""
    yield from _basis(forecast)


def _devices(forecast: Forecast) -> Iterator[str]:
    for number, device in enumerate(forecast.devices, 1):
        total = forecast.total.seconds[device]
        yield f"  [{number}] {device}: {_hours(total)} hours, one run after another{_missing(total)}"
    if not forecast.devices:
        yield "  hours: no recorded line fits these networks, so no figure"
    if all(device.startswith("cpu") for device in forecast.devices):
        yield "  GPU: no recorded line, so no figure; `make benchmark-gpu` measures where there is one"


def _rows(title: str, parts: Sequence[Part], forecast: Forecast) -> list[list[str]]:
    hours = [f"hours [{number}]" for number in range(1, len(forecast.devices) + 1)]
    rows = [[title, "runs", "new", "steps", *hours]]
    for part in (*parts, forecast.total):
        times = [_hours(part.seconds[device]) for device in forecast.devices]
        rows.append([part.name, f"{part.runs}", f"{part.new}", f"{part.steps:,}", *times])
    return rows


def _hours(total: Sum) -> str:
    """In hours; a bound where there are runs without a figure."""
    if total.unknown and not total.known:
        return NO_LINE
    hours = total.value / 3600
    return ("> " if total.unknown else "") + (f"{hours:,.1f}" if hours >= 10 else f"{hours:.2f}")


def _missing(total: Sum) -> str:
    return f"; {total.unknown} runs have no recorded line and are left out" if total.unknown else ""


def _memory(forecast: Forecast) -> Iterator[str]:
    for number, (device, methods) in enumerate(forecast.memory.items(), 1):
        known = {method: mib for method, mib in methods.items() if mib is not None}
        what = "of the process" if device.startswith("cpu") else "of the GPU"
        if not known:
            yield f"memory [{number}]: no recorded line, so no figure"
            continue
        largest = max(known, key=lambda method: known[method])
        without = [method for method in methods if method not in known]
        missing = f"; no recorded line of {', '.join(without)}" if without else ""
        yield f"memory [{number}]: up to {known[largest]:,.0f} MiB {what} ({largest}){missing}"
        if forecast.stores and not device.startswith("cpu"):
            setting = max(forecast.stores, key=lambda setting: forecast.stores[setting])
            yield (
                f"memory [{number}]: and up to {forecast.stores[setting] / 2**20:,.0f} MiB of the GPU for features "
                f"({setting}), where they fit (docs/placement.md)"
            )


def _disk(forecast: Forecast) -> Iterator[str]:
    kept = forecast.kept
    if kept.known:
        bound = f"; {kept.unknown} runs have no recorded line" if kept.unknown else ""
        yield f"disk, run folders: {kept.value / 2**30:,.1f} GiB{bound}"
    else:
        yield "disk, run folders: no recorded line fits these networks, so no figure"
    for setting, size in forecast.stores.items():
        yield f"disk, features of {setting}: {size / 2**30:,.1f} GiB as they are prepared; the archives come on top"


def _basis(forecast: Forecast) -> Iterator[str]:
    for setting, place in forecast.counted_in.items():
        yield f"queries of {setting}: counted in {place}"
    yield "recorded lines used:" if forecast.basis.lines else "recorded lines used: none"
    yield from (f"  {text}" for text in _ranges(list(forecast.basis.lines)))
    yield "extrapolated:"
    yield "  other machines, and this one under other load, are faster or slower than where the lines were recorded"
    for text in forecast.basis.assumed:
        yield f"  {text}"


def _ranges(lines: Sequence[str]) -> Iterator[str]:
    """Lines by their file: ``scorer.cpu.jsonl (1-3, 7)``."""
    numbers: dict[str, list[int]] = {}
    for line in lines:
        file, _, number = line.rpartition(":")
        numbers.setdefault(file, []).append(int(number))
    for file, found in sorted(numbers.items()):
        # Neighbouring numbers have the same distance from their place.
        runs = itertools.groupby(enumerate(sorted(found)), lambda pair: pair[1] - pair[0])
        spans = [[number for _, number in run] for _, run in runs]
        yield f"{file} ({', '.join(f'{span[0]}-{span[-1]}' if span[1:] else f'{span[0]}' for span in spans)})"
