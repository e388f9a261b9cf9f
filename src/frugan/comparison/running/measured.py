"""What is known of each run once it is trained: values, the way there, other judges, costs."""

from __future__ import annotations

import inspect
import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from frugan import evaluation
from frugan.comparison.planning.arms import Arm
from frugan.comparison.preparing.margin import known_value, look
from frugan.comparison.running.jobs import Job

LATENCY_BATCHES = (1, 64)
ON_THE_WAY = (0.75, 0.875)
"""Where runs are looked at before their end, so that the slope over the last quarter is known."""
JUDGES = 3
"""How many independently trained ones must agree where the view learns from the very data."""

Jobs = dict[tuple[str, int], Job]
Say = Callable[[str], None]
Measured = dict[str, dict[int, dict[str, Any]]]


def once(say: Say) -> Say:
    """A line is said the first time only: every evaluation says the same but the first."""
    told: set[str] = set()

    def say_once(line: str) -> None:
        if line not in told:
            told.add(line)
            say(line)

    return say_once


def stops(images: int) -> list[int]:
    """The images at which a run of so many is looked at on its way."""
    return [int(share * images) for share in ON_THE_WAY]


def runs(
    arms: Sequence[Arm], planned: Jobs, evaluating: Mapping[str, Any], say: Say,
    accept: Callable[[Mapping[str, Any]], None],
) -> Measured:
    """Every run's facts and final values, by arm and seed; each run's values by metric go to `accept` at once."""
    from frugan.engine.health import findings
    from frugan.engine.run import RunFolder

    measured: Measured = {arm.name: {} for arm in arms}
    for (name, seed), job in planned.items():
        folder = RunFolder(job.folder)
        lines = folder.lines(folder.log)
        timed = [line for line in lines if "seconds" in line]
        facts = folder.read_json(folder.facts) if folder.facts.is_file() else {}
        run: dict[str, Any] = {
            "folder": str(job.folder.relative_to(job.folder.parents[2])),
            "failed": job.failure(),
            "retried": job.retried(),
            "threads": facts.get("threads"),
            "trained_on": f"{facts['machine']}, {facts['device']}" if facts else None,
            "images": lines[-1]["images"] if lines else 0,
            "seconds": timed[-1]["seconds"] if timed else None,
            "given": facts.get("given", {}),
            "images_per_second": timed[-1]["images"] / timed[-1]["seconds"] if timed else None,
            "findings": [{"kind": f.kind, "images": f.images, "text": f.text} for f in findings(lines)],
            "values": {},
        }
        if run["failed"] is None:
            say(f"Evaluating {job.title}.")
            values = evaluation.evaluate(folder, progress=say, **evaluating)
            run["values"] = {value["metric"]: value for value in values}
            accept(run["values"])
        measured[name][seed] = run
    return measured


def look_on_the_way(planned: Jobs, stop: int, evaluating: Mapping[str, Any], say: Say) -> None:
    """Measure every run that stands at the stop of that number, before it is trained further."""
    for job in planned.values():
        at = [*stops(job.images), job.images]
        look(job, at[stop], at[stop + 1], evaluating, say)


def add_way(measured: Measured, planned: Jobs) -> None:
    """To each run its primary values on the way, under the protocol of its last one."""
    for (name, seed), job in planned.items():
        run = measured[name][seed]
        primary = next(iter(run["values"].values()), None)
        if primary is None:
            continue
        way = []
        at = [*stops(job.images), job.images]
        for first, before in itertools.pairwise(at):
            value = known_value(job, first, before, primary)
            if value is not None:
                way.append(value)
        run["way"] = [*way, {"images": primary["images"], "number": primary["values"][primary["headline"]]}]


def add_judges(measured: Measured, planned: Jobs, evaluating: Mapping[str, Any], say: Say) -> None:
    """To each run its primary value by other judges, where the view was trained in place and takes a seed."""
    from frugan import views

    values = [run["values"] for of in measured.values() for run in of.values() if run["values"]]
    first = next(iter(values[0].values()), None) if values else None
    if first is None:
        return
    name = first["protocol"]["view"]
    if "seed" not in inspect.signature(views.find(name).build).parameters:
        return
    with evaluation.made_once():
        for (arm, run_seed), job in planned.items():
            run = measured[arm][run_seed]
            if run["failed"] is None:
                say(f"Asking {JUDGES - 1} other judges (the view {name}, other seeds) about {job.title}.")
                own: dict[str, Any] = {**evaluating, "metrics": [first["metric"]], "view": name}
                others = [
                    evaluation.evaluate(job.folder, progress=say, view_seed=seed, **own)[0] for seed in range(1, JUDGES)
                ]
                run["judges"] = [float(value["values"][value["headline"]]) for value in others]


def costs(arms: Sequence[Arm], measured: Measured, planned: Jobs, device: str | None, say: Say) -> dict[str, Any]:
    """Counts and times of each arm's trained generator, on the device of the evaluation, in turn (A B A B ...)."""
    from frugan import artefact, build
    from frugan import costs as counted
    from frugan.engine.precision import choose_device

    chosen = choose_device(device)
    calls: dict[str, tuple[Any, ...]] = {}
    found: dict[str, dict[str, Any]] = {
        arm.name: {"generator": None, "latency": {}, "file_bytes": None} for arm in arms
    }
    for arm in arms:
        nets = build.networks(arm.recipe)
        found[arm.name]["parameters"] = {name: counted.parameters(net) for name, (net, _) in nets.items()}
        seed = next((seed for seed, run in measured[arm.name].items() if run["failed"] is None), None)
        if seed is None:
            continue
        generator = artefact.open_shipped(planned[arm.name, seed].folder, device=chosen)
        calls[arm.name] = (generator.module, *generator.inputs())
        found[arm.name]["generator"] = counted.cost(*calls[arm.name]).as_dict()
        found[arm.name]["cost_of"] = {
            "generator": generator.weights_hash, "weights": "averaged" if generator.config["averaged"] else "live",
            "device": chosen.type,
        }  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            generator.save(folder)
            found[arm.name]["file_bytes"] = (Path(folder) / "model.safetensors").stat().st_size
    say("Measuring how long each generator takes.")
    for name, times in counted.latencies(calls, batches=LATENCY_BATCHES).items():
        found[name]["latency"] = {str(time.batch): time.as_dict() for time in times}
    return found


def apart(arm: Mapping[str, Any], primary: str) -> list[str]:
    """Why an arm's cost and quality may not stand in one row: network, precision or kernels that differ."""
    cost, latency = arm.get("cost_of"), arm["latency"].get("1")
    if cost is None or latency is None:
        return []
    protocols = [run["values"][primary]["protocol"] for run in arm["runs"].values() if primary in run["values"]]
    if not protocols:
        return []
    lines = []
    # Of translators of two directions, one after the other in one protocol, the first is counted.
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
