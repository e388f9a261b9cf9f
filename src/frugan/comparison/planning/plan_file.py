"""The plan file: written before the first run, and completed before the first run of the test.

It holds what the user asked for. What must be measured first (controls, budgets in seconds, the margin) is added under
``fixed`` before any run of the test begins. So nothing in it can follow from the test's results:

    until the first run begins             another plan replaces it
    until the first value is known         how runs are evaluated may change; plan_changes records it
    after that                             it does not change

The plan does not say how many runs are trained at a time, on which device, how often they are measured while they
train (`evaluate_every`), or in which further `runtime`.

A comparison with too few seeds for a verdict may use runs that were trained before there was a plan. They are put into
its folder, and the plan says that it came after them.

All arms are computed in the same way. What "auto" means for kernels and precision depends on the machine and on the
length of a run, and arms, pilots and trials may have different lengths. So it is decided once, for the baseline, and
the plan keeps the decision.

The plan knows the content of the data. If the same images are given by another path, it goes on with that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from frugan import claims, files, intervals, owncode
from frugan.comparison.planning.arms import Arm
from frugan.comparison.running.job import Job
from frugan.engine.run import RunFolder
from frugan.owncode import CodeFile
from frugan.recipe import differences, from_dict, from_run, to_dict
from frugan.registry import UserError
from frugan.training import DECIDED, contents, decided_in, settle

if TYPE_CHECKING:
    from frugan.comparison.planning import Design

ADDED = (
    "format", "fixed", "controls", "tuning", "trained_before", "primary", "code", "code_changes", "plan_changes",
    "data", *DECIDED,
)  # fmt: skip
"""Entries of a plan that the user does not type: they are added later, or follow from the rest."""

EVALUATION = ("metrics", "view", "count", "reference", "allow_few")
"""How runs are evaluated. This may change as long as no value is known."""

MARGIN = ("margin", "pilot_seeds")
"""How the margin is found. This may change as long as neither a value nor the margin is known."""

TUNING = "tuning/*/*"
BEFORE = ("pilots/*", "trials/*", TUNING)
"""Where the runs before the test are: pilots, trials of speed, and trials of the arms' settings."""


@dataclass
class PlanFile:
    """The plan of the comparison in `folder`; `content` is what its ``plan.json`` holds."""

    folder: RunFolder
    content: dict[str, Any]

    @property
    def controls(self) -> Mapping[str, Any] | None:
        """The controls, once they are known and until they are part of `fixed`."""
        return self.content.get("controls")

    @property
    def tuning(self) -> dict[str, Any] | None:
        """The trials of the arms and their values so far, until they are part of `fixed`."""
        return self.content.get("tuning")

    @property
    def fixed(self) -> Mapping[str, Any] | None:
        """What was measured before the test. None until then."""
        return self.content.get("fixed")

    @property
    def code_options(self) -> list[str]:
        """The options for the user's own code in the command of a job. The user has already allowed that code."""
        named = [word for one in self.content.get("code", ()) for word in ("--code", one["path"])]
        return [*named, *(["--allow-changed-code"] if self.content.get("code_changes") else [])]

    def settle(self, arms: Sequence[Arm]) -> list[Arm]:
        """The arms with what "auto" means in this plan. Where an older plan does not say, each run decides."""
        return _settle(arms, {name: self.content[name] for name in DECIDED if name in self.content})

    def forget_failures(self) -> None:
        """Forget which runs failed before the test (pilots, trials of both kinds), so that they are trained again.

        `complete` keeps why they had failed.

        If a trial of an arm failed, the best trial of that arm is chosen again too. That is too late once there are
        controls, since they cost as much as the tuned arms.
        """
        if self.fixed is not None:
            return
        kinds = [kind for kind in BEFORE if kind != TUNING or self.controls is None]
        for job in self._marked(kinds, ".failed.json"):
            job.retry()
        for of in (self.tuning or {}).get("arms", {}).values() if TUNING in kinds else ():
            if any(facts.get("why") for facts in of["tried"]):
                of.pop("chosen", None)

    def write_arms(self, arms: Sequence[Arm]) -> None:
        """Write each arm's recipe to ``arms/``. Its runs read it there."""
        for arm in arms:
            self.folder.write_json(self.folder.path / "arms" / f"{arm.folder}.json", to_dict(arm.recipe))

    def add_controls(self, made: Sequence[Arm], matched: Sequence[Mapping[str, Any]]) -> None:
        """Save the controls, so that a comparison that is killed and continued keeps them. (Times would differ.)"""
        self.content["controls"] = {"arms": _describe_arms(made), "matched": list(matched)}
        self._write()

    def keep_tuning(self, tuning: Mapping[str, Any]) -> None:
        """Save the trials of the arms: before the first one what will be tried, afterwards also what was chosen."""
        self.content["tuning"] = json.loads(json.dumps(tuning))
        self._write()

    def complete(self, arms: Sequence[Arm], fixed: Mapping[str, Any]) -> None:
        """Add what was measured before the test and the final recipes of all arms; write those to ``arms/`` too."""
        self.write_arms(arms)
        for key in ("controls", "tuning"):
            self.content.pop(key, None)
        self.content["fixed"] = {**fixed, "retried": self._find_retried(), "arms": _describe_arms(arms)}
        self._write()

    def _find_retried(self) -> dict[str, str]:
        """Why each run before the test that was trained once more had failed, by its place in the folder."""
        return {
            job.folder.relative_to(self.folder.path).as_posix(): why
            for job in self._marked(BEFORE, ".retried.json") if (why := job.why_retried()) is not None
        }

    def _marked(self, kinds: Sequence[str], ending: str) -> list[Job]:
        """The runs of these kinds that have a file of this ending beside them; their commands are not known here."""
        marks = sorted(mark for kind in kinds for mark in self.folder.path.glob(f"{kind}{ending}"))
        return [Job("", mark.with_name(mark.name.removesuffix(ending)), (), 0) for mark in marks]

    def read_controls(self) -> list[Arm]:
        """The controls that the plan holds."""
        return _read_arms(self.content["controls"])

    def read_fixed_arms(self) -> list[Arm]:
        """The final arms that the plan holds."""
        return _read_arms(self.content["fixed"])

    def _write(self) -> None:
        kept = {key: value for key, value in self.content.items() if key != "format"}
        self.folder.write_json(self.folder.path / "plan.json", kept)


class _ArmRecord(TypedDict):
    name: str
    recipe: dict[str, Any]


class _Arms(TypedDict):
    arms: list[_ArmRecord]


class Plan(TypedDict):
    """What plan.json holds, as far as others read it."""

    seeds: list[int]
    arms: dict[str, dict[str, Any]]
    fixed: _Arms
    controls: _Arms


def read_plan(folder: Path) -> dict[str, Any]:
    """What ``plan.json`` holds. Raises UserError if it is missing, damaged, or holds something else than a plan."""
    plan = RunFolder(folder).read_json(folder / "plan.json")
    files.check(plan, Plan, str(folder / "plan.json"))
    return plan


def is_planned(folder: Path) -> bool:
    """Whether there is a plan in a folder."""
    return (folder / "plan.json").is_file()


def keep_plan(
    folder: RunFolder, design: Design, decided: Mapping[str, str], code: Sequence[CodeFile], allow_changed_code: bool,
    say: Callable[[str], None],
) -> PlanFile:  # fmt: skip
    """Write the plan, or continue the one in the folder.

    Args:
        decided: what "auto" means in all arms, unless runs that were trained before were computed in another way.
        code: the user's own files.
        allow_changed_code: continue even if these have changed. The plan records it.

    Raises:
        UserError: the folder holds another plan that may no longer change, or other code. It says what to type.
    """
    plan = {**json.loads(json.dumps(describe_design(design))), **decided}
    plan["code"] = [one.as_dict() for one in code]
    plan["data"] = _contents(design.arms)
    if is_planned(folder.path):
        before = _found_again(folder, read_plan(folder.path), plan)
        apart = find_differences(before, plan)
        if apart and not _runs_of(folder.path):
            say(f"No run had begun, so the new plan replaces the old one ({_list(apart)}).")
            for arm in folder.path.glob("arms/*.json"):
                arm.unlink()
            folder.write_json(folder.path / "plan.json", plan)
            return PlanFile(folder, plan)
        if apart:
            before = _change(folder, before, plan, apart, say)
        return PlanFile(folder, _with_code(folder, before, code, allow_changed_code))
    _check_folder(folder.path)
    there = sorted(path.relative_to(folder.path).as_posix() for path in folder.path.glob("runs/*/*") if path.is_dir())
    if there:
        if design.gives_verdicts:
            raise UserError(
                f"{folder.path} holds runs that were trained before there was a plan ({there[0]}). For a verdict, the "
                "plan must come first: give another --out. Or give fewer than five --seeds: then these runs are used, "
                "and you get a direction but no verdict."
            )
        if design.settings["tune"] is not None:
            raise UserError(
                f"{folder.path} holds runs that were trained before ({there[0]}), but --tune must choose the settings "
                "before the first run. Give another --out, or leave --tune out."
            )
        decided = {**decided, **_decided_before(folder.path, design.arms)}
        plan |= decided
        check_runs(folder.path, _settle(design.arms, decided), design.settings["seeds"], plan)
        plan["trained_before"] = there
    folder.write_json(folder.path / "plan.json", plan)
    return PlanFile(folder, plan)


def describe_design(design: Design) -> dict[str, Any]:
    """What a plan holds of a design, ready for JSON."""
    return {"arms": {arm.name: to_dict(replace(arm.recipe, seed=0)) for arm in design.arms}, **design.settings}


def _settle(arms: Sequence[Arm], decided: Mapping[str, str]) -> list[Arm]:
    """The arms with what "auto" means in all of them."""
    return [replace(arm, recipe=settle(arm.recipe, decided)) for arm in arms]


def _check_folder(folder: Path) -> None:
    if any(item.name != "runs" and not claims.is_claim(item) for item in folder.iterdir()):
        raise UserError(f"{folder} holds files that do not belong to a comparison. Give another --out.")


# --------------------------------------------------------------------------------------------------------- another plan


def _contents(arms: Sequence[Arm]) -> dict[str, dict[str, str]]:
    """For each arm, the hash of what each of its streams is given. Data that arms share are opened once."""
    asked = {arm.name: repr((arm.recipe.game.name, arm.recipe.data, arm.recipe.streams)) for arm in arms}
    known = {asked[arm.name]: arm.recipe for arm in arms}
    hashes = {data: contents(recipe) for data, recipe in known.items()}
    return {name: hashes[data] for name, data in asked.items()}


def _found_again(folder: RunFolder, before: dict[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The plan with its sources as they are named now, where what they hold is the same."""
    known, instead = before.get("data", {}), {}
    for name in before["arms"].keys() & now["arms"].keys():
        if known.get(name) == now["data"][name]:
            then, today = (from_dict(plan["arms"][name], where=f"the plan's arm '{name}'") for plan in (before, now))
            instead |= {then.data_of(stream).source: today.data_of(stream).source for stream in known[name]}
    if any(one != other for one, other in instead.items()):
        before = _respelt(before, instead)
        for path in (folder.path / "plan.json", *folder.path.glob("arms/*.json")):
            folder.write_json(path, _respelt(folder.read_json(path), instead))
    return before


def _respelt(value: Any, instead: Mapping[str, str]) -> Any:
    """A plan, or a part of it, with other sources in all of its recipes."""
    if isinstance(value, list):
        return [_respelt(one, instead) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: instead.get(one, one) if key == "source" and isinstance(one, str) else _respelt(one, instead)
        for key, one in value.items()
    }


class Difference(NamedTuple):
    """One setting in which two plans differ.

    Args:
        setting: its name; "arms" if the arms differ.
        line: ``setting: old -> new``, for people.
        typed: what to type to get the old value; empty for arms.
    """

    setting: str
    line: str
    typed: str


def find_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """All settings in which two plans differ."""
    apart = []
    if list(before["arms"]) != list(now["arms"]):
        apart.append(Difference("arms", f"arms: {', '.join(before['arms'])} -> {', '.join(now['arms'])}", ""))
    for name in before["arms"].keys() & now["arms"].keys():
        one, other = (from_dict(plan["arms"][name], where=f"the plan's arm '{name}'") for plan in (before, now))
        lines = differences(one, other)
        held = [plan.get("data", {}).get(name) for plan in (before, now)]
        if None not in held and held[0] != held[1] and not any(".source: " in line for line in lines):
            lines.append(f"{one.data.source} holds other images")
        apart += [Difference("arms", f"{name}: {line}", "") for line in lines]
    for key in sorted((before.keys() | now.keys()) - {"arms", *ADDED}):
        then, today = before.get(key), now.get(key)
        if then != today:
            apart.append(Difference(key, f"{key}: {then} -> {today}", _option(key, then)))
    return apart


def _option(key: str, value: Any) -> str:
    """The option that gives a setting this value."""
    name = f"--{key.replace('_', '-')}"
    if value is None or value == []:
        return f"leave out {name}"
    return f"{name} {','.join(map(str, value)) if isinstance(value, list) else value}"


def _list(apart: Sequence[Difference]) -> str:
    return "; ".join(one.line for one in apart)


def _change(
    folder: RunFolder, before: dict[str, Any], now: Mapping[str, Any], apart: Sequence[Difference],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Change the existing plan where it may still change. Raises UserError if more than that differs."""
    known = _find_value(folder.path)
    may_change = {*EVALUATION, *(() if "fixed" in before else MARGIN)}
    if known is None and {one.setting for one in apart} <= may_change:
        changes = [*before.get("plan_changes", ()), {"changes": [one.line for one in apart]}]
        changed = {**before, **{key: now.get(key) for key in (*may_change, "primary")}, "plan_changes": changes}
        say(f"No value is known yet, so the plan may change: {_list(apart)}. The plan records it.")
        folder.write_json(folder.path / "plan.json", {k: value for k, value in changed.items() if k != "format"})
        return changed
    why = "Its runs have begun" if known is None else f"Some of its values are known ({known})"
    typed = [one.typed for one in apart if one.typed]
    if len(typed) < len(apart):
        typed.insert(0, "the same arms as before")
    reuse = ""
    if len(before["seeds"]) < intervals.SEEDS_FOR_A_VERDICT and "arms" not in {one.setting for one in apart}:
        reuse = f"; you may move {folder.path / 'runs'} there, and its runs are evaluated again"
    raise UserError(
        f"{folder.path} holds a comparison with another plan ({_list(apart)}). To continue it, type: "
        f"{', '.join(typed)}. To compare something else, give another --out{reuse}. {why}, so its plan cannot change "
        "any more: results must not decide what is compared."
    )


def _runs_of(folder: Path) -> list[Path]:
    """The folders of all runs that have begun: runs of the test, pilots, and trials of both kinds."""
    return [path for kind in ("runs/*/*", *BEFORE) for path in folder.glob(kind) if path.is_dir()]


def _find_value(folder: Path) -> str | None:
    """A run that has been measured, also while it trained, of the test or before it; None if there is none."""
    from frugan.engine.run import RunFolder
    from frugan.evaluation.while_training import values_of

    for path in sorted(_runs_of(folder)):
        run = RunFolder(path)
        if run.lines(run.metrics) or values_of(run):
            return path.relative_to(folder).as_posix()
    return None


def _with_code(
    folder: RunFolder, plan: dict[str, Any], code: Sequence[CodeFile], allow_changed: bool
) -> dict[str, Any]:
    """Add the present code to the existing plan. Raises UserError if it has changed and that is not allowed."""
    now = [one.as_dict() for one in code]
    if "code" in plan:  # plans of before do not say
        before = owncode.listed(plan["code"])
        changed = owncode.changes(before, code)
        if changed and not allow_changed:
            owncode.refuse_changes(before, code, str(folder.path))
        if changed:
            plan["code_changes"] = [*plan.get("code_changes", ()), {"changes": changed}]
    if plan.get("code") != now:
        plan["code"] = now
        folder.write_json(folder.path / "plan.json", plan)
    return plan


def _decided_before(folder: Path, arms: Sequence[Arm]) -> dict[str, str]:
    """What "auto" meant in runs that were trained before, for each setting. UserError if they differ."""
    from frugan.engine.run import RunFolder

    common = {}
    for name in DECIDED:
        deciding = [arm for arm in arms if getattr(arm.recipe, name) == "auto"]
        runs = [path for arm in deciding for path in sorted((folder / "runs" / arm.folder).glob("*"))]
        values = {it: path for path in runs if (it := decided_in(RunFolder(path)).get(name)) is not None}
        if len(values) > 1:
            listed = ", ".join(f"{path} with {name}={it}" for it, path in values.items())
            raise UserError(
                f"These runs were not computed in the same way, so they cannot be compared: {listed}. Move some away, "
                f"and train them again with the {name} of the others."
            )
        if values:
            common[name] = next(iter(values))
    return common


def check_runs(folder: Path, arms: Sequence[Arm], seeds: Sequence[int], plan: Mapping[str, Any]) -> None:
    """Check that the runs in ``runs/ARM/seed-S`` belong to this comparison: its arms, seeds, settings and code.

    Finished runs are only evaluated, so nothing else would notice. If the plan records that code has changed, runs may
    have been trained with the old or the new code. Raises UserError, which names the first run that does not belong.
    """
    from frugan.engine.run import RunFolder

    wanted = {f"runs/{arm.folder}/seed-{seed}": (arm, seed) for arm in arms for seed in seeds}
    for path in sorted(item for item in folder.glob("runs/*/*") if item.is_dir()):
        name = path.relative_to(folder).as_posix()
        if name not in wanted:
            raise UserError(
                f"{path} is not a run of this comparison. Its runs are {', '.join(list(wanted)[:3])} ... Move it away, "
                "or add its arm and seed to the comparison: leaving out runs that exist would be choosing results."
            )
        run = RunFolder(path)
        if not run.exists():
            continue  # killed at its very start
        arm, seed = wanted[name]
        own, recipe = from_run(run), replace(arm.recipe, seed=seed)
        own = settle(own, {name: it for name, it in decided_in(run).items() if getattr(recipe, name) == it})
        # A run knows the classes of its data, and one that was stopped on the way has seen fewer images.
        apart = differences(recipe, own, but=("images", "data.classes", "streams", "data.source"))
        apart = [line for line in apart if not line.startswith("streams.")]
        held, known = run.read_json(run.facts)["data"], plan.get("data", {}).get(arm.name)
        if known is not None and known != {stream: about["hash"] for stream, about in held.items()}:
            apart.append(f"data: {recipe.data.source} -> {', '.join(about['title'] for about in held.values())}")
        if own.images > recipe.images:
            apart.append(f"images: {recipe.images} -> {own.images}")
        if apart:
            raise UserError(
                f"{path} was trained with other settings than the arm '{arm.name}' has ({'; '.join(apart)}). Move it "
                "away, or give the arm these settings."
            )
        apart = owncode.changes(owncode.named_in(path), owncode.listed(plan.get("code")), new=False)
        if apart and not plan.get("code_changes"):
            raise UserError(
                f"{path} was trained with other code than this comparison uses ({'; '.join(apart)}). Move it away, and "
                "run the same command again."
            )


def _describe_arms(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    return [
        {"name": arm.name, "control_of": arm.control_of, "recipe": to_dict(replace(arm.recipe, seed=0))} for arm in arms
    ]


def _read_arms(kept: Mapping[str, Any]) -> list[Arm]:
    return [
        Arm(one["name"], from_dict(one["recipe"], where=f"the plan's arm '{one['name']}'"), one["control_of"])
        for one in kept["arms"]
    ]
