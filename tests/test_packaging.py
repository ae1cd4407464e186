"""What comes out when trews is built and installed: compiled where it can be, pure where it cannot, never a failure.

The slow ones build for real, from a copy of this tree: with pip, isolated, as users do; and through the hooks of the
backend in an environment that has its tools already. They need a package index, and a C compiler.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from tests.conftest import absent

ROOT = Path(__file__).resolve().parent.parent
CLEAN = {
    name: value
    for name, value in os.environ.items()
    if name not in ("TREWS_COMPILE", "TREWS_PURE", "PYTHONPATH", "CC", "CFLAGS", "VIRTUAL_ENV")
}
BIN = "Scripts" if os.name == "nt" else "bin"
NO_COMPILER = "no C compiler that works when it was installed"
LONG = pytest.mark.timeout(300)  # seconds: pip downloads, and mypyc takes ten


def run(*command, env=None, cwd=None, check=True):
    done = subprocess.run(
        [str(part) for part in command],
        env={**CLEAN, **(env or {})},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout
    return done


def copy_tree(target):
    ignored = shutil.ignore_patterns(".git", ".venv", "build", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")
    return shutil.copytree(ROOT, target, ignore=ignored)


def compiled_modules(tree=ROOT):
    done = run(sys.executable, "-c", "import compiling; print(*compiling.compiled_modules())", env=hooks(tree))
    return done.stdout.split()


def hooks(tree):
    """An environment in which the backend of a tree can be imported."""
    return {"PYTHONPATH": str(tree / "build_backend")}


def venv(directory):
    """An empty environment; pip works on it from ours, which is two seconds less than one of its own."""
    run(sys.executable, "-m", "venv", "--without-pip", directory)
    return directory / BIN / "python"


def install(python, *arguments, env=None):
    return run(sys.executable, "-m", "pip", "--python", python, "install", *arguments, env=env)


@pytest.fixture(scope="module")
def needs_compiler():
    if not shutil.which("cc"):
        absent("no C compiler")


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    """A Python with what the builds need: they are quick then, and need no network."""
    python = venv(tmp_path_factory.mktemp("builder"))
    install(python, "-q", "setuptools>=77", "mypy>=1.19,<3")
    return python


@pytest.fixture(scope="module")
def hasty_compiler(needs_compiler, tmp_path_factory):
    """For what is not about the code that comes out: without optimising it is done in half the time."""
    compiler = tmp_path_factory.mktemp("compiler") / "cc"
    compiler.write_text('#!/bin/sh\nexec cc "$@" -O0\n')
    compiler.chmod(0o755)
    return {"CC": str(compiler)}


@pytest.fixture
def tree(tmp_path):
    return copy_tree(tmp_path / "tree")


@pytest.fixture
def build(builder, tree, tmp_path):
    """Build a wheel of the tree; what it printed, and the file."""

    def build(check=True, **env):
        code = f"import backend; backend.build_wheel({str(tmp_path)!r})"
        done = run(builder, "-c", code, env={**hooks(tree), **env}, cwd=tree, check=check)
        return done, next(tmp_path.glob("*.whl"), None)

    return build


def names_in(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def try_install(python, wanted, **env):
    return run(python, ROOT / "tools" / "try_install.py", wanted, env=env).stdout


def is_pure(wheel):
    return wheel.name.endswith("-py3-none-any.whl") and not [n for n in names_in(wheel) if n.endswith((".so", ".pyd"))]


# --- with pip, isolated


@pytest.fixture(scope="module")
def compiled(needs_compiler, tmp_path_factory):
    """The wheel of a normal build, and the Python of an otherwise empty environment where it is installed."""
    directory = tmp_path_factory.mktemp("compiled")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", directory, copy_tree(directory / "tree"))
    wheel = next(directory.glob("*.whl"))
    python = venv(directory / "venv")
    install(python, "-q", wheel)
    return wheel, python


@pytest.mark.slow
@LONG
def test_a_normal_build_is_compiled_and_works(compiled):
    wheel, python = compiled
    assert re.search(r"-cp3\d+-cp3\d+-\w+\.whl$", wheel.name)
    assert re.search(r": compiled \(\d+ modules?\) by mypyc \S+$", try_install(python, "compiled").strip())


@pytest.mark.slow
@LONG
def test_a_compiled_wheel_has_everything_in_the_package_and_the_sources_too(compiled):
    wheel, _ = compiled
    names = set(names_in(wheel))
    suffix = EXTENSION_SUFFIXES[0]
    for module in compiled_modules():
        path = module.replace(".", "/")
        assert {f"{path}.py", f"{path}{suffix}"} <= names
    assert {name.partition("/")[0] for name in names} == {"trews", wheel.name.partition("-")[0] + "-0.1.0.dist-info"}
    extensions = {name for name in names if name.endswith(suffix)}
    assert len(extensions) == len(compiled_modules()) + 1  # the library that they share


@pytest.mark.slow
@LONG
def test_the_command_tells_that_it_is_compiled(compiled):
    _, python = compiled
    told = run(python.with_name("trews"), "doctor").stdout
    assert re.search(r"^build +compiled \(\d+ modules?\) by mypyc", told, re.MULTILINE)


@pytest.mark.slow
@LONG
def test_tracebacks_through_compiled_code_have_file_and_line(compiled, tmp_path):
    _, python = compiled
    code = """
import logging
from trews.inbox import Inbox
try:
    Inbox().peek(3.5, 100)
except TypeError:
    logging.exception("a framer that is none")
"""
    told = run(python, "-c", code, cwd=tmp_path).stdout
    assert re.search(r'File "trews.inbox.py", line \d+, in peek', told)


@pytest.mark.slow
@LONG
def test_trews_pure_runs_the_sources_of_a_compiled_install(compiled):
    _, python = compiled
    assert try_install(python, "pure", TREWS_PURE="1").strip().endswith(": pure Python: TREWS_PURE=1")


@pytest.mark.slow
@LONG
def test_a_compiled_install_that_has_lost_a_part_says_so(compiled, tmp_path):
    wheel, python = compiled
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    module = "trews.inbox"  # one that no other compiled one imports: it would have it from the library
    assert module in compiled_modules()
    (tmp_path / (module.replace(".", "/") + EXTENSION_SUFFIXES[0])).unlink()
    code = "from trews import build; print(build.is_compiled(), build.describe())"
    told = run(python, "-c", code, env={"PYTHONPATH": str(tmp_path)}).stdout
    assert told.startswith(f"False compiled in part only: {module} ")


@pytest.mark.slow
@LONG
@pytest.mark.parametrize(
    ("env", "why"),
    [({"CC": "/bin/false"}, NO_COMPILER), ({"TREWS_COMPILE": "0"}, "TREWS_COMPILE=0 when it was installed")],
    ids=["no compiler", "TREWS_COMPILE=0"],
)
def test_a_pure_install_needs_neither_compiler_nor_mypy(env, why, tree, tmp_path):
    python = venv(tmp_path / "venv")
    done = install(python, "-v", tree, env=env)
    assert "-py3-none-any.whl" in done.stdout
    assert "mypy" not in done.stdout
    assert try_install(python, "pure").strip().endswith(f": pure Python: {why}")


@pytest.mark.slow
@LONG
def test_a_demand_that_cannot_be_met_ends_in_a_sentence(tree, tmp_path):
    env = {"TREWS_COMPILE": "1", "CC": "/bin/false"}
    done = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", tmp_path, tree, env=env, check=False)
    assert done.returncode == 1
    assert "TREWS_COMPILE=1: no C compiler that works" in done.stdout
    assert "Traceback" not in done.stdout
    assert not list(tmp_path.glob("*.whl"))


@pytest.mark.slow
@LONG
def test_an_editable_install_is_pure(tree, tmp_path):
    python = venv(tmp_path / "venv")
    install(python, "-q", "-e", tree)
    left = [path for path in tree.rglob("*") if path.suffix in (".so", ".pyd", ".c", ".whl")]
    assert {path.parent for path in left} == {tree / "bench" / "c"}  # the floors of the benchmarks, which were there
    assert try_install(python, "pure").strip().endswith(": pure Python: not installed, or installed with -e")


@pytest.mark.slow
@LONG
def test_an_sdist_has_what_a_compiled_build_needs(hasty_compiler, builder, compiled, tree, tmp_path):
    code = f"import backend; backend.build_sdist({str(tmp_path)!r})"
    run(builder, "-c", code, env=hooks(tree), cwd=tree)
    sdist = next(tmp_path.glob("*.tar.gz"))
    wheel = [sys.executable, "-m", "pip", "--python", builder, "wheel", "-q", "--no-deps", "--no-build-isolation"]
    run(*wheel, "-w", tmp_path, sdist, env=hasty_compiler)
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        archive.extractall(unpacked)
    _, python = compiled  # without what has built it
    told = try_install(python, "compiled", PYTHONPATH=str(unpacked))
    assert f" in {unpacked / 'trews'}: compiled (" in told


# --- through the hooks


@pytest.mark.slow
@LONG
def test_a_compiler_that_breaks_in_the_middle_leaves_a_pure_build(needs_compiler, build, tmp_path):
    """It compiles what the backend tries first, and nothing of trews."""
    compiler = tmp_path / "cc"
    compiler.write_text('#!/bin/sh\ncase "$*" in *trews_probe*) exec cc "$@";; esac\necho broken >&2\nexit 1\n')
    compiler.chmod(0o755)
    done, wheel = build(CC=str(compiler))
    assert is_pure(wheel)
    assert "trews: compiling failed, see above (" in done.stdout
    assert "trews: this build is pure Python: compiling failed when it was installed" in done.stdout
    with zipfile.ZipFile(wheel) as archive:
        assert b"compiling failed when it was installed" in archive.read("trews/_build.json")
    wheel.unlink()
    done, wheel = build(check=False, CC=str(compiler), TREWS_COMPILE="1")
    assert (done.returncode, wheel) == (1, None)
    assert "TREWS_COMPILE=1: compiling failed, see above (" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.slow
@LONG
def test_code_that_mypyc_refuses_leaves_a_pure_build(needs_compiler, build, tree):
    with open(tree / "src/trews/inbox.py", "a") as file:
        file.write("\nWRONG: int = 'text'\n")
    done, wheel = build()
    assert is_pure(wheel)
    assert "trews: compiling failed, see above (" in done.stdout


@pytest.mark.slow
@LONG
def test_nothing_of_an_earlier_build_gets_into_a_wheel(build, tree):
    for name in ("lib", f"lib.linux-x86_64-cpython-{sys.version_info[0]}{sys.version_info[1]}"):
        stale = tree / "build" / name / "trews"
        stale.mkdir(parents=True)
        (stale / f"stale{EXTENSION_SUFFIXES[0]}").write_bytes(b"")
        (stale / "stale.py").write_bytes(b"")
    _, wheel = build(TREWS_COMPILE="0")
    assert not [name for name in names_in(wheel) if "stale" in name]
    assert is_pure(wheel)


HOOKS = {
    "wheel": "backend.get_requires_for_build_wheel()",
    "editable": "backend.get_requires_for_build_editable()",
}


@pytest.mark.parametrize(
    ("hook", "env", "sentence"),
    [
        ("wheel", {"TREWS_COMPILE": "1", "CC": "/bin/false"}, "TREWS_COMPILE=1: no C compiler that works"),
        ("wheel", {"TREWS_COMPILE": "1", "CC": "/no/such/compiler"}, "TREWS_COMPILE=1: no C compiler that works"),
        ("wheel", {"TREWS_COMPILE": "yes"}, "expected 0 (pure) or 1 (compiled)"),
        ("editable", {"TREWS_COMPILE": "1"}, "an editable install is never compiled"),
    ],
)
def test_the_build_refuses_in_a_sentence(hook, env, sentence):
    pytest.importorskip("setuptools")  # not in every environment from 3.12 on
    done = run(sys.executable, "-c", f"import backend; {HOOKS[hook]}", env={**hooks(ROOT), **env}, check=False)
    assert done.returncode == 1
    assert sentence in done.stdout
    assert "Traceback" not in done.stdout


def test_a_machine_that_mypy_has_no_wheels_for_gets_a_pure_build():
    """Asked for, mypy would have to be compiled there itself, from Rust; that is not to be anybody's install."""
    pytest.importorskip("setuptools")

    def why(setup, **env):
        code = f"import backend, platform, sys; {setup}; print('why:', backend.why_pure())"
        return run(sys.executable, "-c", code, env={**hooks(ROOT), **env}).stdout.rpartition("why: ")[2].strip()

    assert why("platform.machine = lambda: 'riscv64'").endswith(" on riscv64")
    assert why("sys.platform = 'freebsd14'").startswith("mypy is not ready-made for freebsd14 on ")
    assert why("sys.implementation.name = 'pypy'") == "mypyc is not for pypy"


@pytest.mark.slow
@LONG
def test_compiling_the_working_tree(hasty_compiler, builder, tree, tmp_path):
    """What `make compiled` does, twice: the second replaces the first."""
    target = tmp_path / "compiled"
    for _ in range(2):
        told = run(builder, tree / "tools/compiled.py", target, env=hasty_compiler).stdout
        assert told.splitlines()[-1] == f"PYTHONPATH={target}"
        (target / "trews/gone.py").touch()
        code = "from trews import build; print(build.is_compiled())"
        assert run(builder, "-c", code, env={"PYTHONPATH": str(target)}).stdout.strip() == "True"
    assert not list(tree.rglob("*.so"))


def test_compiling_replaces_nothing_but_its_own(tmp_path):
    (tmp_path / "precious").touch()
    done = run(sys.executable, ROOT / "tools/compiled.py", tmp_path, check=False)
    assert done.returncode == 2
    assert "is not empty, and not what this program makes" in done.stdout
    assert (tmp_path / "precious").exists()


@pytest.mark.slow
@LONG
def test_mypy_is_asked_for_only_where_it_will_compile(needs_compiler, builder, tree):
    def asked(**env):
        code = "import backend; print('asked:', backend.get_requires_for_build_wheel())"
        return "mypy" in run(builder, "-c", code, env={**hooks(tree), **env}, cwd=tree).stdout.rpartition("asked:")[2]

    assert asked()
    assert asked(TREWS_COMPILE="1")
    assert not asked(TREWS_COMPILE="0")
    assert not asked(CC="/bin/false")


def test_what_is_compiled_exists_and_is_no_class_of_the_users():
    """Nothing of these is public: a compiled class cannot be subclassed, patched or given attributes as others can."""
    pytest.importorskip("setuptools")
    import trews
    from trews import framing, testing

    compiled = set(compiled_modules())
    assert compiled
    for name in compiled:
        assert (ROOT / "src" / name.replace(".", "/")).with_suffix(".py").is_file()
    for module in (trews, framing, testing):
        for name in module.__all__:
            assert getattr(getattr(module, name), "__module__", "") not in compiled, name
