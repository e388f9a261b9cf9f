"""Costs of each arm: counts and measured times of the generators that were judged."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frugan.comparison.planning.arms import Arm
from frugan.comparison.running.measured import Measured, Planned
from frugan.comparison.running.workshop import Workshop

LATENCY_BATCHES = (1, 64)
"""The batch sizes for which the time of an image is measured."""


def measure_costs(
    arms: Sequence[Arm], planned: Planned, measured: Measured, workshop: Workshop
) -> dict[str, Any]:
    """Count and time each arm's trained generator, on the device of the evaluation, alternately (A B A B ...).

    If a runtime was asked for, the exported generators are measured there in the same way.

    The generator is that of the first run with values; else of a run that did not train, since it costs the same.
    """
    from frugan import artefact, build, exporting
    from frugan import costs as counted
    from frugan.engine.precision import choose_device

    chosen = choose_device(workshop.evaluation.get("device"))
    calls: dict[str, tuple[Any, ...]] = {}
    folders: dict[str, Path] = {}
    paid: dict[str, dict[str, Any]] = {
        arm.name: {"generator": None, "latency": {}, "file_bytes": None} for arm in arms
    }
    for arm in arms:
        nets = build.networks(arm.recipe)
        paid[arm.name]["parameters"] = {name: counted.parameters(net) for name, (net, _) in nets.items()}
        runs = measured[arm.name]
        usable = [seed for seed, run in runs.items() if run["failed"] is None]
        usable += [seed for seed, run in runs.items() if run["untrained"]]
        if not usable:
            continue
        seed = usable[0]
        folders[arm.name] = planned[arm.name, seed].folder
        generator = artefact.open_shipped(folders[arm.name], device=chosen)
        calls[arm.name] = (generator.module, *generator.inputs())
        paid[arm.name]["generator"] = counted.cost(*calls[arm.name]).as_dict()
        paid[arm.name]["cost_of"] = {
            "generator": generator.weights_hash, "weights": "averaged" if generator.config["averaged"] else "live",
            "device": chosen.type,
        }  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            generator.save(folder)
            paid[arm.name]["file_bytes"] = (Path(folder) / "model.safetensors").stat().st_size
    workshop.say("Measuring how long each generator takes.")
    for name, times in counted.latencies(calls, batches=LATENCY_BATCHES).items():
        paid[name]["latency"] = {str(time.batch): time.as_dict() for time in times}
    if workshop.runtime is not None:
        workshop.say(f"Measuring the exported generators in {workshop.runtime}.")
        networks = {name: artefact.open_shipped(folder) for name, folder in folders.items()}  # exported on the CPU
        for name, cost in exporting.in_runtime(networks, workshop.runtime, skipped=workshop.say).items():
            paid[name]["runtime"] = cost.as_dict()
    return paid


def find_unlike(arm: Mapping[str, Any], primary: str) -> list[str]:
    """Reasons why cost and quality cannot stand in one row: other weights, precision or device. Empty if none.

    `primary` is the metric that stands for quality.
    """
    cost, latency = arm.get("cost_of"), arm["latency"].get("1")
    if cost is None or latency is None:
        return []
    protocols = [run["values"][primary]["protocol"] for run in arm["runs"].values() if primary in run["values"]]
    if not protocols:
        return []
    lines = []
    # A protocol of two translators, one for each direction, names both; the first one is counted.
    if not any(cost["generator"] in protocol["generator"].split() for protocol in protocols):
        lines.append(f"cost is that of the weights {cost['generator']}, which were not judged")
    for what, of_cost, of_quality in (
        ("weights", cost["weights"], protocols[0]["weights"]),
        ("precision", latency["precision"], protocols[0]["precision"]),
        ("device", cost["device"], protocols[0].get("device", cost["device"]).partition(":")[0]),
    ):
        if of_cost != of_quality:
            lines.append(f"{what}: cost with {of_cost}, quality with {of_quality}")
    return lines
