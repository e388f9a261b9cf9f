"""Imports point down, and general code imports the front page of an axis, never a variant (the design's table).

Read from the source, imports inside functions included; those under ``if TYPE_CHECKING`` do not count.
"""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import frugan

SOURCE = Path(__file__).resolve().parents[1] / "src" / "frugan"

LEVELS = {
    8: ["cli", "__main__"],  # speaks to people
    7: [
        "training", "evaluation", "comparison", "costing", "benching", "reporting", "translating", "checking",
        "exporting", "fitting",
        "labelling", "explore", "probing",
    ],  # verbs
    6: ["artefact"],  # a shipped network, alive again
    5: ["agreement", "blueprint", "build", "recipes"],  # names become objects here, and only here
    4: ["engine", "recipe"],  # the loop; knows the Game contract, no game
    3: ["games", "metrics"],  # siblings: neither knows the other
    2: ["nets", "surgery", "costs", "fusing", "views", "discriminating"],  # know records of level 1, no family
    1: [
        "convs", "losses", "penalties", "augment", "optimisers", "schedules", "data", "classifying", "latents",
        "intervals", "linear", "pictures", "kernels", "webpage",
        "owncode", "tangents",
    ],  # leaves
    0: [
        "arguments", "arithmetic", "batch", "cache", "claims", "countdown", "files", "memory", "ranges", "registry",
        "resizing", "seeds", "stopping", "terminal",
    ],  # words shared by all
}
LEVEL = {name: level for level, names in LEVELS.items() for name in names}
# Verbs are made of verbs (a comparison trains and evaluates) and the command line has two doors.
SIDEWAYS = {7, 8}
# Below them each pair is a decision of its own.
SIDEWAYS_PAIRS = {
    ("surgery", "costs"),  # a swap reports what it changed, in parameters and multiply-accumulates
    ("fusing", "costs"),  # which tells how to copy a network
    ("convs", "kernels"),  # a layer says what it computes, a kernel computes it
    ("arguments", "registry"),  # a slip in the name of an argument is answered as one in that of a variant
    ("terminal", "stopping"),  # an output that nobody reads is a request to stop
    ("files", "registry"),  # a damaged file is answered as any mistake of the user's
    ("claims", "registry"),  # a folder that is held is answered as any mistake of the user's
    ("claims", "files"),  # whether a lock is held is asked in one way
    ("arguments", "ranges"),  # an argument is checked as a field of a recipe is
    ("memory", "registry"),  # memory that cannot be had is answered as any mistake of the user's
    ("cache", "claims"),  # what many need is made by one of them
    ("cache", "files"),  # what can be made again is written as everything is
    ("registry", "ranges"),  # an option of a variant is checked as a field of a recipe is
    ("cache", "terminal"),  # the three say what they leave out, in lines as all others
    ("claims", "terminal"),
    ("registry", "terminal"),
    ("build", "agreement"),  # what a recipe names must agree before anything is built
    ("agreement", "blueprint"),  # what is shipped must be of a part that its role can use
    ("build", "blueprint"),  # a recipe's networks are built one by one
    ("penalties", "kernels"),  # a penalty says which gradients are wanted
    ("tangents", "kernels"),  # derivatives are those of torch's own functions
}


class Import(NamedTuple):
    """Module `source` of frugan imports module `target` of frugan, in `line`; names are dotted, without ``frugan.``."""

    source: str
    line: int
    target: str

    def __str__(self) -> str:
        return f"frugan.{self.source}, line {self.line}: imports frugan.{self.target}"


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py")) if path != SOURCE / "__init__.py"}


def is_front_page_of_an_axis(path: Path) -> bool:
    """Whether variants can be found and added there by name."""
    functions = {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
    return path.name == "__init__.py" and {"find", "add"} <= functions


AXES = {name for name, path in MODULES.items() if is_front_page_of_an_axis(path)}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imported(node: ast.AST) -> list[str]:
    """The dotted names that one statement or call imports, as written and complete."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"line {node.lineno}: a relative import; write it out from 'frugan'"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        return [first.value for first in node.args[:1] if isinstance(first, ast.Constant)]
    return []


def module_of(name: str) -> str | None:
    """The module of frugan in which a dotted name lies; None if it is not ours, or is frugan's own front page."""
    first, _, rest = name.partition(".")
    if first != "frugan":
        return None
    if rest in frugan._HOMES:
        return frugan._HOMES[rest].removeprefix("frugan.")
    while rest and rest not in MODULES:
        rest = rest.rpartition(".")[0]
    return rest or None


def imports_of(source: str, path: Path) -> list[Import]:
    found: list[Import] = []
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if is_type_checking(node):
            waiting.extend(node.orelse)
            continue
        targets = {module_of(name) for name in imported(node)} - {None, source}
        found.extend(Import(source, node.lineno, target) for target in targets)
        waiting.extend(ast.iter_child_nodes(node))
    return found


IMPORTS = [one for name, path in MODULES.items() for one in imports_of(name, path)]


def top(module: str) -> str:
    return module.partition(".")[0]


def test_every_module_has_a_level() -> None:
    homeless = sorted({top(module) for module in MODULES} - set(LEVEL))
    assert not homeless, f"{homeless}: decide who may import them and add them to the table of the design and to LEVELS"


def test_imports_point_down() -> None:
    def allowed(one: Import) -> bool:
        pair = top(one.source), top(one.target)
        own, other = (LEVEL.get(name, 0) for name in pair)
        return pair[0] == pair[1] or other < own or (other == own and own in SIDEWAYS) or pair in SIDEWAYS_PAIRS

    wrong = [str(one) for one in IMPORTS if not allowed(one)]
    assert not wrong, "\n".join(wrong)


def test_imports_make_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for one in IMPORTS:
        graph.setdefault(one.source, set()).add(one.target)
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def is_variant_of(module: str, axis: str) -> bool:
    """Pieces that variants share begin with an underscore and are none."""
    return module.startswith(f"{axis}.") and not module.removeprefix(f"{axis}.").startswith("_")


def test_only_a_variant_imports_a_variant() -> None:
    wrong = [
        str(one)
        for one in IMPORTS
        for axis in AXES
        if is_variant_of(one.target, axis) and not is_variant_of(one.source, axis)
    ]
    assert not wrong, "\n".join(wrong)


OWN_TEXT = {
    "terminal.py", "cli/__init__.py", "cli/_arguments.py", "cli/_making.py", "cli/_recipes.py",
    "comparison/launchers/_spreading.py", "comparison/launchers/files.py",
}  # fmt: skip
"""Files that also print text of several lines, JSON, or a question. No name of a user's stands in it unescaped."""


def test_lines_are_printed_by_one_module_which_escapes_the_names_in_them() -> None:
    """A name may hold a line break, or what moves a terminal's cursor: `frugan.terminal.say` and `tell` know."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        prints = [node for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]
        if any(not isinstance(word, ast.Constant) for node in prints for word in node.args):
            found.append(path.relative_to(SOURCE).as_posix())
    assert sorted(set(found) - OWN_TEXT) == []


def test_the_axes_are_found() -> None:
    assert {"convs", "nets", "games", "metrics", "recipes"} <= AXES


@pytest.mark.parametrize(
    ("code", "targets"),
    [
        ("from frugan.convs import ConvFamily", ["convs"]),
        ("from frugan.convs import standard", ["convs.standard"]),
        ("from frugan import convs, __version__", ["convs"]),
        ("from frugan import swap", ["surgery"]),
        ("import frugan.convs.standard as family", ["convs.standard"]),
        ("def f():\n    import frugan.convs", ["convs"]),
        ("import importlib\nimportlib.import_module('frugan.convs.standard')", ["convs.standard"]),
        ("if TYPE_CHECKING:\n    from frugan.convs import standard", []),
        ("import torch, frugans", []),
    ],
)
def test_the_reader_of_imports_reads_every_form(code: str, targets: list[str], tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(code)
    modules = {**MODULES, "surgery": SOURCE / "surgery.py"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "MODULES", modules)
        assert [one.target for one in imports_of("module", tmp_path / "module.py")] == targets
